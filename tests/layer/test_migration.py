"""What the documentation of version 1.x shows, with random data: the rows of the table in docs/migration.md, in its order."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from collections.abc import Iterator

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxpylayers.torch import CvxpyLayer

Problem = tuple[cp.Problem, cp.Parameter, cp.Parameter, cp.Variable]


@pytest.fixture
def least_absolute() -> Problem:
    x, A, b = cp.Variable(2), cp.Parameter((3, 2)), cp.Parameter(3)
    return cp.Problem(cp.Minimize(0.5 * cp.pnorm(A @ x - b, p=1)), [x >= 0]), A, b, x


def data(*batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(*batch, 3, 2, requires_grad=True), torch.randn(*batch, 3, requires_grad=True)


@pytest.fixture(autouse=True)
def _errors() -> Iterator[None]:
    """Nothing of this warns, but where a test expects it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_the_first_example(least_absolute: Problem) -> None:
    problem, A, b, x = least_absolute
    layer = CvxpyLayer(problem, parameters=[A, b], variables=[x])
    A_tch, b_tch = data()
    (solution,) = layer(A_tch, b_tch)
    solution.sum().backward()
    assert (solution.dtype, A_tch.grad.shape, b_tch.grad.shape) == (torch.float32, (3, 2), (3,))


def test_parameters_come_in_the_order_of_the_list(least_absolute: Problem) -> None:
    problem, A, b, x = least_absolute
    A_tch, b_tch = data()
    (first,), (second,) = (CvxpyLayer(problem, [A, b], [x])(A_tch, b_tch), CvxpyLayer(problem, [b, A], [x])(b_tch, A_tch))
    assert torch.equal(first, second)


def test_every_argument_of_the_constructor_and_the_call(least_absolute: Problem) -> None:
    problem, A, b, x = least_absolute
    layer = CvxpyLayer(
        problem, [A, b], [x], solver=cp.CLARABEL, gp=False, verbose=False, canon_backend=None, solver_args={"eps": 1e-9}
    )
    assert layer(*data(), solver_args={"max_iters": 500}, warm_start=True)[0].shape == (2,)


def test_batches_lead_and_shared_parameters_broadcast(least_absolute: Problem) -> None:
    problem, A, b, x = least_absolute
    layer = CvxpyLayer(problem, [A, b], [x])
    (A_tch, _), (_, b_tch) = data(10), data()
    (solution,) = layer(A_tch, b_tch)
    solution.sum().backward()
    assert (solution.shape, A_tch.grad.shape, b_tch.grad.shape) == ((10, 2), (10, 3, 2), (3,))


def test_scalars_are_tensors_without_axes_or_with_one() -> None:
    x, c = cp.Variable(2), cp.Parameter()
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - c))), [c], [x])
    assert layer(torch.tensor(1.0))[0].shape == (2,)
    assert layer(torch.tensor([1.0]))[0].shape == (1, 2)


def test_duals_beside_variables_and_alone() -> None:
    x, c, b = cp.Variable(2), cp.Parameter(2), cp.Parameter()
    equal = cp.sum(x) == b
    problem = cp.Problem(cp.Minimize(c @ x), [equal, x >= 0])
    values = torch.tensor([[1.0, 2.0], [4.0, 3.0]], requires_grad=True), torch.ones((), requires_grad=True)
    x_opt, dual = CvxpyLayer(problem, [c, b], [x, equal.dual_variables[0]])(*values)
    (alone,) = CvxpyLayer(problem, [c, b], [equal.dual_variables[0]])(*values)
    torch.testing.assert_close(dual, torch.tensor([-1.0, -3.0]))  # f + λ (1'x - b): the price of b, with CVXPY's sign
    torch.testing.assert_close(alone, dual)
    (gradient,) = torch.autograd.grad(dual.sum(), values[0])
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 0.0], [0.0, -1.0]]), atol=1e-6, rtol=0)
    assert x_opt.shape == (2, 2)


def test_geometric_programs() -> None:
    x, y, z = (cp.Variable(pos=True) for _ in range(3))
    a, b, c = cp.Parameter(pos=True, value=2.0), cp.Parameter(pos=True, value=1.0), cp.Parameter(value=0.5)
    problem = cp.Problem(cp.Minimize(1 / (x * y * z)), [a * (x * y + x * z + y * z) <= b, x >= y**c])
    layer = CvxpyLayer(problem, [a, b, c], [x, y, z], gp=True)
    values = [torch.tensor(p.value, requires_grad=True) for p in (a, b, c)]
    x_star, y_star, z_star = layer(*values)
    problem.solve(gp=True)
    np.testing.assert_allclose([x_star.item(), y_star.item(), z_star.item()], [x.value, y.value, z.value], rtol=1e-4)
    (x_star + y_star + z_star).backward()
    assert all(v.grad is not None for v in values)


OLD: list[dict[str, object]] = [
    {"eps": 1e-8, "max_iters": 10000, "acceleration_lookback": 0},
    {"use_indirect": False},
    {"mode": "dense", "solve_method": "ECOS"},
]


@pytest.mark.parametrize("arguments", OLD)
def test_options_of_old_mean_the_same_or_say_that_they_mean_nothing(least_absolute: Problem, arguments: dict[str, object]) -> None:
    problem, A, b, x = least_absolute
    with pytest.warns(UserWarning, match="without a meaning here are ignored"):
        CvxpyLayer(problem, [A, b], [x])(*data(), solver_args=arguments)


def test_a_solver_is_chosen_by_its_name(least_absolute: Problem) -> None:
    problem, A, b, x = least_absolute
    layer = CvxpyLayer(problem, [A, b], [x], solver=cp.CLARABEL)
    with pytest.warns(UserWarning, match="'solve_method'"):
        layer(*data(), solver_args={"solve_method": "SCS"})


def test_a_layer_per_sample() -> None:
    for _ in range(3):
        x, p = cp.Variable(2), cp.Parameter(2)
        layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= 0]), [p], [x])
        (solution,) = layer(torch.tensor([1.0, -1.0]))
        torch.testing.assert_close(solution, torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)


def test_attributes_are_checked_but_for_rounding() -> None:
    x, S, t = cp.Variable(2), cp.Parameter((2, 2), PSD=True), cp.Parameter(nonneg=True)
    layer = CvxpyLayer(cp.Problem(cp.Minimize(cp.quad_form(x, S) - t * cp.sum(x))), [S, t], [x], on_failure="nan")
    skewed = torch.tensor([[1.0, 1e-3], [0.0, 1.0]], requires_grad=True)
    rounded = torch.tensor([1.0, -1e-9])
    (solution,), info = layer.solve(skewed, rounded)
    assert info.solved.all()
    solution[0].sum().backward()
    assert torch.equal(skewed.grad, skewed.grad.T)
    clear = torch.tensor([[[1.0, 1e-2], [0.0, 1.0]], [[1.0, 0.0], [0.0, -1e-3]]])
    assert [str(s) for s in layer.solve(clear, rounded[0])[1].status] == ["invalid_input"] * 2
    assert str(layer.solve(skewed, torch.tensor(-1e-4))[1].status[0]) == "invalid_input"


def test_mistakes_are_the_exceptions_that_they_were(least_absolute: Problem) -> None:
    problem, A, b, x = least_absolute
    y, c = cp.Variable(), cp.Parameter()
    with pytest.raises(ValueError, match="DPP"):
        CvxpyLayer(cp.Problem(cp.Minimize(cp.exp(c * c * y))), [c], [y])
    with pytest.raises(ValueError, match="shape"):
        CvxpyLayer(problem, [A, b], [x])(torch.randn(2, 3), torch.randn(3))
    with pytest.raises(ValueError):  # noqa: PT011  what it says is tested elsewhere
        CvxpyLayer(problem, [A], [x])
    with pytest.raises(RuntimeError, match="primal_infeasible"):
        CvxpyLayer(cp.Problem(cp.Minimize(y), [y >= c, y <= 0]), [c], [y])(torch.tensor(1.0))


@pytest.mark.parametrize("library", ["torch", "jax", "mlx"])
def test_the_modules_of_the_layers_are_where_they_were(library: str) -> None:
    pytest.importorskip("mlx.core" if library == "mlx" else library)
    old, new = (importlib.import_module(f"cvxpylayers.{library}{path}") for path in (".cvxpylayer", ""))
    assert old.CvxpyLayer is new.CvxpyLayer


def test_forward_of_a_layer_in_mlx(least_absolute: Problem) -> None:
    mx = pytest.importorskip("mlx.core")
    from cvxpylayers.mlx.cvxpylayer import CvxpyLayer as MlxLayer

    problem, A, b, x = least_absolute
    arrays = [mx.array(t.detach().numpy()) for t in data()]
    layer = MlxLayer(problem, [A, b], [x])
    np.testing.assert_array_equal(np.array(layer.forward(*arrays)[0]), np.array(layer(*arrays)[0]))


FAILING = """
import pickle, cvxpy as cp, torch
from cvxpylayers.torch import CvxpyLayer
x, b = cp.Variable(), cp.Parameter()
layer = CvxpyLayer(cp.Problem(cp.Minimize(x), [x >= b, x <= 0]), [b], [x])
try: layer(torch.tensor(1.0))"""
AGAIN = "\ntry: layer(torch.tensor(1.0))"
SHOW = """
    copy = pickle.loads(pickle.dumps(error))
    print(type(copy).__name__, str(copy) == str(error), copy.info.status[0])"""
CATCHES = {
    "imported before": ("import diffcp.cone_program, cvxpylayers", "diffcp.SolverError", "diffcp.cone_program.SolverError",
                        "cvxpylayers.SolverError"),
    "imported after the layer": ("import cvxpylayers.torch, diffcp", "diffcp.cone_program.SolverError"),
    "without diffcp": ("import sys; sys.modules['diffcp'] = None", "RuntimeError"),
}  # fmt: skip


@pytest.mark.parametrize("how", CATCHES)
def test_a_failure_is_caught_as_what_1x_raised(how: str) -> None:
    """By whichever name, its module's and ours; and is a value like any other exception."""
    if how != "without diffcp":
        pytest.importorskip("diffcp")
    begin, *names = CATCHES[how]
    code = begin + FAILING + AGAIN.join(f"\nexcept {name} as error:{SHOW}" for name in names)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.split() == ["SolverError", "True", "primal_infeasible"] * len(names), found.stderr


def test_a_failure_imports_no_diffcp() -> None:
    here = "'diffcp' in sys.modules"
    code = f"import sys, cvxpy\nbefore = {here}{FAILING}\nexcept RuntimeError: print({here}, before)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    after, before = found.stdout.split()
    assert after == before


GONE = {
    "from cvxpylayers.utils.parse_args import parse_args": r"layer\.explain\(\)",
    "from cvxpylayers.utils.solver_utils import convert_to_csr": r"cvxpylayers\.engines",
    "from cvxpylayers.utils import forward_numpy": r"cvxpylayers\.numpy\.CvxpyLayer",
    "from cvxpylayers.interfaces import SolverInterface": r"cvxpylayers\.engines\.Engine",
    "from cvxpylayers.interfaces.base import SolverInterface": r"given as solver=",
    "from cvxpylayers.interfaces.diffcp_if import DIFFCP_ctx": "solver='DIFFCP'",
    "import cvxpylayers.utils.parse_args as pa; pa.LayersContext": r"layer\.explain\(\)",
}


@pytest.mark.parametrize("line", GONE)
def test_insides_of_1x_say_what_replaces_them(line: str) -> None:
    with pytest.raises(ImportError, match=GONE[line]):
        exec(line, {})
    import cvxpylayers.utils.solver_utils as module

    assert not hasattr(module, "__wrapped__")
