"""Looking into a layer: what it is made of, why its gradients are as they are, and pictures of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cvxpylayers._layer.explain import Explanation
from cvxpylayers._layer.layer import Layer
from cvxpylayers._typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cvxpylayers._layer.diagnosis import Diagnosis


class Inspected:
    """A front end's layer, as far as looking into it goes: it holds a ``Layer``, and turns its library's arrays into NumPy's."""

    _layer: Layer
    _numbers: Callable[[Sequence[Any]], list[NDArray[Any]]]

    def explain(self) -> Explanation:
        """What was compiled, which engine solves it and why, and what a solve costs; prints as a table."""
        return self._layer.explain()

    def diagnose(
        self, *params: Any, cotangents: Sequence[Any] | None = None, solver_args: Mapping[str, Any] | None = None
    ) -> Diagnosis:
        """Why the gradient at these parameters is zero, large or flagged, and what to try; prints as a report.

        Parameters are those of a call. ``cotangents`` are the derivatives of a loss by the outputs, one of shape (*batch, *shape)
        per output, None for zero; without them all entries of all outputs count alike. Every instance is solved, differentiated
        and factored densely once more: this is for a batch that is looked at, not for every step of a training.

        Raises:
            InputError, InputTypeError: as for a call, and the number or shape of cotangents. OptionError: as for a call.
        """
        from cvxpylayers._layer.diagnose import diagnose

        given = None if cotangents is None else [None if c is None else self._numbers([c])[0] for c in cotangents]
        return diagnose(self._layer, self._numbers(params), given, solver_args)

    def plot_structure(self) -> Figure:
        """Where the optimality conditions K = [P Aᵀ; A 0] of the cone program and a factor of K have entries, by matplotlib.

        The factor is that of a minimum degree ordering of all of K; ``explain`` has the size of the native engine's.

        Raises:
            MissingPackageError: matplotlib is not installed.
        """
        from cvxpylayers._layer.pictures import sparsity
        from cvxpylayers._layer.sparsity import Sparsity

        return sparsity(*Sparsity.of(self._layer.compiled.structure), words=self._layer.describe().splitlines()[1])

    def plot_path(
        self, start: Sequence[Any], end: Sequence[Any], *, steps: int = 201, solver_args: Mapping[str, Any] | None = None
    ) -> Figure:
        """The outputs at start + t (end - start), t from 0 to 1 in so many steps, solved as one batch and drawn by matplotlib.

        ``start`` and ``end`` hold one array of its own shape for each parameter. Dotted lines stand where the active set changes,
        red marks where there is no solution.

        Raises:
            InputError: the number of parameters, a shape, or fewer than two steps.
            MissingPackageError: matplotlib is not installed.
        """
        from cvxpylayers._layer.path import solution_path
        from cvxpylayers._layer.pictures import path

        found = solution_path(self._layer, self._numbers(start), self._numbers(end), steps, solver_args)
        pairs = zip(self._layer.compiled.outputs, found.outputs, strict=True)
        curves = {spec.name: output.reshape(len(found.t), -1) for spec, output in pairs}
        return path(found.t, curves, found.changes, found.t[found.info.failed])
