"""The contract of engines: what is asked of a solution is that of Clarabel, refined, and of a gradient that of the native engine.

Laws are stated in NumPy; the other front ends give the same numbers.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest

from cvxpylayers import OptionError, UnsupportedConeError
from cvxpylayers._canon import compile_problem
from cvxpylayers._engines.judge.clarabel import solve_program
from cvxpylayers._engines.judge.judge import Claim, settle
from cvxpylayers._engines.judge.program import Assembler
from cvxpylayers._engines.registry import check, resolve
from cvxpylayers._program import Batch, CompiledProblem
from cvxpylayers.errors import DerivativeError
from cvxpylayers.numpy import CvxpyLayer, Linearization
from cvxpylayers.testing._cases import CASES, Array, Case, linear, power, quadratic, rng, second_order, semidefinite
from cvxpylayers.testing._front_ends import FrontEnd, JittedJax, Mlx, Torch

FRONT_ENDS = [Torch("float64"), JittedJax("float64"), Mlx("float64")]


def compiled(case: Case) -> CompiledProblem:
    return compile_problem(case.problem, case.parameters, case.outputs)


def truth(case: Case) -> list[Array]:
    """The outputs of every instance: Clarabel's, refined until nothing is left."""
    problem, found = compiled(case), []
    arrays = [v.reshape(*v.shape[: v.ndim - p.ndim], -1) for v, p in zip(case.values, case.parameters, strict=True)]
    for theta in Batch(tuple(arrays), (3,)).theta():
        program = Assembler(problem.structure)(problem.M @ theta)
        near = solve_program(program)
        sharp = settle(program, Claim(near.x, near.z))
        assert max(sharp.primal_residual, sharp.dual_residual, sharp.gap) < 1e-11
        found.append(problem.R @ np.concatenate([sharp.x, sharp.z]))
    cuts = np.cumsum([o.size for o in problem.outputs])[:-1]
    return [p.reshape(3, *o.shape) for p, o in zip(np.split(np.array(found), cuts, axis=1), problem.outputs, strict=True)]


def derivatives(point: Linearization, case: Case) -> tuple[Array, ...]:
    """Gradients of a cotangent and the tangent of a tangent, drawn anew in the same way."""
    gradients = point.vjp(*(rng().normal(size=o.shape) for o in point.outputs))
    return *gradients, *point.jvp(*(rng().normal(size=v.shape) for v in case.values))


# What engines are compared with is computed once for all of them.
@cache
def true_outputs(make: Callable[[], Case]) -> list[Array]:
    return truth(make())


@cache
def native_derivatives(make: Callable[[], Case]) -> tuple[Array, ...]:
    case = make()
    return derivatives(CvxpyLayer(case.problem, case.parameters, case.outputs).linearize(*case.values), case)


class EngineContract:
    """Laws of the engine ``solver``: a name or a subclass of ``Engine``, as a layer takes them.

    Its solutions, refined, are held to ``accuracy``, absolute. Problems whose cones it does not declare are skipped.
    """

    solver: ClassVar[Any]
    accuracy: ClassVar[float] = 1e-7
    certificates: ClassVar[bool] = True  # whether infeasible instances end as such

    def layer(self, case: Case, **arguments: Any) -> CvxpyLayer:
        kind = resolve(self.solver)[0]
        if kind.capabilities.lacks(compiled(case)):
            pytest.skip(f"{kind.name} does not take this problem")
        return CvxpyLayer(case.problem, case.parameters, case.outputs, solver=self.solver, **arguments)

    @pytest.mark.parametrize("make", CASES.values(), ids=CASES)
    def test_solutions_are_clarabels(self, make: Callable[[], Case]) -> None:
        case = make()
        outputs, info = self.layer(case, solver_args={"threads": 2}).solve(*case.values)
        assert info.solved.all(), info
        assert max(info.primal_residual.max(), info.dual_residual.max(), info.gap.max()) <= 1e-8
        for found, true in zip(outputs, true_outputs(make), strict=True):
            np.testing.assert_allclose(found, true, atol=self.accuracy)

    @pytest.mark.parametrize("make", CASES.values(), ids=CASES)
    def test_gradients_are_the_native_engines(self, make: Callable[[], Case]) -> None:
        case = make()
        point = self.layer(case).linearize(*case.values)
        try:
            expected = native_derivatives(make)
        except DerivativeError as error:
            pytest.skip(str(error))
        for found, true in zip(derivatives(point, case), expected, strict=True):
            np.testing.assert_allclose(found, true, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("front", FRONT_ENDS, ids=lambda front: front.library)
    @pytest.mark.parametrize("make", [quadratic, linear, semidefinite])
    def test_every_front_end_gives_the_same_numbers(self, make: Callable[[], Case], front: FrontEnd) -> None:
        case = make()
        point = self.layer(case).linearize(*case.values)
        with front.context():
            outputs, gradients = front.vjp(front.kind(*case[:3], solver=self.solver), case.values, point.outputs)
        for found, true in zip((*outputs, *gradients), (*point.outputs, *point.vjp(*point.outputs)), strict=True):
            np.testing.assert_allclose(found, true, rtol=1e-12, atol=1e-12)

    def test_smoothed_derivatives_are_the_native_engines(self) -> None:
        case, arguments = self.smallest(), {"derivative": "smoothed", "smoothing": 1e-3}
        point = self.layer(case, solver_args=arguments).linearize(*case.values)
        native = CvxpyLayer(*case[:3], solver_args=arguments).linearize(*case.values)
        cotangents = [rng().normal(size=o.shape) for o in point.outputs]
        for found, true in zip(point.vjp(*cotangents), native.vjp(*cotangents), strict=True):
            np.testing.assert_allclose(found, true, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("make", [quadratic, linear, second_order])
    def test_an_instance_does_not_see_its_company(self, make: Callable[[], Case]) -> None:
        case = make()
        layer = self.layer(case, solver_args={"threads": 1})
        together = layer(*case.values)
        parallel = layer(*case.values, solver_args={"threads": 2})
        for i in range(3):
            single = [v[i] if v.ndim > p.ndim else v for v, p in zip(case.values, case.parameters, strict=True)]
            for alone, *rows in zip(layer(*single), together, parallel, strict=True):
                for row in rows:
                    np.testing.assert_array_equal(alone, row[i])

    @pytest.mark.parametrize("make", [quadratic, linear, second_order])
    def test_failure_belongs_to_an_instance(self, make: Callable[[], Case]) -> None:
        case = make()
        layer = self.layer(case)
        healthy = layer(*case.values)
        assert case.broken is not None
        last = case.values[-1].copy()
        last[1] = case.broken
        outputs, info = layer.solve(*case.values[:-1], last, on_failure="nan")
        assert info.solved.tolist() == [True, False, True]
        if self.certificates:
            assert str(info.status[1]) in ("primal_infeasible", "dual_infeasible")  # some cannot tell one from the other
        last[1] = np.nan
        others, info = layer.solve(*case.values[:-1], last, on_failure="nan")
        assert str(info.status[1]) == "invalid_input"
        for before, *rest in zip(healthy, outputs, others, strict=True):
            for after in rest:
                np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
                assert np.isnan(after[1]).all()

    @pytest.mark.parametrize("make", [quadratic, linear])
    def test_an_infinite_bound_is_none(self, make: Callable[[], Case]) -> None:
        case = make()
        layer = self.layer(case)
        far, none = case.values[-1].copy(), case.values[-1].copy()
        far[:2, [0, 2]] = 1e3  # out of reach
        none[0, [0, 2]], none[1, [0, 2]] = np.inf, 1e20
        cotangents, points = [], []
        for bounds in (far, none):
            points.append(point := layer.linearize(*case.values[:-1], bounds))
            cotangents = [rng().normal(size=o.shape) for o in point.outputs]
        for found, true in zip(points[1].outputs, points[0].outputs, strict=True):
            np.testing.assert_allclose(found, true, atol=self.accuracy)
        gradients = points[1].vjp(*cotangents)
        np.testing.assert_allclose(gradients[-1][:2, [0, 2]], 0, atol=1e-9)
        for found, true in zip(gradients, points[0].vjp(*cotangents), strict=True):
            np.testing.assert_allclose(found, true, rtol=1e-5, atol=1e-5)
        tangents = [rng().normal(size=v.shape) for v in case.values]
        for found, true in zip(points[1].jvp(*tangents), points[0].jvp(*tangents), strict=True):
            np.testing.assert_allclose(found, true, rtol=1e-5, atol=1e-5)
        none[1, 1], none[2, 0] = -1e20, np.nan
        outputs, info = layer.solve(*case.values[:-1], none, on_failure="nan")
        assert [str(status) for status in info.status] == ["solved", "primal_infeasible", "invalid_input"]
        np.testing.assert_array_equal(outputs[0][0], points[1].outputs[0][0])

    def test_batches_may_be_empty_or_have_no_axes(self) -> None:
        case = self.smallest()
        layer = self.layer(case)
        whole = [v[0] if v.ndim > p.ndim else v for v, p in zip(case.values, case.parameters, strict=True)]
        assert layer(*whole)[0].shape == case.outputs[0].shape
        none = [v[:0] if v.ndim > p.ndim else v for v, p in zip(case.values, case.parameters, strict=True)]
        assert layer(*none)[0].shape == (0, *case.outputs[0].shape)

    def test_a_pickled_layer_gives_the_same_bits(self) -> None:
        case = self.smallest()
        layer = self.layer(case)
        before = layer(*case.values)
        for found, expected in zip(pickle.loads(pickle.dumps(layer))(*case.values), before, strict=True):
            np.testing.assert_array_equal(found, expected)

    def test_options_are_checked(self) -> None:
        case = self.smallest()
        names = resolve(self.solver)[0].option_names()
        if names is None:
            pytest.skip("only the solver knows its options")
        with pytest.raises(OptionError, match="Unknown solver option 'no_such_option'"):
            self.layer(case, solver_args={"no_such_option": 1})
        layer = self.layer(case, solver_args={"tolerance": 1e-6})
        with pytest.raises(OptionError, match="'tolerance' must be a number"):
            layer(*case.values, solver_args={"tolerance": -1})

    def test_cones_beyond_it_are_refused_in_words(self) -> None:
        kind = resolve(self.solver)[0]
        for make in (semidefinite, power, quadratic):
            if kind.capabilities.lacks(compiled(make())):
                with pytest.raises(UnsupportedConeError, match=rf"Engine '{kind.name}' cannot solve .* Engines that would do: "):
                    CvxpyLayer(*make()[:3], solver=self.solver)
                return
        check(kind, compiled(quadratic()))

    def smallest(self) -> Case:
        quadratics = resolve(self.solver)[0].capabilities.quadratic
        return quadratic() if quadratics else linear()
