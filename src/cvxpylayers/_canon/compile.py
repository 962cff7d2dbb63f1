"""Problem → ``CompiledProblem``: the two constant maps, in engine order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from cvxpylayers._canon.cvxpy_bridge import ConeForm, IrreducibleError, brief, canonicalize, owner
from cvxpylayers._canon.epigraph_rows import tight_rows
from cvxpylayers._canon.faces import Entries, on_faces
from cvxpylayers._canon.layout import Block, Kind, Rows, lay_out
from cvxpylayers._canon.leaves import numeric_bounds, support
from cvxpylayers._canon.reducible import irreducible
from cvxpylayers._canon.validate import validate
from cvxpylayers._program import CompiledProblem, Form, OutputSpec, ParameterSpec, Pattern, Structure
from cvxpylayers._typing import Bool, Float64, NDArray
from cvxpylayers._typing import Int32 as Index
from cvxpylayers.errors import ProblemError

_CROWDED: Final = 16  # cells of a matrix for each of its entries


def compile_problem(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    variables: Sequence[cp.Variable],
    *,
    gp: bool = False,
    canon_backend: str | None = None,
) -> CompiledProblem:
    """Compile a DPP ``problem`` (``gp``: a DGP one) once for all values of its parameters.

    ``parameters`` must be exactly the problem's, in the order in which calls will pass them. ``variables`` are the outputs:
    variables of the problem, or dual variables of its constraints (``constraint.dual_variables[0]``). ``problem`` is not modified.
    All parameters and outputs have full shape: of a symmetric parameter both triangles are read, half each; entries outside the
    structure of a diagonal or sparse one must be zero and are not read.

    Raises ``ProblemError`` or ``InputTypeError``, before anything is built, where the arguments cannot make a layer.
    """
    validate(problem, parameters, variables, gp=gp, canon_backend=canon_backend)
    try:
        form = canonicalize(problem, parameters, variables, canon_backend, gp=gp)
    except IrreducibleError as error:
        raise irreducible(problem, gp, error) from error.__cause__
    form = _shrink(_pin(_free_vacuous_rows(form)))
    rows = lay_out(form.blocks)
    structure, M = _value_map(form, rows)
    return CompiledProblem(
        structure=structure,
        M=M,
        R=_output_map(form, rows),
        parameters=_parameter_specs(parameters, form.forms, M, structure),
        outputs=tuple(_output_spec(variable, problem, gp) for variable in variables),
        objective_sign=-1 if isinstance(problem.objective, cp.Maximize) else 1,
        row_sources=_row_sources(form, rows),
        log_space=gp,
    )


def _free_vacuous_rows(form: ConeForm) -> ConeForm:
    """Turn rows such as x ≤ +inf, which hold for every x, into free ones; refuse every other constant that is not finite."""
    stray = sum(np.count_nonzero(~np.isfinite(tensor.data)) for tensor in (form.P, form.q, form.G) if tensor is not None)
    if not stray:
        return form
    height = sum(block.rows for block in form.blocks)
    constants = form.G[:, [-1]].toarray().reshape(height, form.n + 1, order="F")[:, -1]
    kinds = np.repeat([block.kind for block in form.blocks], [block.rows for block in form.blocks])
    vacuous = (constants == np.inf) & (kinds == "nonneg")
    if np.count_nonzero(vacuous) < stray:
        raise ProblemError("A constant of the problem is NaN or infinite; only bounds that never bind, as in x <= np.inf, may be.")
    return _recast(form, vacuous, "free")


def _pin(form: ConeForm) -> ConeForm:
    """Make equalities of the inequality rows that ``tight_rows`` finds."""
    movable, height = form.auxiliary.copy(), sum(block.rows for block in form.blocks)
    if not movable.any() or not height:
        return form
    costly = _entries(form.q, form.n + 1)[0]
    movable[costly[costly < form.n]] = False
    for index in _entries(form.P, form.n)[:2]:
        movable[index] = False
    if not movable.any():
        return form
    row, column, source, value = _entries(form.G, height, np.append(movable, False))
    movable[column[source < form.parameters.shape[0] - 1]] = False
    kept = movable[column]
    chosen = np.zeros(height, dtype=np.bool_)
    chosen[tight_rows(form.blocks, row[kept], column[kept], value[kept])] = True
    return _recast(form, chosen, "tight")


def _shrink(form: ConeForm) -> ConeForm:
    """Give matrices that constant equalities keep on the boundary of a semidefinite cone a smaller one."""
    if not {"psd"} < {block.kind for block in form.blocks}:
        return form
    return on_faces(form, Entries(*_entries(form.G, sum(block.rows for block in form.blocks))))


def _recast(form: ConeForm, chosen: Bool, kind: Kind) -> ConeForm:
    """Give the ``chosen`` ones among the nonnegative rows another kind."""
    blocks, sources, start = [], [], 0
    for block, source in zip(form.blocks, form.sources, strict=True):
        mask = chosen[start : start + block.rows]
        start += block.rows
        if not mask.any():
            runs = [block]
        else:
            cuts = [0, *(1 + np.flatnonzero(mask[1:] != mask[:-1])).tolist(), block.rows]
            runs = [Block(kind if mask[a] else block.kind, b - a) for a, b in pairwise(cuts)]
        blocks += runs
        sources += [source] * len(runs)
    return replace(form, blocks=tuple(blocks), sources=tuple(sources))


def _value_map(form: ConeForm, rows: Rows) -> tuple[Structure, sp.csr_array]:
    """The patterns of P and A, and M."""
    n, m = form.n, rows.cones.rows
    # The lower triangle holds the mean of P_ij and P_ji: P's symmetric part is all that ½ xᵀP x sees.
    i, j, P_column, P_value = _entries(form.P, n)
    P_value[i != j] /= 2
    P, P_slot = _pattern(np.maximum(i, j), np.minimum(i, j), (n, n))

    row, j, column, value = _entries(form.G, len(rows.target))
    value *= (rows.sign * rows.coefficient)[row]
    row = rows.target[row]
    if rows.target.min(initial=0) < 0:
        placed = row >= 0
        row, j, column, value = row[placed], j[placed], column[placed], value[placed]
    linear = j < n
    value[linear] *= -1
    A, A_slot = _pattern(row[linear], j[linear], (m, n))
    slot = P.nnz + n + A.nnz + row
    slot[linear] = P.nnz + n + A_slot
    del row, j, linear, A_slot

    q_cell, _, q_column, q_value = _entries(form.q, n + 1)
    structure = Structure(n, m, rows.cones, P, A)
    q_slot = np.where(q_cell < n, P.nnz + q_cell, structure.values - 1)
    values = np.concatenate([P_value, q_value, value])
    slots, columns = np.concatenate([P_slot, q_slot, slot]), np.concatenate([P_column, q_column, column])
    del P_value, P_slot, P_column, value, slot, column
    return structure, _composed(values, slots, columns, structure.values, form.parameters)


def _composed(value: Float64, row: Index, column: Index, height: int, parameters: sp.csr_array) -> sp.csr_array:
    """The product of the matrix with these entries and ``parameters``, ascending columns; mostly that only renames columns."""
    if (np.diff(parameters.indptr) == 1).all():
        entries = value * parameters.data[column], (row, parameters.indices[column])
        M = sp.csr_array(entries, shape=(height, parameters.shape[1]))
    else:
        M = sp.csr_array((value, (row, column)), shape=(height, parameters.shape[0])) @ parameters
    M.eliminate_zeros()
    M.sort_indices()
    return M


def _entries(tensor: sp.sparray | None, height: int, columns: Bool | None = None) -> tuple[Index, Index, Index, Float64]:
    """(i, j, column, value) of the nonzeros of a tensor whose row i + height j stands for cell (i, j); of ``columns`` j only.

    A zero coefficient is dropped: no parameter reaches through it. Everything but the cell number fits in 32 bits, which
    halves the memory of the largest arrays of the construction.
    """
    tensor = sp.csc_array((0, 0)) if tensor is None else sp.csc_array(tensor)
    column = np.repeat(np.arange(tensor.shape[1], dtype=np.int32), np.diff(tensor.indptr))
    cell, value = tensor.indices, tensor.data
    kept = value != 0
    if columns is not None:
        kept &= columns[cell // max(height, 1)]
    if not kept.all():
        cell, column, value = cell[kept], column[kept], value[kept]
    j = cell // max(height, 1)  # one division by a scalar, which is fast, and no remainder, which is not
    i = cell - j * max(height, 1)
    return i.astype(np.int32), j.astype(np.int32), column, value.astype(np.float64)


def _pattern(row: Index, column: Index, shape: tuple[int, int]) -> tuple[Pattern, Index]:
    """The pattern that holds all cells, by rows with ascending columns, and the position of each cell in it."""
    if math.prod(shape) <= _CROWDED * len(row):  # a table is faster than sorting
        cell = row.astype(np.int64) * shape[1] + column
        held, place = np.zeros(math.prod(shape), dtype=np.bool_), np.empty(math.prod(shape), dtype=np.int32)
        held[cell] = True
        cells = np.flatnonzero(held)
        place[cells] = np.arange(len(cells), dtype=np.int32)
        starts = np.arange(shape[0] + 1, dtype=np.int64) * shape[1]
        indptr = np.searchsorted(cells, starts)
        return Pattern(indptr.astype(np.int32), (cells - np.repeat(starts[:-1], np.diff(indptr))).astype(np.int32)), place[cell]
    order = np.arange(len(row)) if (column[1:] >= column[:-1]).all() else _stable_order(column)
    order = order[_stable_order(row[order])]
    row, column = row[order], column[order]
    first = np.ones(len(row), dtype=np.bool_)  # of the entries of a cell
    first[1:] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    slot = np.empty(len(row), dtype=np.int32)
    slot[order] = np.cumsum(first, dtype=np.int32) - 1
    lengths = np.bincount(row[first], minlength=shape[0])
    return Pattern(np.append(0, np.cumsum(lengths)).astype(np.int32), column[first].astype(np.int32)), slot


def _stable_order(keys: Index) -> NDArray[np.intp]:
    """What sorts nonnegative numbers, in linear time: by 16 bits at once NumPy sorts without comparing."""
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    high = (keys >> 16).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")] if high.any() else order


def _output_map(form: ConeForm, rows: Rows) -> sp.csr_array:
    """R, from the positions of every output: x as it is, duals as Tᵀz."""
    outputs, columns, values, start = [], [], [], 0
    for dual, where in form.outputs:
        found = np.flatnonzero(where >= 0)
        if dual:
            found = found[rows.target[where[found]] >= 0]
        position = where[found]
        outputs.append(start + found)
        columns.append(form.n + rows.target[position] if dual else position)
        values.append(rows.coefficient[position] if dual else np.ones(len(position)))
        start += len(where)
    entries = np.concatenate(values), (np.concatenate(outputs), np.concatenate(columns))
    return sp.csr_array(entries, shape=(start, form.n + rows.cones.rows))


def _row_sources(form: ConeForm, rows: Rows) -> tuple[str, ...]:
    names = np.repeat(np.array(form.sources, dtype=object), [block.rows for block in form.blocks])
    sources = np.full(rows.cones.rows, "", dtype=object)
    placed = rows.target >= 0
    sources[rows.target[placed]] = names[placed]
    return tuple(sources.tolist())


def _parameter_specs(
    parameters: Sequence[cp.Parameter], forms: Sequence[tuple[Form, ...]], M: sp.csr_array, structure: Structure
) -> tuple[ParameterSpec, ...]:
    """Names, shapes, declared domains and forms, and where M takes them: to P, or to bounds of inequalities alone."""
    cones, first = structure.cones, structure.values - 1 - structure.m

    def reached(start: int, stop: int) -> Bool:
        columns = M.indices[M.indptr[start] : M.indptr[stop]]
        return np.bincount(columns, minlength=M.shape[1]) > 0

    quadratic, bounds = reached(0, structure.P.nnz), reached(first + cones.orthant.start, first + cones.orthant.stop)
    elsewhere = reached(0, first + cones.orthant.start) | reached(first + cones.orthant.stop, structure.values)
    cuts = np.cumsum([0, *(p.size * len(f) for p, f in zip(parameters, forms, strict=True))])
    return tuple(
        _parameter_spec(parameter, kinds, bool(quadratic[a:b].any()), bool(bounds[a:b].any() and not elsewhere[a:b].any()))
        for parameter, kinds, (a, b) in zip(parameters, forms, pairwise(cuts), strict=True)
    )


def _parameter_spec(parameter: cp.Parameter, forms: tuple[Form, ...], quadratic: bool, unbounded: bool) -> ParameterSpec:
    has = parameter.attributes
    symmetric = bool(has["symmetric"] or has["PSD"] or has["NSD"])
    return ParameterSpec(
        name=parameter.name(),
        shape=tuple(parameter.shape),
        sign=bool(has["nonneg"] or has["pos"]) - bool(has["nonpos"] or has["neg"]),
        psd=bool(has["PSD"]) - bool(has["NSD"]),
        symmetric=symmetric,
        quadratic=quadratic,
        unbounded=unbounded and forms == ("value",) and not symmetric,
        support=support(parameter),
        bounds=numeric_bounds(parameter),
        forms=forms,
    )


def _output_spec(variable: cp.Variable, problem: cp.Problem, gp: bool) -> OutputSpec:
    dual = owner(variable, problem) is not None
    return OutputSpec(output_name(variable, problem), tuple(variable.shape), dual=dual, exp=gp and not dual)


def output_name(variable: cp.Variable, problem: cp.Problem) -> str:
    """What messages call an output."""
    owned = owner(variable, problem)
    return variable.name() if owned is None else f"dual of {brief(owned[0])}"
