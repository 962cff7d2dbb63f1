"""Chunked and labelled arrays: Dask and xarray give what one call gives, to the last bit, with coordinates and statuses."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import Status
from cvxpylayers.numpy import CvxpyLayer

da = pytest.importorskip("dask.array")
xr = pytest.importorskip("xarray")


def layer() -> CvxpyLayer:
    """min |F w - g|² over the budget sum(w) = 1, 0 ≤ w ≤ cap; infeasible where cap < 1/3."""
    w, F, g, cap = cp.Variable(3, name="w"), cp.Parameter((2, 3), name="F"), cp.Parameter(2, name="g"), cp.Parameter(name="cap")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(F @ w - g) + cp.sum_squares(w)), [cp.sum(w) == 1, w >= 0, w <= cap])
    return CvxpyLayer(problem, [F, g, cap], [w])


def values() -> tuple[np.ndarray[Any, Any], ...]:
    """Loop axes (6, 1), (5) and (5): a surface of 6 × 5 instances, of which those of the first cap are infeasible."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((6, 1, 2, 3)), rng.standard_normal((5, 2)), np.array([0.2, 0.5, 0.6, 0.8, 1.0])


def test_the_signature_says_what_goes_in_and_out() -> None:
    gufunc = layer().gufunc
    assert gufunc.signature == "(d0,d1),(d2),()->(d3),()"
    assert gufunc.output_sizes == {"d3": 3}
    w, codes = gufunc(*values())
    (expected,), info = layer().solve(*values(), on_failure="nan")
    np.testing.assert_array_equal(w, expected)
    np.testing.assert_array_equal(codes, info.codes)
    assert (codes[:, 0] == Status.PRIMAL_INFEASIBLE).all()
    assert (codes[:, 1:] == Status.SOLVED).all()


def test_dask_on_two_workers() -> None:
    distributed = pytest.importorskip("dask.distributed")
    gufunc = layer().gufunc
    F, g, cap = (da.from_array(a, chunks=c) for a, c in zip(values(), ((2, 1, 2, 3), (2, 2), (2,)), strict=True))
    options = {"output_dtypes": gufunc.output_dtypes, "output_sizes": gufunc.output_sizes}
    w, codes = da.apply_gufunc(gufunc, gufunc.signature, F, g, cap, **options)
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True):
        found = da.compute(w, codes)
    for ours, theirs in zip(found, gufunc(*values()), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("chunked", [False, True])
def test_xarray_keeps_labels(chunked: bool) -> None:
    gufunc = layer().gufunc
    F, g, cap = values()
    date, cost, asset = np.arange(6), [10.0, 20.0, 30.0, 40.0, 50.0], ["a", "b", "c"]
    labelled = [
        xr.DataArray(F[:, 0], dims=("date", "factor", "asset"), coords={"date": date, "asset": asset}),
        xr.DataArray(g, dims=("cost", "factor"), coords={"cost": cost}),
        xr.DataArray(cap, dims=("cost",), coords={"cost": cost}),
    ]
    if chunked:
        labelled = [array.chunk({name: 2 for name in array.dims if name in ("date", "cost")}) for array in labelled]
    w, codes = xr.apply_ufunc(
        gufunc,
        *labelled,
        input_core_dims=[["factor", "asset"], ["factor"], []],
        output_core_dims=[["asset"], []],
        dask="parallelized",
        output_dtypes=list(gufunc.output_dtypes),
        dask_gufunc_kwargs={"output_sizes": {"asset": 3}} if chunked else None,
    )
    expected, statuses = gufunc(*values())
    assert w.dims == ("date", "cost", "asset")
    assert list(w.asset.values) == asset
    np.testing.assert_array_equal(w.values, expected)
    np.testing.assert_array_equal(codes.sel(cost=10.0).values, statuses[:, 0])
