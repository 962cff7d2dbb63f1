"""The order of elimination, found once a layer, is no more expensive than the cheapest that is known."""

from __future__ import annotations

import pytest

from cvxpylayers._layer.layer import Layer
from problems.conic_families import ALL

# Flops of one factorization in the cheapest order that is known.
FLOPS = {
    "nnls_3x2": 50,
    "portfolio_10": 570,
    "portfolio_100": 353_700,
    "factor_portfolio_100": 17_790,
    "dense_qp_20": 13_552,
    "dense_qp_50": 203_020,
    "dense_qp_100": 1_600_240,
    "shared_qp_50": 203_020,
    "mpc_30": 101_442,
    "transport_10x10": 2_920,
    "sudoku_4": 133_088,
    "group_regression_30x20": 18_712,
    "robust_portfolio_20": 26_222,
    "entropy_30": 1_920,
    "logistic_20x5": 5_980,
    "psd_projection_6": 13_544,
    "cut_relaxation_8": 65_064,
    "norm_regression_20x5": 4_914,
}


@pytest.mark.parametrize("name", FLOPS)
def test_no_order_costs_more_than_the_cheapest_known(name: str) -> None:
    problem, parameters, variables = ALL[name].make()
    assert Layer(problem, parameters, variables).engine.describe()["factor_flops"] <= FLOPS[name]
