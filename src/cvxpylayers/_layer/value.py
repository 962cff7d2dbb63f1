"""The derivative of the optimal value by the parameters: that of the Lagrangian at the solution, without a factorization."""

from __future__ import annotations

import numpy as np

from cvxpylayers._engines.log_space import entered
from cvxpylayers._layer.layer import Call, Layer
from cvxpylayers._typing import Float64


def value_gradients(layer: Layer, call: Call) -> list[Float64]:
    """The gradient (*batch, *shape) of each instance's optimal value, in the user's sense, by every parameter; 0 without solution.

    L = ½ xᵀP x + qᵀx + d + zᵀ(A x + s - b) has by the lower triangle of P, q, A, b and d the derivatives xᵢxⱼ (½ xᵢ² on the
    diagonal), x, zᵢxⱼ, -z and 1; Mᵀ takes them to θ. Where multipliers are not unique this is one of the subgradients.
    """
    compiled, batch, tape = layer.compiled, call.batch, call.tape
    assert tape is not None
    st = compiled.structure
    x, z = (np.where(tape.solved[:, None], part, 0.0) for part in (tape.x, tape.z))
    half = np.where(st.P.rows == st.P.indices, 0.5, 1.0)
    by_P, by_A = half * x[:, st.P.rows] * x[:, st.P.indices], z[:, st.A.rows] * x[:, st.A.indices]
    values = np.concatenate([by_P, x, by_A, -z, tape.solved[:, None]], axis=1)
    theta = compiled.objective_sign * (compiled.M[:, :-1].T @ values.T).T
    if compiled.log_space:  # the value is the exponential of that in logarithms
        theta = np.where(tape.solved, call.info.objective.reshape(-1), 0.0)[:, None] * theta
    found, arrays, start = [], iter(entered(layer.engine, batch).arrays), 0
    for spec in compiled.parameters:
        total = np.zeros((batch.size, spec.size))
        for form in spec.forms:
            array = np.broadcast_to(next(arrays), (*batch.shape, spec.size)).reshape(batch.size, spec.size)
            part = theta[:, start : start + spec.size]
            total += part / np.exp(array) if form == "log" else part
            start += spec.size
        found.append(total.reshape(batch.shape + spec.shape))
    return found
