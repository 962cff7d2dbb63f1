"""What ``jax.export`` must be told of layers, and words for where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.export
from jax.extend.mlir import ir
from jax.interpreters import mlir

from cvxpylayers.errors import ProblemError
from cvxpylayers.jax._primitives import hvp_p, jvp_p, solve_p, vjp_p

_WORDS = "to export this call: jax.export.export(..., disabled_checks=cvxpylayers.jax.export_checks())"


def export_checks() -> list[jax.export.DisabledSafetyCheck]:
    """The ``disabled_checks`` with which ``jax.export.export`` takes programs that hold layers.

    JAX asks for them as it cannot vouch for calls that are not its own: what is exported runs under the version of this package
    that exported it, where the same layer has been built.
    """
    return [jax.export.DisabledSafetyCheck.custom_call(primitive.name) for primitive in (solve_p, jvp_p, vjp_p, hvp_p)]


def exporting(ctx: mlir.LoweringRuleContext) -> bool:
    """Whether the program is lowered for ``jax.export``."""
    parameters = getattr(ctx.module_context, "lowering_parameters", None)
    return bool(getattr(parameters, "for_export", False))


def told(ctx: mlir.LoweringRuleContext, results: Sequence[Any]) -> Sequence[Any]:
    """``results`` of a call, which says what to type where JAX prints it because it refuses to export it."""
    if exporting(ctx):
        results[0].owner.attributes["mhlo.frontend_attributes"] = ir.DictAttr.get({"cvxpylayers": ir.StringAttr.get(_WORDS)})
    return results


def refuse(ctx: mlir.LoweringRuleContext, program: Any) -> None:
    """Raise ProblemError where a program is exported that would call back into this process."""
    if exporting(ctx):
        platforms = ", ".join(ctx.module_context.platforms)
        raise ProblemError(
            "jax.export takes layers of the native engine on CPUs, which compiled programs call without Python; "
            f"this one has {program.engine.name}, on {platforms}: use solver=None and platforms=['cpu']."
        )
