"""Cases for the workers, and the errors of what they return against the reference."""

from __future__ import annotations

import numpy as np

from benchmarks.canonical import Canonical, canonicalize, evaluate, reference
from benchmarks.contenders import Array, Case
from benchmarks.families import Arrays, Family

SEED = 20


class Cases:
    """The cases of one family: parameters, cotangents and cone programs, the same for every contender."""

    def __init__(self, family: Family) -> None:
        self.family = family
        problem = family.make()
        self.program: Canonical = canonicalize(problem)
        self.shapes = [p.shape for p in problem.parameters]
        self.variables = [v.shape for v in problem.variables]

    def _draw(self, batch: int) -> tuple[Arrays, Arrays]:
        rng = np.random.default_rng(SEED)
        return self.family.sample(batch, SEED), tuple(rng.normal(size=(batch, *shape)) for shape in self.variables)

    def make(self, batch: int) -> Case:
        """The case of this batch size; the same arrays every time."""
        values, cotangents = self._draw(batch)
        program, theta = self.program, self.program.theta(values, self.shapes)
        arrays: dict[str, Array] = {f"param{i}": a for i, a in enumerate(values)}
        arrays |= {f"cotangent{i}": a for i, a in enumerate(cotangents)} | {"x_cotangent": program.join(cotangents)}
        arrays |= {k: np.ascontiguousarray(v) for k, v in evaluate(program, theta).items()}
        for part, pattern in program.patterns.items():
            arrays |= {f"{part}_indptr": pattern.indptr, f"{part}_indices": pattern.indices}
        constant = tuple(part for part, matrix in program.maps.items() if not matrix[:, :-1].nnz)
        return Case(self.family.name, batch, program.n, program.m, program.zero, constant, arrays)

    def reference(self, batch: int) -> tuple[Arrays, Arrays]:
        """Solution (one array per variable) and gradient (one per parameter) of the case ``make(batch)``, to about 1e-10."""
        values, cotangents = self._draw(batch)
        x, pulled = reference(self.program, self.program.theta(values, self.shapes), self.program.join(cotangents))
        return self.program.split(x), self.program.pull(pulled, values, self.shapes)

    def solution_error(self, result: dict[str, Array], expected: Arrays) -> float:
        """Largest absolute error of ``Contender.solution`` on the case of the reference."""
        outputs = self.program.split(result["x"]) if "x" in result else tuple(result[f"output{i}"] for i in range(len(expected)))
        return max(float(np.abs(a - b).max()) for a, b in zip(outputs, expected, strict=True))

    def gradient_error(self, result: dict[str, Array], expected: Arrays, batch: int) -> float:
        """Euclidean error of ``Contender.pulled``, all parameters as one vector, relative to the size of the reference."""
        if "q" in result:
            pulled = {part: _spread(result[part], batch) for part in self.program.maps}
            gradients = self.program.pull(pulled, self._draw(batch)[0], self.shapes)
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
    rng = np.random.default_rng(SEED)
    shapes = [v.shape for v in family.make().variables]
    arrays: dict[str, Array] = {f"param{i}": a for i, a in enumerate(family.sample(batch, SEED))}
    arrays |= {f"cotangent{i}": rng.normal(size=(batch, *shape)) for i, shape in enumerate(shapes)}
    return Case(family.name, batch, 0, 0, 0, (), arrays)
