"""Compiled, exported and traced models contain the layer whole, and compute the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cvxpy as cp
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import grad, jacfwd, jacrev, vmap

from cvxpylayers import InputError, SolverError
from cvxpylayers.torch import CvxpyLayer, _ops
from cvxpylayers.torch._handles import handle
from tests.processes import python

F64 = torch.float64


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch._dynamo.reset()


def compiled(function: Callable[..., torch.Tensor], **options: object) -> Callable[..., torch.Tensor]:
    """One graph or an error; every stage of the compiler but code generation, which needs a C++ compiler and adds minutes."""
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


def inputs(batch: int = 4, grad: bool = False) -> list[torch.Tensor]:
    return [torch.randn(batch, 3, 2, dtype=F64, requires_grad=grad), torch.randn(3, dtype=F64, requires_grad=grad)]


def test_one_graph_with_the_same_bits(nnls: CvxpyLayer) -> None:
    linear = torch.nn.Linear(2, 1, dtype=F64)

    def loss(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        (x,) = nnls(A * 2, b, solver_args={"tolerance": 1e-9})
        return linear(x).square().sum()

    A, b = inputs(grad=True)
    assert torch.equal(compiled(loss)(A, b), loss(A, b))
    found, expected = (torch.autograd.grad(f(A, b), [A, b]) for f in (compiled(loss), loss))
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_a_module_compiles_in_place(nnls: CvxpyLayer) -> None:
    model = torch.nn.Sequential(nnls)
    A = torch.randn(3, 2, dtype=F64)
    x, t = cp.Variable(2), cp.Parameter(2)
    single = CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - t)), [x >= 0]), [t], [x])
    chain = torch.nn.Sequential(torch.nn.Linear(2, 2, dtype=F64), single)
    expected = chain(A)[0]
    chain.compile(fullgraph=True, backend="aot_eager")
    assert torch.equal(chain(A)[0], expected)
    assert len(list(model.parameters())) == 0


def test_batch_sizes_do_not_recompile(nnls: CvxpyLayer) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    dynamic = torch.compile(lambda A, b: nnls(A, b)[0].square().sum(), fullgraph=True, dynamic=True, backend=counter)
    for batch in (5, 7, 4, 9):  # not 3 first: PyTorch takes equal sizes in the first call to be one size
        A, b = inputs(batch, grad=True)
        assert torch.equal(dynamic(A, b), nnls(A, b)[0].square().sum())
        assert torch.autograd.grad(dynamic(A, b), A)[0].shape == A.shape
    assert counter.frame_count == 1


TRANSFORMED = {
    "vmap": lambda f: vmap(f, in_dims=(0, None)),
    "grad": lambda f: grad(lambda A, b: f(A, b).square().sum()),
    "vmap of grad": lambda f: vmap(grad(lambda A, b: f(A, b).square().sum()), in_dims=(0, None)),
    "vmap of jacrev": lambda f: vmap(jacrev(f), in_dims=(0, None)),
    "jacfwd": lambda f: lambda A, b: jacfwd(f)(A[0], b),
}


@pytest.mark.parametrize("transform", TRANSFORMED.values(), ids=TRANSFORMED)
def test_transformations_inside_a_graph(nnls: CvxpyLayer, transform: Callable[..., Callable[..., torch.Tensor]]) -> None:
    function = transform(lambda A, b: nnls(A, b)[0])
    A, b = inputs()
    assert torch.equal(compiled(function)(A, b), function(A, b))


def test_failures_are_told_from_inside_a_graph(interval: CvxpyLayer) -> None:
    lo, hi, c = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=F64), torch.ones(2, dtype=F64), torch.ones((), dtype=F64)
    with pytest.raises(SolverError, match="1 of 2 instances"):
        compiled(lambda lo: interval(lo, hi, c)[0])(lo)
    found = compiled(lambda lo: interval(lo, hi, c, on_failure="nan")[0])(lo)
    assert found.isnan().all(dim=1).tolist() == [False, True]


def test_solve_steps_out_of_the_graph(nnls: CvxpyLayer) -> None:
    def loss(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        (x,), _ = nnls.solve(A * 2, b)
        return x.square().sum()

    A, b = inputs()
    assert torch.equal(torch.compile(loss, backend="eager")(A, b), loss(A, b))


def test_shapes_are_known_without_numbers(nnls: CvxpyLayer) -> None:
    A, b = inputs()
    (x,) = nnls(A.to("meta"), b.to("meta", torch.float32))
    assert (x.shape, x.dtype, x.device.type) == ((4, 2), F64, "meta")
    with FakeTensorMode() as mode:
        (x,) = nnls(*(mode.from_tensor(t) for t in (A, b)))
    assert x.shape == (4, 2)
    with pytest.raises(InputError, match=r"'A' must have shape \(3, 2\)"):
        nnls(A.mT.to("meta"), b.to("meta"))


class Model(torch.nn.Module):
    def __init__(self, layer: CvxpyLayer) -> None:
        super().__init__()
        self.linear, self.layer = torch.nn.Linear(3, 3, dtype=F64), layer

    def forward(self, A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.layer(A, self.linear(b), solver_args={"tolerance": 1e-9})[0]


FRESH = """
import sys, torch, cvxpylayers.torch
A, b, expected, gradient = torch.load(sys.argv[1])
for path in sys.argv[2:]:
    x = torch.export.load(path).module()(A.requires_grad_(), b)
    print(torch.equal(x, expected), torch.equal(torch.autograd.grad(x.square().sum(), A)[0], gradient))
"""


def test_exported_models_run_and_learn_in_a_new_process(nnls: CvxpyLayer, tmp_path: Path) -> None:
    model, (A, b) = Model(nnls), inputs(grad=True)
    b = b.detach()
    batch = torch.export.Dim("batch")
    files = [tmp_path / f"{name}.pt2" for name in ("traced", "strict")]
    for file in files:
        point = torch.randn(3, 3, 2, dtype=F64), b
        program = torch.export.export(model, point, dynamic_shapes=({0: batch}, None), strict=file.stem == "strict")
        torch.export.save(program, file)
    x = model(A, b)
    (gradient,) = torch.autograd.grad(x.square().sum(), A)
    torch.save((A.detach(), b, x.detach(), gradient), tmp_path / "data.pt")
    found = python("-c", FRESH, tmp_path / "data.pt", *files)
    assert found.stdout.split() == ["True", "True"] * 2, found.stderr


def test_operators_keep_the_rules_of_operators(nnls: CvxpyLayer) -> None:
    A, b = inputs(grad=True)
    arguments = (handle(nnls._ticket), "{}", True, [A, b])
    torch.library.opcheck(torch.ops.cvxpylayers.solve.default, arguments)
    row = [t.detach() for t in (torch.ops.cvxpylayers.solve(*arguments)[-1], A, b)]
    cotangent, tangent = torch.randn(4, 2, dtype=F64), torch.randn(4, 3, 2, dtype=F64)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(
        torch.ops.cvxpylayers.vjp.default, (handle(nnls._ticket), False, [True, True], [*row, cotangent]), test_utils=checks
    )
    torch.library.opcheck(
        torch.ops.cvxpylayers.jvp.default, (handle(nnls._ticket), False, [True], [*row, tangent, None]), test_utils=checks
    )


def test_constants_are_marked_as_by_the_compiler() -> None:
    """Which ``_ops`` does without it."""
    assert vars(_ops._handle) == vars(torch.compiler.assume_constant_result(lambda: ""))
