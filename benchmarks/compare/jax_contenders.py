"""Contenders in JAX: compiled functions of the batch, in double precision; the published layer's default cannot be compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.compare.contenders import Array, Case, Contender, UnsupportedError


def _jax() -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


class JaxLayer(Contender):
    """``cvxpylayers.jax.CvxpyLayer`` of whichever release the environment holds; ``compiled``: under ``jax.jit``."""

    def __init__(self, case: Case, *, compiled: bool, **options: Any) -> None:
        self.jax = jax = _jax()
        from cvxpylayers.jax import CvxpyLayer
        from problems.conic_families import EVERY_SIZE

        family = EVERY_SIZE[case.family]
        problem, parameters, variables = family.make()
        layer = CvxpyLayer(problem, parameters=parameters, variables=variables, gp=family.gp, **options)
        self.parameters = [jax.numpy.asarray(a) for a in case.numbered("param")]
        cotangents = tuple(jax.numpy.asarray(a) for a in case.numbered("cotangent"))
        wrap = jax.jit if compiled else lambda function: function
        self._solve = wrap(lambda *p: layer(*p))
        self._pull = wrap(lambda *p: jax.vjp(lambda *q: tuple(layer(*q)), *p)[1](cotangents))
        self.forward(), self.gradient()  # compiled now, not when it is timed

    def forward(self) -> Any:
        return self.jax.block_until_ready(self._solve(*self.parameters))

    def gradient(self) -> Any:
        return self.jax.block_until_ready(self._pull(*self.parameters))

    def solution(self, result: Any) -> dict[str, Array]:
        return {f"output{i}": np.asarray(o) for i, o in enumerate(result)}

    def pulled(self, result: Any) -> dict[str, Array]:
        return {f"gradient{i}": np.asarray(g) for i, g in enumerate(result)}


class JaxQp(Contender):
    """A solver of dense quadratic programs of one instance, (Q, q, A, b, G, h) → x, under ``jax.vmap`` and ``jax.jit``."""

    def __init__(self, case: Case, solver: str) -> None:
        if not case.n:
            raise UnsupportedError(f"{solver} solves quadratic programs")
        self.jax = jax = _jax()
        self.case = case
        equal, unequal = slice(0, case.zero), slice(case.zero, case.m)
        b = case.arrays["b"]
        P, A, G = case.dense("P", slice(None)), case.dense("A", equal), case.dense("A", unequal)
        data = (P, case.arrays["q"], A, b[..., equal], G, b[..., unequal])
        self.data = [jax.numpy.asarray(a) for a in data]
        axes = tuple(0 if a.ndim == rank else None for a, rank in zip(data, (3, 2, 3, 2, 3, 2), strict=True))
        self.varying = tuple(i for i, part in enumerate("PqAbAb") if part not in case.constant)
        cotangent = jax.numpy.asarray(case.arrays["x_cotangent"])
        batched = jax.vmap(SOLVERS[solver], axes)

        def pull(data: list[Any]) -> Any:
            def moving(*moved: Any) -> Any:
                full = list(data)
                for i, value in zip(self.varying, moved, strict=True):
                    full[i] = value
                return batched(*full)

            return jax.vjp(moving, *(data[i] for i in self.varying))[1](cotangent)

        self._solve, self._pull = jax.jit(lambda data: batched(*data)), jax.jit(pull)
        self.forward(), self.gradient()  # compiled now, not when it is timed

    def forward(self) -> Any:
        return self.jax.block_until_ready(self._solve(self.data))

    def gradient(self) -> Any:
        return self.jax.block_until_ready(self._pull(self.data))

    def solution(self, result: Any) -> dict[str, Array]:
        return {"x": np.asarray(result)}

    def pulled(self, result: Any) -> dict[str, Array]:
        moved = dict(zip(self.varying, map(np.asarray, result), strict=True))
        P, q, A, b, G, h = (moved.get(i, np.zeros(a.shape)) for i, a in enumerate(self.data))
        parts = {"P": P, "q": q, "A": np.concatenate([A, G], axis=-2), "b": np.concatenate([b, h], axis=-1)}
        return {key: self.case.sparse(key, value) if key in "PA" else value for key, value in parts.items()}


def _qpax(*data: Any) -> Any:
    import qpax

    return qpax.solve_qp_primal(*data, solver_tol=1e-8, target_kappa=1e-6)


def _osqp(Q: Any, q: Any, A: Any, b: Any, G: Any, h: Any) -> Any:
    from jaxopt import OSQP

    solver = OSQP(tol=1e-6, maxiter=20_000, check_primal_dual_infeasability=False)
    equal, unequal = ((A, b) if len(b) else None), ((G, h) if len(h) else None)
    return solver.run(params_obj=(Q, q), params_eq=equal, params_ineq=unequal).params.primal


def _box_osqp(Q: Any, q: Any, A: Any, b: Any, G: Any, h: Any) -> Any:
    import jax.numpy as jnp
    from jaxopt import BoxOSQP

    solver = BoxOSQP(tol=1e-6, maxiter=20_000, check_primal_dual_infeasability=False)
    low, high = jnp.concatenate([b, jnp.full_like(h, -jnp.inf)]), jnp.concatenate([b, h])
    return solver.run(params_obj=(Q, q), params_eq=jnp.concatenate([A, G]), params_ineq=(low, high)).params.primal[0]


SOLVERS = {"qpax": _qpax, "osqp": _osqp, "box-osqp": _box_osqp}
