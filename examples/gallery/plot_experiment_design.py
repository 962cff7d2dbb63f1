"""
Experiment design
=================

A polynomial of degree three is to be fitted to a few expensive measurements. D-optimal design
chooses how often to measure at each of some places, so that the ellipsoid of confidence is
small: a determinant to maximize under weights. The places themselves are parameters of the
layer and follow its gradient, in JAX, from eight random starts at once. Theory knows where they
should end: at ±1 and ±1/√5.
"""

# %%
import cvxpy as cp
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from cvxpylayers.jax import CvxpyLayer

# %%
# The problem, once. A place t brings the information v vᵀ, where v are the values of the first
# four Legendre polynomials at t, and a design their weighted sum.
places = 7
weights, measured = cp.Variable(places, nonneg=True), cp.Parameter((places, 16))
information = cp.reshape(weights @ measured, (4, 4), order="C")
problem = cp.Problem(cp.Maximize(cp.log_det(information)), [cp.sum(weights) == 1])
layer = CvxpyLayer(problem, [measured], [weights])


def design(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights (B, places) of the best designs at places t (B, places), and log determinants (B)."""
    v = jnp.stack([jnp.ones_like(t), t, (3 * t**2 - 1) / 2, (5 * t**3 - 3 * t) / 2], -1)
    outer = v[..., :, None] * v[..., None, :]
    (weights,) = layer(outer.reshape(*t.shape, 16))
    return weights, jnp.linalg.slogdet(jnp.einsum("bk,bkij->bij", weights, outer))[1]


# %%
# Places climb the gradient and stay in [-1, 1].
@jax.jit
def step(t: jax.Array, memory: optax.OptState) -> tuple[jax.Array, optax.OptState, jax.Array]:
    value, gradient = jax.value_and_grad(lambda t: -design(t)[1].sum())(t)
    change, memory = optimizer.update(gradient, memory)
    return jnp.clip(t + change, -1, 1), memory, -value


t = jax.random.uniform(jax.random.key(0), (8, places), minval=-1, maxval=1)
optimizer = optax.adam(0.02)
memory, path = optimizer.init(t), []
for _ in range(150):
    path.append((t, design(t)[0]))
    t, memory, value = step(t, memory)
theory = 5**-0.5 * jnp.array([-(5**0.5), -1, 1, 5**0.5])
weights, logdet = design(t)
off = jnp.max(jnp.where(weights > 0.01, jnp.abs(t[..., None] - theory).min(-1), 0))
print(f"largest distance of a place in use from theory: {off:.0e}")
assert off < 2e-3

# %%
# The places of all eight designs on their way, each as large as its weight. Those that start
# badly placed lose their weight, and the rest ends on the dashed lines of theory.
plt.style.use("petroff10")
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
color = [f"C{k}" for k in range(8) for _ in range(places)]
for k in range(0, 100, 2):
    then, weights_then = path[k]
    sizes = 150 * jnp.where(weights_then > 0.01, weights_then, 0).ravel()
    axes.scatter([k] * 8 * places, then.ravel(), s=sizes, c=color, lw=0)
for line in theory:
    axes.axhline(line, color="k", lw=0.8, ls="--")
axes.set(xlabel="step of learning", ylabel="where to measure")
plt.show()
