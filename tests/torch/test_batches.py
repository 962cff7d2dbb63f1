"""Batches of tensors: types, memory layouts, chunks; `tests/laws/test_front_ends.py` has broadcasting, in every library."""

from __future__ import annotations

import pytest
import torch

from cvxpylayers import InputError, SolverError
from cvxpylayers.torch import CvxpyLayer
from cvxpylayers.torch._tensors import compact

F64 = torch.float64
SHAPES = [(3, 2), (3,), (), (2,)]  # the parameters of ``ridge``


def draw(axes: tuple[tuple[int, ...], ...], dtype: torch.dtype = F64, grad: bool = False) -> list[torch.Tensor]:
    A, b, lam, u = (torch.randn((*a, *s), dtype=dtype) for a, s in zip(axes, SHAPES, strict=True))
    return [t.requires_grad_(grad) for t in (A, b, (lam.abs() + 0.1), (u.abs() + 0.6))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_dtype_of_the_inputs_comes_back_and_double_is_inside(ridge: CvxpyLayer, dtype: torch.dtype) -> None:
    tensors = draw(((4,), (), (), ()), dtype, grad=True)
    doubles = [t.detach().double().requires_grad_() for t in tensors]
    (x,), (exact,) = ridge(*tensors), ridge(*doubles)
    assert x.dtype is dtype
    assert torch.equal(x, exact.to(dtype))
    found = torch.autograd.grad(x.sum(), tensors)
    expected = torch.autograd.grad(exact.sum(), doubles)
    for f, e in zip(found, expected, strict=True):
        assert f.dtype is dtype
        assert torch.equal(f, e.to(dtype))


def test_mixed_dtypes_are_promoted_and_integers_count_for_nothing(ridge: CvxpyLayer) -> None:
    A, b, lam, u = draw(((), (), (), ()), torch.float32)
    assert ridge(A, b, lam, u)[0].dtype is torch.float32
    assert ridge(A, b.double(), lam, u)[0].dtype is F64
    whole = torch.tensor([2, 3])
    assert torch.equal(ridge(A, b, lam, whole)[0], ridge(A, b, lam, whole.float())[0])


def layouts(t: torch.Tensor) -> list[torch.Tensor]:
    """The same values in other memory layouts."""
    strided = torch.stack([t, -t], dim=-1)[..., 0]
    reversed_axes = t.permute(*reversed(range(t.dim()))).contiguous().permute(*reversed(range(t.dim())))
    return [strided, reversed_axes, torch.cat([t, t])[: len(t)]]


def test_memory_layout_does_not_matter(ridge: CvxpyLayer) -> None:
    tensors = draw(((4,), (4,), (4,), (4,)))
    weight = torch.randn(4, 2, dtype=F64)

    def both(views: list[torch.Tensor]) -> list[torch.Tensor]:
        views = [v.detach().requires_grad_() for v in views]
        (x,) = ridge(*views)
        return [x, *torch.autograd.grad((weight * x).sum(), views)]

    expected = both(tensors)
    for views in zip(*(layouts(t) for t in tensors), strict=True):
        assert all(torch.equal(f, e) for f, e in zip(both(list(views)), expected, strict=True))


def test_expanded_inputs_are_shared_and_their_gradients_are_per_instance(ridge: CvxpyLayer) -> None:
    A, b, lam, u = draw(((), (5,), (), ()))
    wide = A.expand(5, 3, 2)
    batch = ridge._layer.batch([t.numpy() for t in (wide, b, lam, u)])
    assert batch.arrays[0].strides[0] == 0
    repeated = A.repeat(5, 1, 1).requires_grad_()
    wide = wide.detach().requires_grad_()
    found = torch.autograd.grad(ridge(wide, b, lam, u)[0].sum(), wide)[0]
    expected = torch.autograd.grad(ridge(repeated, b, lam, u)[0].sum(), repeated)[0]
    assert torch.equal(found, expected)


def test_outputs_do_not_share_memory(interval: CvxpyLayer) -> None:
    lo, hi, c = torch.zeros(3, 2, dtype=F64) - 1, torch.ones(2, dtype=F64), torch.ones(3, dtype=F64)
    x, y = interval(lo, hi, c)
    assert x.view(-1).shape == (6,)
    before = y.clone()
    x.fill_(7.0)
    assert torch.equal(y, before)


def test_chunks_are_the_batch(nnls: CvxpyLayer) -> None:
    A, b = torch.randn(10, 3, 2, dtype=F64), torch.randn(3, dtype=F64)
    whole, info = nnls.solve(A, b)
    found = list(nnls.solve_many(A, b, chunk_size=4, progress=False))
    assert [chunk.rows for chunk in found] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert torch.equal(torch.cat([chunk.outputs[0] for chunk in found]), whole[0])
    assert [n for chunk in found for n in chunk.info.iterations] == info.iterations.tolist()
    (rest,) = nnls.solve_many(A, b, chunk_size=4, start=8)
    assert torch.equal(rest.outputs[0], whole[0][8:])


def test_chunks_of_several_axes_and_of_none(nnls: CvxpyLayer) -> None:
    A, b = torch.randn(5, 1, 3, 2, dtype=F64), torch.randn(4, 3, dtype=F64)
    found = torch.cat([chunk.outputs[0] for chunk in nnls.solve_many(A, b, chunk_size=2)])
    assert torch.equal(found, nnls(A, b)[0])
    assert list(nnls.solve_many(A[:0], b)) == []
    for parameters, options in (((A[0, 0], b[0]), {}), ((A, b), {"chunk_size": 0}), ((A, b), {"start": 6})):
        with pytest.raises(InputError, match="A batch axis, chunk_size"):
            nnls.solve_many(*parameters, **options)


def test_chunks_are_solved_when_asked_for_and_keep_nothing(nnls: CvxpyLayer) -> None:
    A, b = torch.randn(10, 3, 2, dtype=F64), torch.randn(3, dtype=F64, requires_grad=True)
    calls: list[int] = []
    engine = nnls._layer.engine
    solve = engine.solve
    engine.solve = lambda batch, *args, **kwargs: (calls.append(batch.size), solve(batch, *args, **kwargs))[1]
    for chunk in nnls.solve_many(A, b, chunk_size=4):
        chunk.outputs[0].sum().backward()  # gradients accumulate
        if len(calls) == 2:
            break
    assert calls == [4, 4]
    expected = torch.autograd.grad(nnls(A[:8], b)[0].sum(), b)[0]
    torch.testing.assert_close(b.grad, expected, atol=1e-12, rtol=0)


def test_a_failure_ends_the_chunks_where_it_is(interval: CvxpyLayer) -> None:
    lo = torch.zeros(6, 2, dtype=F64)
    lo[4] = 5.0
    hi, c = torch.ones(2, dtype=F64), torch.ones((), dtype=F64)
    chunks = interval.solve_many(lo, hi, c, chunk_size=3)
    assert next(chunks).rows == slice(0, 3)
    with pytest.raises(SolverError, match="1 of 3"):
        next(chunks)
    through = [len(chunk.info.failed) for chunk in interval.solve_many(lo, hi, c, chunk_size=3, on_failure="nan")]
    assert through == [0, 1]


@pytest.mark.parametrize(("shape", "to"), [((3,), (5, 3)), ((1, 3), (5, 3)), ((4, 1, 3), (4, 6, 3)), ((2, 3), (2, 3))])
def test_what_is_shared_travels_to_the_host_once(shape: tuple[int, ...], to: tuple[int, ...]) -> None:
    spread = torch.randn(shape).expand(to)
    staged = compact(spread)
    assert staged.numel() == torch.Size(shape).numel()
    assert torch.equal(staged.expand(to), spread)


def test_tensors_that_are_not_what_lies_in_their_memory(nnls: CvxpyLayer) -> None:
    """A negation not carried out, zeros without memory, repeated and transposed entries: as the same numbers written out."""
    A, b = torch.randn(4, 3, 2, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    negated = torch.complex(torch.zeros_like(b), -b).conj().imag
    assert negated.is_neg()
    turned = A.mT.contiguous().mT
    assert torch.equal(nnls(turned, negated)[0], nnls(A, b)[0])
    zero, one = torch._efficientzerotensor(4, 2, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    for cotangent in (zero, one.expand(4, 2), torch.randn(2, 4, dtype=torch.float64).T):
        given = [A.clone().requires_grad_(), b.clone().requires_grad_()]
        found = torch.autograd.grad(nnls(*given)[0], given, cotangent)
        written = torch.autograd.grad(nnls(*given)[0], given, cotangent.clone().contiguous() + 0.0)
        assert all(torch.equal(f, w) for f, w in zip(found, written, strict=True))


def test_memory_that_is_replaced_before_the_derivative_is_taken(nnls: CvxpyLayer) -> None:
    """As sharded training does, which gathers weights anew on the way back: what is read is what the tensors then have."""
    A, b = torch.randn(256, 3, 2, dtype=torch.float64), torch.randn(256, 3, dtype=torch.float64)
    given = [A.clone().requires_grad_(), b.clone().requires_grad_()]
    x_star = nnls(*given)[0]
    for tensor, numbers in zip(given, (A, b), strict=True):
        tensor.data = torch.full_like(tensor, torch.nan)
        tensor.data = numbers.clone()
    expected = torch.autograd.grad(nnls(A.requires_grad_(), b.requires_grad_())[0].sum(), [A, b])
    assert all(torch.equal(f, e) for f, e in zip(torch.autograd.grad(x_star.sum(), given), expected, strict=True))
