"""Cases of conic families: what ``benchmarks.compare.cases`` is for linear and quadratic ones.

The reference is Clarabel sharpened by Newton's method on the optimality conditions and the dense derivative of these, in plain
NumPy; it shares the canonicalization with the package, and neither solver nor derivative.
"""

from __future__ import annotations

import numpy as np

from benchmarks.compare.cases import CHECK_POOL, Cases, Draw, layer_case
from benchmarks.compare.contenders import Array, Case
from cvxpylayers._layer.layer import Layer
from problems.conic_families import CONIC
from problems.families import Arrays, Family
from problems.oracles import OracleEngine
from problems.projections import spectrum


def cases_of(family: Family) -> Cases | ConicCases:
    """The cases of a family of either kind."""
    return ConicCases(family) if family.name in CONIC else Cases(family)


class ConicCases:
    """The cases of one family, for layers alone: there is no cone program that all contenders would accept."""

    def __init__(self, family: Family) -> None:
        self.family = family
        problem, parameters, variables = family.make()
        self.layer = Layer(problem, parameters, variables, solver=OracleEngine, gp=family.gp)

    def draw(self, batch: int) -> Draw:
        """The batch of this size, the same every time."""
        case = layer_case(self.family, batch)
        return Draw(tuple(case.numbered("param")), tuple(case.numbered("cotangent")))

    def draw_check(self, batch: int) -> Draw:
        """Of a larger draw, the instances furthest from a kink, in order, as ``Cases.draw_check``."""
        values, cotangents = self.draw(CHECK_POOL * batch)
        tape = self.layer.solve(values, tape=True).tape
        assert tape is not None
        cones = self.layer.compiled.structure.cones
        margin = np.array([np.min(np.abs(spectrum(cones, w)), initial=np.inf) for w in tape.s - tape.z])
        chosen = np.sort(np.argsort(-margin)[:batch])
        batched = [v.ndim > len(p.shape) for v, p in zip(values, self.layer.compiled.parameters, strict=True)]
        kept = tuple(v[chosen] if has_batch else v for v, has_batch in zip(values, batched, strict=True))
        return Draw(kept, tuple(c[chosen] for c in cotangents))

    def case(self, draw: Draw) -> Case:
        """What the workers get."""
        arrays: dict[str, Array] = {f"param{i}": a for i, a in enumerate(draw.values)}
        arrays |= {f"cotangent{i}": a for i, a in enumerate(draw.cotangents)}
        return Case(self.family.name, draw.batch, 0, 0, 0, (), arrays)

    def reference(self, draw: Draw) -> tuple[Arrays, Arrays]:
        """Solution (one array per variable) and gradient (one per parameter), exact up to rounding."""
        call = self.layer.solve(draw.values, tape=True)
        gradients = self.layer.vjp(call.point, draw.cotangents, [True] * len(draw.values))
        return call.outputs, tuple(g.reshape(v.shape) for g, v in zip(gradients, draw.values, strict=True) if g is not None)

    def solution_error(self, result: dict[str, Array], expected: Arrays) -> float:
        """Largest absolute error of ``Contender.solution`` on the case of the reference."""
        return max(float(np.abs(result[f"output{i}"] - b).max()) for i, b in enumerate(expected))

    def gradient_error(self, result: dict[str, Array], expected: Arrays, draw: Draw) -> float:
        """Euclidean error of ``Contender.pulled``, all parameters as one vector, relative to the size of the reference."""
        difference = sum(float(np.sum((result[f"gradient{i}"] - b) ** 2)) for i, b in enumerate(expected))
        return float(np.sqrt(difference / sum(float(np.sum(b**2)) for b in expected)))
