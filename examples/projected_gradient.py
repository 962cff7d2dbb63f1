"""A custom engine in forty lines: projected gradient descent for box-constrained quadratic programs.

The function below is all there is to write. It gets one cone program at a time and returns x; the layer finds the multipliers,
measures and refines the answer, reports failures per instance, and differentiates the solution, in every array library:

    python examples/projected_gradient.py
"""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from cvxpylayers.engines import ConeProgram


def projected_gradient(program: ConeProgram, steps: int = 2000) -> np.ndarray:
    """x of min ½ xᵀP x + qᵀx over l ≤ x ≤ u: a step along the negative gradient, then a cut to the box (Nesterov's momentum)."""
    lower, upper = bounds(program)
    rate = 1.0 / np.linalg.eigvalsh(program.P.toarray())[-1]
    x = look = np.clip(np.zeros(len(program.q)), lower, upper)
    for step in range(steps):
        following = np.clip(look - rate * (program.P @ look + program.q), lower, upper)
        look = following + step / (step + 3) * (following - x)
        x = following
    return x


def bounds(program: ConeProgram) -> tuple[np.ndarray, np.ndarray]:
    """The box that the rows A x ≤ b describe, one variable a row."""
    row, column = program.A.nonzero()
    if program.cones.nonneg != program.A.shape[0] or len(np.unique(row)) != len(row):
        raise ValueError("projected_gradient takes bounds on single variables, and nothing else")
    factor = np.asarray(program.A[row, column]).ravel()
    lower, upper = np.full(len(program.q), -np.inf), np.full(len(program.q), np.inf)
    np.maximum.at(lower, column[factor < 0], (program.b[row] / factor)[factor < 0])
    np.minimum.at(upper, column[factor > 0], (program.b[row] / factor)[factor > 0])
    return lower, upper


def main() -> None:
    """Differentiate the same custom engine in PyTorch and in JAX, and compare with the native engine."""
    import jax
    import torch

    from cvxpylayers.jax import CvxpyLayer as JaxLayer
    from cvxpylayers.torch import CvxpyLayer as TorchLayer

    x, q = cp.Variable(5), cp.Parameter(5)
    P = np.diag([1.0, 2, 3, 4, 5]) + 0.3
    problem = cp.Problem(cp.Minimize(0.5 * cp.quad_form(x, P) + q @ x), [x >= -1, x <= 1])
    values = np.random.default_rng(0).normal(scale=3, size=(4, 5))

    tensor = torch.tensor(values, requires_grad=True)
    for name, solver in (("projected_gradient", projected_gradient), ("native", None)):
        (x_star,) = TorchLayer(problem, [q], [x], solver=solver)(tensor)
        (gradient,) = torch.autograd.grad(x_star.square().sum(), tensor)
        print(f"PyTorch, {name:<20} ∂/∂q of the first instance: {np.round(gradient[0].numpy(), 6)}")
    layer = JaxLayer(problem, [q], [x], solver=projected_gradient)
    with jax.enable_x64(True):
        found = jax.grad(lambda q: (layer(q)[0] ** 2).sum())(values)
    print(f"JAX,     projected_gradient   ∂/∂q of the first instance: {np.round(found[0], 6)}")


if __name__ == "__main__":
    main()
