"""The layer as a ``torch.nn.Module`` and as a citizen of autograd."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable

import cvxpy as cp
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from cvxpylayers import InputError, InputTypeError
from cvxpylayers.torch import CvxpyLayer
from cvxpylayers.torch._function import Solve

F64 = torch.float64


def data(grad: bool = False) -> list[torch.Tensor]:
    return [torch.randn(4, 3, 2, dtype=F64, requires_grad=grad), torch.randn(3, dtype=F64, requires_grad=grad)]


CLONES = {"deepcopy": copy.deepcopy, "copy": copy.copy, "pickle": lambda module: pickle.loads(pickle.dumps(module))}


@pytest.mark.parametrize("clone", CLONES.values(), ids=CLONES)
def test_clones_give_the_same_bits(nnls: CvxpyLayer, clone: Callable[[torch.nn.Module], torch.nn.Module]) -> None:
    model = torch.nn.ModuleDict({"layer": nnls, "linear": torch.nn.Linear(2, 2, dtype=F64)})
    again = clone(model)
    inputs = data(grad=True)
    for module in (model, again):
        (x,) = module["layer"](*inputs)
        module["linear"](x).sum().backward()
    assert torch.equal(model["layer"](*inputs)[0], again["layer"](*inputs)[0])


def test_a_layer_has_no_state_and_survives_module_methods(nnls: CvxpyLayer) -> None:
    assert nnls.state_dict() == {}
    assert list(nnls.parameters()) == []
    inputs = data()
    before = nnls(*inputs)[0]
    nnls.load_state_dict({})
    nnls.double().float().to("cpu").eval().train()
    assert torch.equal(nnls(*inputs)[0], before)


def test_gradients_reach_only_those_who_ask(nnls: CvxpyLayer) -> None:
    A, b = data()
    b.requires_grad_()
    nnls(A, b)[0].sum().backward()
    assert A.grad is None
    assert b.grad is not None
    assert b.grad.shape == (3,)


def test_nothing_is_recorded_without_need(nnls: CvxpyLayer) -> None:
    assert nnls(*data())[0].grad_fn is None
    with torch.no_grad():
        assert nnls(*data(grad=True))[0].grad_fn is None
    calls: list[bool] = []
    layer = nnls._layer
    solve = layer.engine.solve

    def spy(*args: object, tape: bool) -> object:
        calls.append(tape)
        return solve(*args, tape=tape)

    layer.engine.solve = spy
    nnls(*data())
    nnls(*data(grad=True))
    with torch.inference_mode():
        nnls(*data(grad=True))
    assert calls == [False, True, False]


def test_unused_outputs_cost_no_gradient(interval: CvxpyLayer) -> None:
    lo = torch.tensor([[0.3, -1.0]], dtype=F64, requires_grad=True)
    x, _ = interval(lo, torch.ones(2, dtype=F64), torch.ones((), dtype=F64))
    x.sum().backward()
    torch.testing.assert_close(lo.grad, torch.tensor([[1.0, 0.0]], dtype=F64), atol=1e-9, rtol=0)


def test_the_graph_can_be_kept_but_not_changed_underneath(nnls: CvxpyLayer) -> None:
    inputs = data(grad=True)
    (x,) = nnls(*inputs)
    first = torch.autograd.grad(x.sum(), inputs, retain_graph=True)
    again = torch.autograd.grad(x.sum(), inputs)
    assert all(torch.equal(f, a) for f, a in zip(first, again, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(x.sum(), inputs)
    (x,) = nnls(*inputs)
    with torch.no_grad():
        inputs[1].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.sum().backward()


def test_the_call_leaves_nothing_on_the_layer(nnls: CvxpyLayer) -> None:
    inputs = data(grad=True)
    torch.autograd.grad(nnls(*inputs)[0].sum(), inputs)  # an engine may keep what follows from the problem alone
    before = {**vars(nnls._layer), **vars(nnls._layer.engine)}
    (x,), info = nnls.solve(*inputs)
    x.sum().backward()
    gone = weakref.ref(info.codes)
    del x, info
    gc.collect()
    assert gone() is None
    after = {**vars(nnls._layer), **vars(nnls._layer.engine)}
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def test_checkpointing_recomputes_the_same(nnls: CvxpyLayer) -> None:
    inputs = data(grad=True)
    direct = torch.autograd.grad(nnls(*inputs)[0].sum(), inputs)
    again = torch.autograd.grad(checkpoint(lambda *t: nnls(*t)[0], *inputs, use_reentrant=False).sum(), inputs)
    assert all(torch.equal(d, a) for d, a in zip(direct, again, strict=True))


def test_mistakes_name_the_parameter(nnls: CvxpyLayer) -> None:
    A, b = data()
    with pytest.raises(InputTypeError, match=r"Parameter 'b' must be a torch.Tensor; got list: use torch.as_tensor"):
        nnls(A, [1.0, 2.0, 3.0])
    with pytest.raises(InputTypeError, match=r"Parameter 'A' must be dense; got torch.sparse_coo: use value.to_dense"):
        nnls(A.to_sparse(), b)
    with pytest.raises(InputError, match="'b' is on meta, the first on cpu"):
        nnls(A, b.to("meta"))
    with pytest.raises(InputError, match="'A' is on the meta device and holds no numbers"):
        nnls.solve(A.to("meta"), b.to("meta"))
    with pytest.raises(InputTypeError, match=r"got a list: pass the parameters one by one, layer\(\*values\)"):
        nnls([A, b])
    with pytest.raises(InputTypeError, match=r"got a cvxpy.Parameter: pass its value, torch.as_tensor\(parameter.value\)"):
        nnls(A, cp.Parameter(3))
    with pytest.raises(InputError, match=r"takes 2 parameters \(A: \(3, 2\), b: \(3,\)\); got 3"):
        nnls(A, b, b)
    with pytest.raises(InputError, match=r"'A' must have shape \(3, 2\) or \(\*batch, 3, 2\); got \(4, 2, 3\)"):
        nnls(A.mT, b)
    with pytest.raises(InputTypeError, match=r"'b' must hold real numbers .* complex64"):
        nnls(A, b.to(torch.complex64))


def test_autograd_keeps_the_function_by_name(nnls: CvxpyLayer) -> None:
    assert type(nnls(*data(grad=True))[0].grad_fn).__name__ == f"{Solve.__name__}Backward"
