"""The JAX layer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np

from cvxpylayers._engines.registry import Solver
from cvxpylayers._file import Filed
from cvxpylayers._layer.inputs import batch_shape, rounding_of
from cvxpylayers._layer.inspection import Inspected
from cvxpylayers._layer.layer import Layer, OnFailure
from cvxpylayers._program import USABLE
from cvxpylayers._typing import NDArray
from cvxpylayers.errors import InputError, InputTypeError, OptionError, SolverError
from cvxpylayers.jax import _batching, _lowering, _rules  # noqa: F401  (rules of the primitives)
from cvxpylayers.jax._info import SolveInfo, WarmStart
from cvxpylayers.jax._primitives import FACTS, solve_p, vjp_p
from cvxpylayers.jax._program import Options, Program

_ACCEPTED = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)
_NAN_BITS = np.uint32(0xFFFFFFFF)  # two of them are a double that is no number


@jax.tree_util.register_static
class CvxpyLayer(Filed, Inspected):
    """A convex optimization problem as a differentiable function of its parameters.

        layer = CvxpyLayer(problem, parameters=[A, b], variables=[x])
        (x_star,) = layer(A_batch, b_shared)

    A layer is a stateless callable and a hashable value, equal to any other of the same problem and options: close over it, pass
    it to transformed functions, or keep it as a field of a module.

    Args:
        problem: a DPP problem (DGP with ``gp=True``).
        parameters: exactly the problem's parameters, in the order in which calls pass them.
        variables: the outputs: variables of the problem, or dual variables of its constraints (``con.dual_variables[0]``).
        solver: None for the native engine, or the name of another one, an ``Engine`` class or instance.
        gp: whether the problem is a geometric program.
        verbose: print one line for each call outside of transformations.
        canon_backend: passed to CVXPY.
        solver_args: options of the engine, for example ``{"tolerance": 1e-10}``; calls can override them.
        on_failure: what happens when an instance has no solution. "raise": ``SolverError``; "nan": its outputs are NaN;
            "warn": its best iterate is returned, with a warning. In the last two its gradients are zero. Inside ``jit``, ``vmap``
            and the like, where statuses are not known, "raise" acts as "nan" and "warn" is silent.

    Raises:
        ProblemError: the problem, parameters or variables cannot make a layer.
        OptionError: an option is not understood.
    """

    def __init__(
        self,
        problem: cp.Problem,
        parameters: Sequence[cp.Parameter],
        variables: Sequence[cp.Variable],
        solver: Solver = None,
        gp: bool = False,
        verbose: bool = False,
        canon_backend: str | None = None,
        solver_args: Mapping[str, Any] | None = None,
        on_failure: OnFailure = "raise",
    ) -> None:
        self._assume(
            Layer(
                problem,
                parameters,
                variables,
                solver=solver,
                gp=gp,
                verbose=verbose,
                canon_backend=canon_backend,
                solver_args=solver_args,
                on_failure=on_failure,
            )
        )

    def _assume(self, layer: Layer) -> None:
        super()._assume(layer)
        self._program = Program(layer)

    def __hash__(self) -> int:
        return hash(self._program)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CvxpyLayer):
            return NotImplemented
        here, there = self._layer, other._layer
        return self._program == other._program and (here.on_failure, here.verbose) == (there.on_failure, there.verbose)

    def __deepcopy__(self, memo: dict[int, Any]) -> CvxpyLayer:
        return self  # immutable

    def _numbers(self, values: Sequence[Any]) -> list[NDArray[Any]]:
        return [np.asarray(value) for value in values]

    def __repr__(self) -> str:
        detour = f"\ncompiled programs call Python: {self._program.detour}" if self._program.detour else ""
        return f"CvxpyLayer({self._layer.describe()}{detour})"

    def __call__(
        self,
        *params: Any,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
        **named: Any,
    ) -> tuple[jax.Array, ...]:
        """Solve for one array per parameter, of shape (*batch_i, *parameter shape); batch axes broadcast as in NumPy.

        Parameters may be given by the names that CVXPY knows them by: ``layer(A, b=b)``. Returns one array (*batch, *shape) per
        output, in the promoted floating type of the parameters; inside it is double precision, whether or not x64 is enabled.

        Raises:
            InputError, InputTypeError: a parameter has the wrong number, shape or type.
            SolverError: an instance has no solution, ``on_failure`` is "raise" and the call is not traced.
        """
        return self.solve(*params, solver_args=solver_args, warm_start=warm_start, on_failure=on_failure, **named)[0]

    def solve(
        self,
        *params: Any,
        solver_args: Mapping[str, Any] | None = None,
        warm_start: bool | WarmStart = False,
        on_failure: OnFailure | None = None,
        degeneracy: bool = False,
        **named: Any,
    ) -> tuple[tuple[jax.Array, ...], SolveInfo]:
        """As a call, and the outcome of every instance with it, as arrays that can be used under ``jit``.

        ``degeneracy`` adds ``info.degenerate``, where the solution is not differentiable, at the price of a derivative. A
        ``WarmStart`` is where to start from, one point or a batch of them, and ``info.warm_start`` is then the next one.
        """
        layer, solver_args = self._layer.choose(solver_args)
        if warm_start is True:
            words = "Solves start cold here, warm_start=True has no effect; layer.cold_start() begins a chain of warm ones."
            warnings.warn(words, UserWarning, stacklevel=2)
        mode, options = layer.call_options(solver_args, False, on_failure)
        program = self._program if layer is self._layer else Program(layer)
        arrays = self._ordered(params, named)
        start = None if isinstance(warm_start, bool) else self._points(warm_start)
        outputs, info = _solve(program, tuple(sorted(options.items())), mode != "warn", degeneracy, arrays, start)
        if not isinstance(info.status, jax.core.Tracer):
            if self._layer.speaks(solver_args):
                print(info.concrete())
            self._judge(mode, arrays, outputs, info)
        elif on_failure == "raise":
            raise OptionError('Compiled code cannot raise: use on_failure="nan", and layer.solve(...) for the statuses.')
        return outputs, info

    def cold_start(self, *batch: int) -> WarmStart:
        """What begins a chain of warm starts, for a batch of this shape: ``info.warm_start`` is the next one."""
        return WarmStart(jnp.full((*batch, 2 * self._program.point), _NAN_BITS))

    def _points(self, start: WarmStart) -> WarmStart:
        if not isinstance(start, WarmStart):
            raise InputTypeError(f"warm_start must be a cvxpylayers.jax.WarmStart, as of layer.cold_start(); got {type(start)}.")
        if start.points.shape[-1] != 2 * self._program.point:
            raise InputError("This WarmStart belongs to another problem: begin with layer.cold_start().")
        return start

    def _judge(self, mode: OnFailure, arrays: Sequence[Any], outputs: tuple[jax.Array, ...], info: SolveInfo) -> None:
        """Raise or warn about failures that are known."""
        if mode == "nan" or (np.asarray(info.status) <= USABLE).all():
            return
        known = not any(isinstance(a, jax.core.Tracer) for a in arrays)
        message = self._layer.failure(info.concrete(), self._layer.batch([np.asarray(a) for a in arrays]) if known else None)
        if mode == "raise":
            raise SolverError(message, info.concrete(), outputs)
        warnings.warn(message, RuntimeWarning, stacklevel=4)

    def _ordered(self, params: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """The parameters in their order, those given by name after those given by position."""
        names = [p.name for p in self._layer.compiled.parameters]
        if named:
            if unknown := named.keys() - set(names[len(params) :]):
                raise InputError(f"No parameter {min(unknown)!r} is missing; the layer takes {', '.join(names)} in this order.")
            params = (*params, *(named[name] for name in names[len(params) :] if name in named))
        for name, p in zip(names, params, strict=False):
            if not isinstance(p, _ACCEPTED):
                raise InputTypeError(f"Parameter {name!r} must be an array; got {type(p).__name__}: use jnp.asarray(value).")
        return tuple(params)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _solve(
    program: Program, options: Options, nan: bool, degeneracy: bool, params: tuple[jax.Array, ...], start: WarmStart | None
) -> tuple[tuple[jax.Array, ...], SolveInfo]:
    """Check, convert and flatten the parameters, solve, and cut the outputs; all but the solve when it is traced."""
    specs, outputs = program.layer.compiled.parameters, program.layer.compiled.outputs
    batch = batch_shape(specs, params)
    dtype = _dtype(program, params)
    inside = jnp.float64 if dtype == jnp.float64 else jnp.float32
    flat = [p.astype(inside).reshape(*p.shape[: p.ndim - len(s.shape)], s.size) for p, s in zip(params, specs, strict=True)]
    logged = [jnp.log(p) if form == "log" else p for p, s in zip(flat, specs, strict=True) for form in s.forms]
    operands = _vary_alike([*logged, *_spread(start or (), batch)])
    tape = degeneracy or start is not None
    rounding = tuple(rounding_of(p.dtype) for p, s in zip(params, specs, strict=True) for _ in s.forms)
    results = solve_p.bind(*operands, program=program, options=options, rounding=rounding, nan=nan, tape=tape)
    found, status, iterations, residuals, margin = results[:FACTS]
    primal, dual, gap, objective = jnp.moveaxis(residuals, -1, 0)
    objective = jnp.exp(objective) if program.layer.compiled.log_space else objective
    info = SolveInfo(status, iterations, primal, dual, gap, objective, margin)
    if degeneracy:
        info = info._replace(degenerate=_degenerate(program, operands[: program.count], results[FACTS]))
    if start is not None:
        info = info._replace(warm_start=WarmStart(results[FACTS]))
    pieces = jnp.split(found.astype(dtype), np.cumsum([o.size for o in outputs])[:-1], axis=-1)
    pairs = zip(pieces, outputs, strict=True)
    return tuple((jnp.exp(piece) if o.exp else piece).reshape(*batch, *o.shape) for piece, o in pairs), info


def _spread(points: Sequence[jax.Array], batch: tuple[int, ...]) -> list[jax.Array]:
    """One point per instance."""
    try:
        return [jnp.broadcast_to(a, (*batch, a.shape[-1])) for a in points]
    except ValueError:
        raise InputError(f"The batch has shape {batch}, but the points to start from {points[0].shape[:-1]}.") from None


def _degenerate(program: Program, theta: Sequence[jax.Array], tape: jax.Array) -> jax.Array:
    """Flags of a derivative towards no parameter, of outputs weighted without any symmetry."""
    generic = jnp.cos(jnp.arange(1, program.outputs + 1, dtype=jnp.float32)).astype(theta[0].dtype)
    cotangent = jnp.broadcast_to(generic, (*tape.shape[:-1], program.outputs))
    nothing = (False,) * program.count
    flags: jax.Array
    (flags,) = vjp_p.bind(
        *map(jax.lax.stop_gradient, theta), tape, cotangent, program=program, wanted=nothing, summed=nothing, directions=False
    )
    return flags


def _dtype(program: Program, params: Sequence[jax.Array]) -> Any:
    """The promoted floating type; integers count as Python's float."""
    for spec, p in zip(program.layer.compiled.parameters, params, strict=True):
        if p.dtype == jnp.bool_ or not jnp.issubdtype(p.dtype, jnp.number) or jnp.issubdtype(p.dtype, jnp.complexfloating):
            raise InputTypeError(f"Parameter {spec.name!r} must hold real numbers; got {p.dtype}.")
    return jnp.result_type(float, *params)


def _vary_alike(arrays: list[jax.Array]) -> list[jax.Array]:
    """Inside ``shard_map`` every operand must be declared to vary over the mesh axes that any of them varies over."""
    own = [jax.typeof(a).mat.varying for a in arrays]
    axes = frozenset().union(*own)
    return [jax.lax.pcast(a, tuple(axes - mine), to="varying") if axes - mine else a for a, mine in zip(arrays, own, strict=True)]
