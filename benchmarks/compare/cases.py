"""Cases for the workers, and the errors of what they return against the reference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.compare.contenders import Array, Case
from problems.canonical import Canonical, canonicalize, evaluate, margins, reference
from problems.families import Arrays, Family

SEED = 20  # of the parameters; cotangents, which must not be functions of them, take the next
CHECK_POOL = 8  # draws per instance of the check


class Draw(NamedTuple):
    """Parameter values, and cotangents of the variables, of one batch."""

    values: Arrays
    cotangents: Arrays

    @property
    def batch(self) -> int:
        """Number of instances."""
        return len(self.cotangents[0])


class Cases:
    """The cases of one family: parameters, cotangents and cone programs, the same for every contender."""

    def __init__(self, family: Family) -> None:
        self.family = family
        problem = family.make()
        self.program: Canonical = canonicalize(problem)
        self.shapes = [p.shape for p in problem.parameters]
        self.variables = [v.shape for v in problem.variables]

    def draw(self, batch: int) -> Draw:
        """The batch of this size, the same every time."""
        rng = np.random.default_rng(SEED + 1)
        return Draw(self.family.sample(batch, SEED), tuple(rng.normal(size=(batch, *shape)) for shape in self.variables))

    def draw_check(self, batch: int) -> Draw:
        """Of a larger draw, the instances furthest from a kink, in order.

        The solution map has kinks where a slack and its multiplier vanish together. Next to one the derivative is there, but no
        interior point solver at a tolerance of 1e-8 can tell on which side it is; here derivatives are to be judged, not luck.
        """
        values, cotangents = self.draw(CHECK_POOL * batch)
        margin = margins(self.program, self.program.theta(values, self.shapes))
        chosen = np.sort(np.argsort(-margin)[:batch])
        batched = [v.ndim > len(s) for v, s in zip(values, self.shapes, strict=True)]
        kept = tuple(v[chosen] if has_batch else v for v, has_batch in zip(values, batched, strict=True))
        return Draw(kept, tuple(c[chosen] for c in cotangents))

    def case(self, draw: Draw) -> Case:
        """What the workers get."""
        program, theta = self.program, self.program.theta(draw.values, self.shapes)
        arrays: dict[str, Array] = {f"param{i}": a for i, a in enumerate(draw.values)}
        arrays |= {f"cotangent{i}": a for i, a in enumerate(draw.cotangents)} | {"x_cotangent": program.join(draw.cotangents)}
        arrays |= {k: np.ascontiguousarray(v) for k, v in evaluate(program, theta).items()}
        for part, pattern in program.patterns.items():
            arrays |= {f"{part}_indptr": pattern.indptr, f"{part}_indices": pattern.indices}
        constant = tuple(part for part, matrix in program.maps.items() if not matrix[:, :-1].nnz)
        return Case(self.family.name, draw.batch, program.n, program.m, program.zero, constant, arrays)

    def reference(self, draw: Draw) -> tuple[Arrays, Arrays]:
        """Solution (one array per variable) and gradient (one per parameter), exact up to rounding."""
        x, pulled = reference(self.program, self.program.theta(draw.values, self.shapes), self.program.join(draw.cotangents))
        return self.program.split(x), self.program.pull(pulled, draw.values, self.shapes)

    def solution_error(self, result: dict[str, Array], expected: Arrays) -> float:
        """Largest absolute error of ``Contender.solution`` on the case of the reference."""
        outputs = self.program.split(result["x"]) if "x" in result else tuple(result[f"output{i}"] for i in range(len(expected)))
        return max(float(np.abs(a - b).max()) for a, b in zip(outputs, expected, strict=True))

    def gradient_error(self, result: dict[str, Array], expected: Arrays, draw: Draw) -> float:
        """Euclidean error of ``Contender.pulled``, all parameters as one vector, relative to the size of the reference."""
        if "q" in result:
            pulled = {part: _spread(result[part], draw.batch) for part in self.program.maps}
            gradients = self.program.pull(pulled, draw.values, self.shapes)
        else:
            gradients = tuple(result[f"gradient{i}"] for i in range(len(expected)))
        difference = sum(float(np.sum((a - b) ** 2)) for a, b in zip(gradients, expected, strict=True))
        return float(np.sqrt(difference / sum(float(np.sum(b**2)) for b in expected)))


def _spread(cotangent: Array, batch: int) -> Array:
    """A cotangent (B, k) as it is; one already summed over the batch (k) as that of the first instance, with zeros after it.

    Only shared parameters reach a part without a batch axis, and theirs are summed anyway.
    """
    if cotangent.ndim == 2:
        return cotangent
    return np.concatenate([cotangent[None], np.zeros((batch - 1, len(cotangent)))])


def layer_case(family: Family, batch: int) -> Case:
    """A case for layers alone, without the cone programs: cheap at any batch size."""
    rng = np.random.default_rng(SEED + 1)
    shapes = [v.shape for v in family.make().variables]
    arrays: dict[str, Array] = {f"param{i}": a for i, a in enumerate(family.sample(batch, SEED))}
    arrays |= {f"cotangent{i}": rng.normal(size=(batch, *shape)) for i, shape in enumerate(shapes)}
    return Case(family.name, batch, 0, 0, 0, (), arrays)
