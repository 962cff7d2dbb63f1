"""The door to CVXPY's internals: a problem in, its parametrized cone program as plain arrays out.

CVXPY reduces a DPP problem to a *tensor*: a sparse matrix that takes its own parameter vector (with a trailing 1) to the entries
of [G h], q, d and P. We stop right there, before any parameter value is needed. The reductions run on a fresh ``cvxpy.Problem``
over the same objective and constraints, so the caches of the user's problem are neither read nor written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy import settings
from cvxpy.constraints.exponential import ExpCone
from cvxpy.constraints.nonpos import NonNeg
from cvxpy.constraints.power import PowCone3D, PowConeND
from cvxpy.constraints.psd import PSD
from cvxpy.constraints.second_order import SOC
from cvxpy.constraints.zero import Zero
from cvxpy.reductions.cone2cone.exact import ExactCone2Cone, PowNDConversion
from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ConeMatrixStuffing
from cvxpy.reductions.dcp2cone.dcp2cone import Dcp2Cone
from cvxpy.reductions.solvers.solving_chain import resolve_and_build_chain
from cvxpy.utilities import scopes

from cvxpylayers._canon.cvxpy_reductions import NamedDcp2Cone, SparseStuffing, Target
from cvxpylayers._canon.layout import Block
from cvxpylayers._canon.leaves import locate_primal, parameter_map
from cvxpylayers._program import Form
from cvxpylayers._typing import Bool, NDArray

BACKENDS = (settings.CPP_CANON_BACKEND, settings.SCIPY_CANON_BACKEND, settings.COO_CANON_BACKEND)
_FEW: Final = 6  # entries of a constant that messages spell out
_MANY: Final = 100  # entries of parameters for which CVXPY's backend of sparse tensors is ahead; by itself it turns to it at 1000


@dataclass(frozen=True)
class ConeForm:
    """minimize ½ xᵀP x + qᵀx + d subject to G x + h in cones; each datum is a tensor applied to CVXPY's parameter vector π.

    ``P``: (n², π), entry (i, j) at row i + n j; ``q``: (n + 1, π), d last; ``G``: (r (n + 1), π), entry (i, j) at row i + r j,
    h last. ``parameters``: (π, θ), π = parameters @ [θ; 1], θ each parameter in its ``forms``. ``outputs[k]`` says where output k
    is found: (is it dual, positions in x or in the rows of G, -1 for a constant zero), C order. ``sources`` names the origin of
    each block; ``auxiliary`` (n,) marks the variables that CVXPY made.
    """

    n: int
    P: sp.sparray | None
    q: sp.sparray
    G: sp.sparray
    blocks: tuple[Block, ...]
    sources: tuple[str, ...]
    parameters: sp.csr_array
    forms: tuple[tuple[Form, ...], ...]
    outputs: tuple[tuple[bool, NDArray[np.int64]], ...]
    auxiliary: Bool


class IrreducibleError(Exception):
    """CVXPY's reductions to cones failed; the message is that of its error, which is the cause."""


@contextmanager
def dpp_rules(*, objective: bool) -> Iterator[None]:
    """Within, ``is_dcp`` applies the rules of DPP; in an objective, ``quad_form(x, P)`` may hold a parameter P."""
    with ExitStack() as stack:
        stack.enter_context(scopes.dpp_scope())
        if objective:
            stack.enter_context(scopes.quad_form_dpp_scope())
        yield


def is_dpp(problem: Any, gp: bool) -> bool:
    """Whether CVXPY can map parameters (``gp``: their logarithms) to a quadratic cone program affinely."""
    return bool(problem.is_dpp("dgp") if gp else problem.is_dpp("dcp", quad_form_dpp="qp"))


def bounds(variable: cp.Variable) -> list[Any]:
    """The bounds of ``variable`` that are expressions."""
    pair: Any = variable.attributes["bounds"] or ()
    return [bound for bound in pair if isinstance(bound, cp.Expression)]


def canonicalize(
    problem: cp.Problem,
    parameters: Sequence[cp.Parameter],
    outputs: Sequence[cp.Variable],
    canon_backend: str | None,
    *,
    gp: bool = False,
) -> ConeForm:
    """Reduce a validated ``problem`` to cone form; θ stacks ``parameters`` in C order. Raises as ``reduced`` does."""
    program, inverse, chain, position = reduced(problem, canon_backend, gp)
    if not (
        program.lower_bounds is program.upper_bounds is program.lb_tensor is program.ub_tensor is None and not program.dir_cones
    ):
        raise AssertionError("CVXPY handed over bounds or direct cones outside the rows of the program")
    rows = _row_starts(program)
    forms, theta = parameter_map(parameters, program, chain.reductions)
    return ConeForm(
        n=program.x.size,
        P=program.P,
        q=program.q,
        G=program.A,
        blocks=tuple(_block(constraint) for constraint in program.constraints),
        sources=_sources(problem, program, chain, position),
        parameters=theta,
        forms=forms,
        auxiliary=_auxiliary(problem, program, chain.compose_var_id_map()),
        outputs=tuple(_locate(output, problem, program, chain, inverse, rows) for output in outputs),
    )


def reduced(problem: cp.Problem, canon_backend: str | None, gp: bool) -> tuple[Any, Sequence[Any], Any, int]:
    """The parametrized cone program, CVXPY's inverse data, the chain of reductions, and the place of ``NamedDcp2Cone`` in it.

    Raises:
        IrreducibleError: the reductions failed.
    """
    fresh: Any = cp.Problem(problem.objective, problem.constraints)
    try:
        if canon_backend is None and _has_many_parameters(fresh):
            canon_backend = settings.COO_CANON_BACKEND
        chain: Any = resolve_and_build_chain(fresh, solver=Target(), gp=gp, enforce_dpp=True, canon_backend=canon_backend)
        position, original = next((i, r) for i, r in enumerate(chain.reductions) if type(r) is Dcp2Cone)
        chain.reductions[position] = NamedDcp2Cone(original)
        last, stuffing = next((i, r) for i, r in enumerate(chain.reductions) if type(r) is ConeMatrixStuffing)
        chain.reductions[last] = SparseStuffing(stuffing.quad_obj, stuffing.canon_backend)
        return *chain.apply(fresh), chain, position
    except (MemoryError, Warning):
        raise
    except Exception as error:  # whatever an atom of CVXPY raises
        raise IrreducibleError(f"{type(error).__name__}{': ' if str(error) else ''}{error}") from error


def _has_many_parameters(problem: Any) -> bool:
    """Whether the backend of sparse tensors is faster, and CVXPY would leave the choice to the number of parameters."""
    many = sum(p.size for p in problem.parameters()) >= _MANY
    return many and bool(problem._supports_cpp()) and problem._max_ndim() <= 2


def owner(dual: cp.Variable, problem: cp.Problem) -> tuple[cp.constraints.constraint.Constraint, int] | None:
    """The constraint of ``problem`` whose dual variable ``dual`` is, and its position there; None if there is none."""
    return next(
        ((con, k) for con in problem.constraints for k, variable in enumerate(con.dual_variables) if variable.id == dual.id), None
    )


def _block(constraint: Any) -> Block:
    size = constraint.args[0].size
    match constraint:
        case Zero():
            return Block("zero", size)
        case NonNeg():
            return Block("nonneg", size)
        case SOC():
            return Block("soc", size, 1 + constraint.args[1].size // size)
        case PSD():
            return Block("psd", constraint.num_cones(), constraint.args[0].shape[-1])
        case ExpCone():
            return Block("exp", size, 3)
        case PowCone3D():
            return Block("power", size, 3, tuple(np.ravel(constraint.alpha.value, order="F").tolist()))
    raise AssertionError(f"CVXPY handed over an undeclared cone: {type(constraint).__name__}")


def _row_starts(program: Any) -> dict[int, NDArray[np.int64]]:
    """First row of every argument, by the id of its constraint."""
    starts, row = {}, 0
    for constraint in program.constraints:
        sizes = [argument.size for argument in constraint.args]
        starts[constraint.id] = row + np.cumsum([0, *sizes[:-1]])
        row += sum(sizes)
    return starts


def _sources(problem: cp.Problem, program: Any, chain: Any, position: int) -> tuple[str, ...]:
    """For every constraint of the cone program, the user's constraint or the atom that it came from."""
    origins: dict[int, Any] = chain.reductions[position].origins
    for step in chain.reductions[position + 1 :]:
        origins = {step.cons_id_map.get(key, key): origin for key, origin in origins.items()}
    renamed = chain.compose_constr_id_map()
    origins |= {renamed.get(constraint.id, constraint.id): constraint for constraint in problem.constraints}
    final = chain.compose_var_id_map()
    leaves = {key: variable for variable in problem.variables() for key in final.get(variable.id, [variable.id])}
    return tuple(_source(constraint, origins, leaves) for constraint in program.constraints)


def _source(constraint: Any, origins: dict[int, Any], leaves: dict[int, cp.Variable]) -> str:
    if constraint.id in origins:
        return brief(origins[constraint.id])
    owners = [leaves[variable.id].name() for variable in constraint.variables() if variable.id in leaves]
    return f"attributes of variable {', '.join(owners)}" if owners else brief(constraint)


def brief(expression: Any, width: int = 80) -> str:
    """``str(expression)`` on one line of at most ``width`` characters, atoms under the names that users type."""
    with _constants_named(expression):
        text = " ".join(str(expression).split())
    text = re.sub(r"\b([A-Z]\w*)Approx\(", r"\1(", text).replace("QuadForm(", "quad_form(")
    text = re.sub(r"\bPromote\((.*?), \((?:\d+,? ?)+\)\)", lambda m: f"({m[1]})" if " " in m[1] else m[1], text)
    text = re.sub(r"\bquad_over_lin\((.*?), 1\.0, None, False\)", r"sum_squares(\1)", text)
    return text if len(text) <= width else text[: width - 1] + "…"


@contextmanager
def _constants_named(expression: Any) -> Iterator[None]:
    """Constants without a name go by their shapes, or by few entries: NumPy takes longer to write an array than CVXPY to reduce a
    constraint, and CVXPY writes out each place of a sparse matrix, by an index operation.
    """
    unnamed = [c for c in expression.constants() if c._name is None and c.size > 1]
    for constant in unnamed:
        constant._name = _name(constant.value)
    try:
        yield
    finally:
        for constant in unnamed:
            constant._name = None


def _name(value: Any) -> str:
    if value.size <= _FEW and not sp.issparse(value):
        return re.sub("[',]", "", str(np.vectorize("{:.4g}".format, otypes=[object])(value).tolist()))
    return f"{'sparse' if sp.issparse(value) else 'array'}{list(value.shape)}"


def _auxiliary(problem: cp.Problem, program: Any, renamed: dict[int, list[int]]) -> Bool:
    found = np.ones(program.x.size, dtype=np.bool_)
    for variable in problem.variables():
        for key in renamed.get(variable.id, [variable.id]):  # a complex variable became two
            if (start := program.var_id_to_col.get(key)) is not None:
                found[start : start + program.id_to_var[key].size] = False
    return found


def _locate(
    output: cp.Variable, problem: cp.Problem, program: Any, chain: Any, inverse: Sequence[Any], rows: dict[int, NDArray[np.int64]]
) -> tuple[bool, NDArray[np.int64]]:
    owned = owner(output, problem)
    if owned is None:
        return False, locate_primal(output, program, chain.compose_var_id_map())
    constraint, k = owned
    key = chain.compose_constr_id_map().get(constraint.id, constraint.id)
    if key not in rows:
        return True, np.full(output.size, -1)
    if isinstance(constraint, PowConeND):
        return True, _locate_split(constraint, chain, inverse, rows[key])[k].ravel()
    labels = rows[key][k] + np.arange(output.size)
    if isinstance(constraint, SOC) and constraint.axis == 1:
        return True, labels
    return True, labels.reshape(output.shape, order="F").ravel()


def _locate_split(
    constraint: PowConeND, chain: Any, inverse: Sequence[Any], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of both duals of a power cone that CVXPY split into a tree of three-dimensional ones.

    The rows of the arguments of these start at ``starts``; CVXPY's own recovery of the dual is applied to row numbers.
    """
    (place,) = (i for i, reduction in enumerate(chain.reductions) if isinstance(reduction, ExactCone2Cone))
    key, record = constraint.id, inverse[place]
    for reduction in chain.reductions[:place]:
        key = reduction.cons_id_map.get(key, key)
    (split,) = record._recovery_chains[key]
    labels = starts[:, None] + np.arange(starts[1] - starts[0])
    recover: Any = PowNDConversion.recover_dual
    found = recover(split, labels, record, None).astype(np.int64)
    return found[:-1] if constraint.axis == 0 else found[:-1].T, found[-1]
