"""Parameters and variables in CVXPY's parametrized program: their attributes, and where their entries went.

Beside ``cvxpy_bridge`` the only module that touches CVXPY's internals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.reductions.cvx_attr2constr import SYMMETRIC_ATTRIBUTES, lower_value, recover_value_for_leaf
from cvxpy.reductions.dgp2dcp.dgp2dcp import Dgp2Dcp

from cvxpylayers._program import Form
from cvxpylayers._typing import NDArray


def support(leaf: cp.Parameter) -> tuple[int, ...] | None:
    """Positions in C order of the entries that a diagonal or sparse ``leaf`` may hold; None for all."""
    if leaf.attributes["diag"]:
        return tuple(range(0, leaf.size, leaf.shape[0] + 1))
    if leaf.sparse_idx is not None:
        return tuple(np.ravel_multi_index(leaf.sparse_idx, leaf.shape).tolist())
    return None


def numeric_bounds(leaf: cp.Parameter) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The attribute ``bounds`` where it holds numbers: least and largest values in C order, one where all agree."""
    if leaf.bounds is None or any(isinstance(bound, cp.Expression) for bound in leaf.bounds):
        return None
    low, high = (bound.toarray() if sp.issparse(bound) else np.asarray(bound, dtype=np.float64) for bound in leaf.bounds)
    return tuple(low.ravel().tolist()), tuple(high.ravel().tolist())


def parameter_map(
    parameters: Sequence[cp.Parameter], program: Any, reductions: Sequence[Any]
) -> tuple[tuple[tuple[Form, ...], ...], sp.csr_array]:
    """The forms in which parameters occur, and the map with π = map @ [θ; 1]."""
    total, start = program.total_param_size, 0
    rows, columns, values, forms = [], [], [], []
    for parameter in parameters:
        found = {form: key for form, key in _forms(parameter, reductions).items() if key in program.param_id_to_col}
        forms.append(tuple(found) or ("value",))
        for key in found.values():
            labels = start + np.arange(parameter.size).reshape(parameter.shape)
            start += parameter.size
            views = _views(parameter, labels)
            for view in views:
                rows.append(program.param_id_to_col[key] + np.arange(view.size))
                columns.append(np.ravel(view, order="F"))
                values.append(np.full(view.size, 1 / len(views)))
        start += parameter.size * (not found)
    entries = np.concatenate([*values, [1.0]]), (np.concatenate([*rows, [total]]), np.concatenate([*columns, [start]]))
    return tuple(forms), sp.csr_array(entries, shape=(total + 1, start + 1))


def _forms(parameter: cp.Parameter, reductions: Sequence[Any]) -> dict[Form, int]:
    """The ids under which ``parameter``, as it is and as its logarithm, would be known to the cone program."""
    ids: dict[Form, int] = {"value": parameter.id}
    for reduction in reductions:
        renamed = reduction.param_id_map
        if isinstance(reduction, Dgp2Dcp) and parameter.id in renamed:
            (ids["log"],) = renamed[parameter.id]
        else:
            ids = {form: renamed.get(key, [key])[0] for form, key in ids.items()}
    return ids


def _views(parameter: cp.Parameter, labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Views of ``labels`` (the shape of ``parameter``), in the form in which CVXPY stores values; θ's entries are their mean.

    The upper triangle it takes of a symmetric one is read as the mean of both triangles: the same number, but a gradient that is
    symmetric as well.
    """
    mirrored = any(parameter.attributes[name] for name in SYMMETRIC_ATTRIBUTES)
    return [lower_value(parameter, view) for view in ([labels, labels.swapaxes(-1, -2)] if mirrored else [labels])]


def locate_primal(variable: cp.Variable, program: Any, renamed: dict[int, list[int]]) -> NDArray[np.int64]:
    """Positions in x of the entries of ``variable``: CVXPY's own expansion of structured variables, applied to positions."""
    (key,) = renamed.get(variable.id, [variable.id])
    if key not in program.var_id_to_col:
        return np.full(variable.size, -1)
    size = program.id_to_var[key].size
    labels = 1 + program.var_id_to_col[key] + np.arange(size, dtype=np.float64)
    if size == variable.size:
        full = labels.reshape(variable.shape, order="F")
    else:
        expanded = recover_value_for_leaf(variable, labels, project=False)
        full = expanded.toarray() if sp.issparse(expanded) else np.asarray(expanded)
    return np.ravel(full).astype(np.int64) - 1
