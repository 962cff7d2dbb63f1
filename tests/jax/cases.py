"""Families of problems for the tests of the JAX front end: a layer, its twin in PyTorch, and parameters for both.

PyTorch is imported where a twin is asked for: tests that start processes do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import cvxpy as cp
import jax.numpy as jnp
import numpy as np

from cvxpylayers import jax as front

if TYPE_CHECKING:
    from cvxpylayers import torch as twin

Array = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
Problem = tuple[cp.Problem, list[cp.Parameter], list[cp.Variable], tuple[Draw, ...]]


@dataclass(frozen=True)
class Case:
    """A layer, its twin, and how each parameter is drawn with leading axes."""

    make: Callable[[], Problem]
    exact: bool  # values are those of the twin bit by bit; not so behind XLA's own log and exp

    @cached_property
    def draws(self) -> tuple[Draw, ...]:
        return self.make()[3]

    @cached_property
    def layer(self) -> front.CvxpyLayer:
        return front.CvxpyLayer(*self.make()[:3], gp=not self.exact)

    @cached_property
    def twin(self) -> twin.CvxpyLayer:
        from cvxpylayers.torch import CvxpyLayer

        return CvxpyLayer(*self.make()[:3], gp=not self.exact)

    def sample(self, *batches: tuple[int, ...], dtype: str = "float64", seed: int = 0) -> list[Array]:
        """Parameters with these batch axes; the last ``batches`` entry stands for all that follow."""
        rng = np.random.default_rng(seed)
        axes = [batches[min(i, len(batches) - 1)] for i in range(len(self.draws))]
        return [draw(rng, a).astype(dtype) for draw, a in zip(self.draws, axes, strict=True)]


def _qp() -> Problem:
    x = cp.Variable(3, name="x")
    F, g, u = cp.Parameter((4, 3), name="F"), cp.Parameter(4, name="g"), cp.Parameter(name="u", nonneg=True)
    constraints = [x >= -u, cp.sum(x) == 1]
    objective = cp.Minimize(0.5 * cp.sum_squares(F @ x - g) + 0.1 * cp.sum_squares(x))
    draws = (
        lambda r, b: r.normal(size=(*b, 4, 3)),
        lambda r, b: 2 * r.normal(size=(*b, 4)),
        lambda r, b: r.uniform(0.1, 0.3, size=b),
    )
    return cp.Problem(objective, constraints), [F, g, u], [x, constraints[0].dual_variables[0]], draws


def _lp() -> Problem:
    x = cp.Variable(3, name="x")
    A, b, c = cp.Parameter((5, 3), name="A"), cp.Parameter(5, name="b"), cp.Parameter(3, name="c")
    problem = cp.Problem(cp.Minimize(c @ x), [A @ x <= b, x <= 3, x >= -3])
    draws = (
        lambda r, s: r.normal(size=(*s, 5, 3)),
        lambda r, s: r.uniform(0.5, 1.5, size=(*s, 5)),
        lambda r, s: r.normal(size=(*s, 3)),
    )
    return problem, [A, b, c], [x], draws


def _cones() -> Problem:
    """A trust region, an entropy, a power and a definite matrix at once."""
    x, X = cp.Variable(3, name="x"), cp.Variable((2, 2), name="X", PSD=True)
    p, r, S = cp.Parameter(3, name="p"), cp.Parameter(name="r", pos=True), cp.Parameter((2, 2), name="S")
    objective = cp.sum_squares(x - p) - 0.3 * cp.sum(cp.entr(x)) + cp.sum_squares(X - S) + x[0] * 0.1
    constraints = [cp.norm(x - 1) <= r, cp.power(x[1], 0.4) >= 0.5, cp.trace(X) <= 1.5]
    draws = (lambda g, b: g.normal(size=(*b, 3)), lambda g, b: g.uniform(0.6, 0.9, size=b), lambda g, b: g.normal(size=(*b, 2, 2)))
    return cp.Problem(cp.Minimize(objective), constraints), [p, r, S], [x, X], draws


def _gp() -> Problem:
    x, y = cp.Variable(pos=True, name="x"), cp.Variable(pos=True, name="y")
    a, b, c = (cp.Parameter(pos=True, name=name) for name in "abc")
    problem = cp.Problem(cp.Minimize(a * x / y + b * y), [x * y >= c, y <= 10 * x, x >= 0.1])
    return problem, [a, b, c], [x, y], (lambda g, s: g.uniform(0.5, 2.0, size=s),) * 3


def _second_order() -> Problem:
    x = cp.Variable(3, name="x")
    p, r = cp.Parameter(3, name="p"), cp.Parameter(name="r", nonneg=True)
    inside = cp.norm(x) <= r
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [inside])
    return problem, [p, r], [x, inside.dual_variables[0]], (_normal(3), lambda g, b: g.uniform(0.5, 1.0, size=b))


def _semidefinite() -> Problem:
    X, S, c = cp.Variable((3, 3), symmetric=True, name="X"), cp.Parameter((3, 3), name="S"), cp.Parameter(name="c")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - S) + c * X[0, 1]), [X >> 0, cp.trace(X) == 1])
    return problem, [S, c], [X], (_normal(3, 3), _normal())


def _exponential() -> Problem:
    x, p, h = cp.Variable(4, name="x"), cp.Parameter(4, name="p"), cp.Parameter(name="h")
    total = cp.sum(x) == 1
    problem = cp.Problem(cp.Maximize(cp.sum(cp.entr(x)) + p @ x), [total, x[0] - x[1] <= h])
    return problem, [p, h], [x, total.dual_variables[0]], (_normal(4), lambda g, b: g.uniform(0.2, 0.4, size=b))


def _power() -> Problem:
    x, p, h = cp.Variable(3, name="x"), cp.Parameter(3, name="p"), cp.Parameter(name="h")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [cp.PowCone3D(x[0], x[1], x[2], 0.3), x[0] + x[1] <= h])
    return (
        problem,
        [p, h],
        [x],
        (lambda g, b: g.uniform(1.0, 2.0, size=(*b, 3)) + np.array([0, 0, 2]), lambda g, b: g.uniform(2.5, 3.5, size=b)),
    )


def _normal(*shape: int) -> Draw:
    return lambda g, b: g.normal(size=(*b, *shape))


FAMILIES = {"qp": _qp, "lp": _lp, "cones": _cones, "gp": _gp}
SINGLE = {"second-order": _second_order, "semidefinite": _semidefinite, "exponential": _exponential, "power": _power}


@cache
def case(family: str) -> Case:
    """The layers of a family, each built once."""
    return Case({**FAMILIES, **SINGLE}[family], exact=family != "gp")


def weights(shape: tuple[int, ...], dtype: Any = "float64") -> Array:
    """A cotangent without symmetries."""
    return np.sin(np.arange(np.prod(shape, dtype=int)) + 1.0).reshape(shape).astype(dtype)


def torch_gradients(layer: twin.CvxpyLayer, arrays: list[Array]) -> list[Array]:
    """Gradients of the weighted sum of all outputs, by the PyTorch front end."""
    import torch

    inputs = [torch.tensor(a, requires_grad=True) for a in arrays]
    outputs = layer(*inputs)
    cotangents = [torch.tensor(weights(tuple(o.shape)), dtype=o.dtype) for o in outputs]
    return [g.numpy() for g in torch.autograd.grad(outputs, inputs, cotangents)]


def loss_of(layer: Any) -> Callable[..., Any]:
    """The weighted sum of all outputs."""

    def loss(*params: Any) -> Any:
        outputs = layer(*params)
        return sum(jnp.sum(weights(o.shape, o.dtype) * o) for o in outputs)

    return loss


def close(found: Any, expected: Any, slack: float | None = None) -> None:
    """Equal up to the rounding of the dtype, or ``slack``, relative to the largest entry."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    slack = slack or (1e-5 if found.dtype == np.float32 else 1e-10)
    np.testing.assert_allclose(found, expected, rtol=0, atol=slack * max(1.0, np.abs(expected).max(initial=0)))


def same(case: Case, found: Any, expected: Any) -> None:
    """Equal bit by bit, where that is promised."""
    if case.exact:
        expected = np.asarray(expected)
        tiny = np.abs(expected) < np.finfo(expected.dtype).tiny  # XLA's threads flush denormal numbers to zero
        np.testing.assert_array_equal(found, np.where(tiny, 0, expected))
    else:
        close(found, expected)
