"""Losses on decisions, in PyTorch and JAX alike: closed forms that were published, differences, and batches.

Every law is stated for costs; scores of the literature are -s times these.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from cvxpylayers import InputError, ProblemError
from cvxpylayers.testing._front_ends import FRONT_ENDS, Array, FrontEnd

N = 5
EULER = 0.5772156649015329


@pytest.fixture(params=["torch", "jax", "torch-float32", "jax-float32"])
def front(request: pytest.FixtureRequest) -> Iterator[FrontEnd]:
    yield from entered(request.param)


@pytest.fixture(params=["torch", "jax"])
def double(request: pytest.FixtureRequest) -> Iterator[FrontEnd]:
    yield from entered(request.param)


def entered(name: str) -> Iterator[FrontEnd]:
    found = FRONT_ENDS[name]
    assert found.kind  # skips without the library
    with found.context():
        yield found


def losses(front: FrontEnd) -> Any:
    return importlib.import_module(f"cvxpylayers.{front.library}.losses")


def evaluated(front: FrontEnd, loss: Callable[..., Any], *arrays: Any) -> tuple[Array, Array]:
    """The losses of a batch, and their gradient by the first array."""
    if front.library == "torch":
        import torch

        first, *rest = map(front.tensor, arrays)
        value = loss(first.requires_grad_(), *rest)
        return front.numbers(value), front.numbers(torch.autograd.grad(value.sum(), first)[0])
    import jax

    value, pull = jax.vjp(lambda p: loss(p, *map(front.tensor, arrays[1:])), front.tensor(arrays[0]))
    return front.numbers(value), front.numbers(pull(jax.numpy.ones_like(value))[0])


def simplex(front: FrontEnd, sign: int, **options: Any) -> Any:
    """The best of N entries."""
    c, x = cp.Parameter(N, name="c"), cp.Variable(N, name="x")
    objective = cp.Minimize(c @ x) if sign > 0 else cp.Maximize(c @ x)
    return front.layer(cp.Problem(objective, [cp.sum(x) == 1, x >= 0]), [c], [x], **options)


def regularized(front: FrontEnd, sign: int, omega: Callable[[Any], Any]) -> Any:
    """min c x + Ω(x) over the simplex, or max c x - Ω(x)."""
    c, x = cp.Parameter(N, name="c"), cp.Variable(N, name="x")
    objective = cp.Minimize(c @ x + omega(x)) if sign > 0 else cp.Maximize(c @ x - omega(x))
    return front.layer(cp.Problem(objective, [cp.sum(x) == 1, x >= 0]), [c], [x])


def draw(front: FrontEnd, *shape: int, seed: int = 0) -> Array:
    return front.rounded(np.random.default_rng(seed).normal(size=shape))


def close(found: Array, true: Array, front: FrontEnd, slack: float = 1e-7) -> None:
    np.testing.assert_allclose(found, true, atol=max(slack, 20 * front.epsilon), rtol=0)


signs = pytest.mark.parametrize("sign", [1, -1], ids=["minimize", "maximize"])


def one_hot(index: Array) -> Array:
    return np.eye(N)[index]


@signs
def test_spo_plus_of_a_choice(front: FrontEnd, sign: int) -> None:
    """Elmachtoub and Grigas, definition 3, where the decisions are the corners of a simplex: all maxima in closed form."""
    layer, p, c = simplex(front, sign), draw(front, 6, N), draw(front, 6, N, seed=1)
    value, gradient = evaluated(front, lambda a, b: losses(front).spo_plus(layer, a, b), p, c)
    best, ahead = one_hot((sign * c).argmin(-1)), one_hot((sign * (2 * p - c)).argmin(-1))
    close(value, (sign * (c - 2 * p)).max(-1) + 2 * sign * (p * best).sum(-1) - (sign * c).min(-1), front)
    close(gradient, 2 * sign * (best - ahead), front)
    assert abs(evaluated(front, lambda a, b: losses(front).spo_plus(layer, a, b), c, c)[0]).max() <= 20 * front.epsilon


@signs
def test_regret_of_a_choice_and_its_bound(front: FrontEnd, sign: int) -> None:
    layer, p, c = simplex(front, sign), draw(front, 6, N), draw(front, 6, N, seed=1)
    value, gradient = evaluated(front, lambda a, b: losses(front).regret(layer, a, b), p, c)
    chosen = one_hot((sign * p).argmin(-1))
    close(value, sign * (c * chosen).sum(-1) - (sign * c).min(-1), front)
    close(gradient, np.zeros((6, N)), front)
    bound, _ = evaluated(front, lambda a, b: losses(front).spo_plus(layer, a, b), p, c)
    assert np.all(value <= bound + 20 * front.epsilon)
    assert np.all(value >= -20 * front.epsilon)


@signs
def test_fenchel_young_of_sparsemax(front: FrontEnd, sign: int) -> None:
    """Martins and Astudillo (2016), equation 19: L(z; k) = -z_k + ½ Σ_S (z_j² - τ²) + ½; the gradient is sparsemax(z) - e_k."""
    layer = regularized(front, sign, lambda x: 0.5 * cp.sum_squares(x))
    z, labels = draw(front, 6, N), one_hot(np.arange(6) % N)
    ordered = -np.sort(-z, axis=-1)
    sums = np.cumsum(ordered, axis=-1)
    support = (1 + np.arange(1, N + 1) * ordered > sums).sum(-1)
    tau = (np.take_along_axis(sums, support[:, None] - 1, -1)[:, 0] - 1) / support
    inside = z > tau[:, None]
    expected = -(z * labels).sum(-1) + 0.5 * (np.where(inside, z**2 - tau[:, None] ** 2, 0)).sum(-1) + 0.5
    value, gradient = evaluated(front, lambda a, b: losses(front).fenchel_young(layer, a, b), -sign * z, labels)
    close(value + 0.5, expected, front)
    close(gradient, sign * (labels - np.maximum(z - tau[:, None], 0)), front)


@signs
def test_fenchel_young_of_softmax(front: FrontEnd, sign: int) -> None:
    """Ω = negative entropy: the logistic loss, whose gradient is softmax(z) - e_k."""
    layer = regularized(front, sign, lambda x: -cp.sum(cp.entr(x)))
    z, labels = draw(front, 6, N), one_hot(np.arange(6) % N)
    value, gradient = evaluated(front, lambda a, b: losses(front).fenchel_young(layer, a, b), -sign * z, labels)
    weights = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    close(value, np.log(np.exp(z).sum(-1)) - (z * labels).sum(-1), front, slack=1e-6)
    close(gradient, sign * (labels - weights), front, slack=1e-6)


@signs
def test_gumbel_noise_makes_a_choice_the_logistic_loss(front: FrontEnd, sign: int) -> None:
    """E max(z + εG) = ε logsumexp(z / ε) + ε γ and E argmax(z + εG) = softmax(z / ε): within five standard errors."""
    layer, samples, epsilon = simplex(front, sign), 4000, 0.5
    z, labels = draw(front, 3, N), one_hot(np.arange(3) % N)
    noise = epsilon * np.random.default_rng(2).gumbel(size=(samples, 3, N))

    def loss(predicted: Any, target: Any, given: Any) -> Any:
        return losses(front).fenchel_young(layer, predicted, target, noise=given)

    value, gradient = evaluated(front, loss, -sign * z, labels, noise)
    weights = np.exp(z / epsilon) / np.exp(z / epsilon).sum(-1, keepdims=True)
    expected = epsilon * np.log(np.exp(z / epsilon).sum(-1)) + epsilon * EULER - (z * labels).sum(-1)
    assert np.all(np.abs(value - expected) <= 5 * epsilon * np.pi / np.sqrt(6 * samples))
    assert np.all(np.abs(sign * gradient - (labels - weights)) <= 5 * np.sqrt(weights * (1 - weights) / samples) + 1e-5)


def ball(front: FrontEnd, sign: int) -> Any:
    """A smooth problem with a context: min c x + ½|x|² + |x - a|₁ or max c x - … over a ball of radius r and x₀ ≥ 0."""
    c, x = cp.Parameter(N, name="c"), cp.Variable(N, name="x")
    a, r = cp.Parameter(N, name="a"), cp.Parameter(nonneg=True, name="r")
    omega = 0.5 * cp.sum_squares(x) + cp.norm1(x - a)
    objective = cp.Minimize(c @ x + omega) if sign > 0 else cp.Maximize(c @ x - omega)
    return front.layer(cp.Problem(objective, [cp.norm(x) <= r, x[0] >= 0]), [c, a, r], [x])


def disc(front: FrontEnd, sign: int) -> Any:
    """Linear in c alone, over the ball: x = -s r c/|c| is smooth."""
    c, x, r = cp.Parameter(N, name="c"), cp.Variable(N, name="x"), cp.Parameter(nonneg=True, name="r")
    return front.layer(cp.Problem(cp.Minimize(c @ x) if sign > 0 else cp.Maximize(c @ x), [cp.norm(x) <= r]), [c, r], [x])


MADE = {"ball": (ball, [np.linspace(-1, 1, N), np.array(1.5)]), "disc": (disc, [np.array(1.5)])}


@signs
@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("name", ["regret", "spo_plus", "fenchel_young"])
def test_gradients_are_differences(double: FrontEnd, name: str, made: str, sign: int) -> None:
    make, others = MADE[made]
    layer, loss = make(double, sign), getattr(losses(double), name)
    p, c = draw(double, 3, N), draw(double, 3, N, seed=1)
    call = lambda a, b, *rest: loss(layer, a, b, *rest)
    _, gradient = evaluated(double, call, p, c, *others)
    along, h = draw(double, 3, N, seed=2), 1e-5
    ends = [evaluated(double, call, p + k * h * along, c, *others)[0] for k in (1, -1)]
    np.testing.assert_allclose((gradient * along).sum(-1), (ends[0] - ends[1]) / (2 * h), rtol=1e-5, atol=1e-7)
    if name != "fenchel_young":
        value, at_rest = evaluated(double, call, c, c, *others)
        np.testing.assert_allclose(value, 0.0, atol=1e-8)
        np.testing.assert_allclose(at_rest, 0.0, atol=1e-6)
        assert np.all(evaluated(double, call, p, c, *others)[0] > 0)


@signs
@pytest.mark.parametrize("made", MADE)
def test_spo_plus_bounds_regret(double: FrontEnd, made: str, sign: int) -> None:
    make, others = MADE[made]
    layer, p, c = make(double, sign), draw(double, 20, N), draw(double, 20, N, seed=1)
    found = {
        name: evaluated(double, lambda a, b, *rest, name=name: getattr(losses(double), name)(layer, a, b, *rest), p, c, *others)[0]
        for name in ("regret", "spo_plus")
    }
    assert np.all(found["regret"] >= -1e-12)  # rounding of values of size 1
    assert np.all(found["spo_plus"] >= found["regret"] - 1e-12)


def test_a_smoothed_layer_has_a_regret_that_trains(double: FrontEnd) -> None:
    """Its gradient is sJᵀ(c - p), of the central path: downhill all the way, and 0 where the prediction is right."""
    layer = simplex(double, 1, solver_args={"derivative": "smoothed", "smoothing": 0.05})
    regret = lambda a, b: losses(double).regret(layer, a, b)
    p, c = draw(double, 1, N), draw(double, 1, N, seed=1)
    assert evaluated(double, regret, p, c)[0] > 0.1
    for _ in range(80):
        p = p - evaluated(double, regret, p, c)[1]
    assert evaluated(double, regret, p, c)[0] < 1e-6
    assert abs(evaluated(double, regret, c, c)[1]).max() < 1e-9


@pytest.mark.parametrize("name", ["regret", "spo_plus", "fenchel_young"])
def test_a_batch_is_its_instances(front: FrontEnd, name: str) -> None:
    """Axes broadcast as in a call: predictions (4, 1), truths (3), radii (4, 1)."""
    layer, loss = disc(front, 1), getattr(losses(front), name)
    p, c, r = draw(front, 4, 1, N), draw(front, 3, N, seed=1), np.linspace(0.5, 2, 4)[:, None]
    call = lambda *arrays: loss(layer, *arrays)
    value, gradient = evaluated(front, call, p, c, r)
    assert value.shape == (4, 3)
    assert gradient.shape == p.shape
    single = [[evaluated(front, call, p[i, 0], c[j], r[i, 0]) for j in range(3)] for i in range(4)]
    close(value, np.array([[v for v, _ in row] for row in single]), front)
    close(gradient[:, 0], np.array([np.sum([g for _, g in row], axis=0) for row in single]), front)


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("name", ["regret", "spo_plus", "fenchel_young"])
def test_vmap_is_a_batch_or_refused(double: FrontEnd, name: str, made: str) -> None:
    """PyTorch knows optimal values of a batch alone, which only a convex term asks for."""
    layer, loss, rest = MADE[made][0](double, -1), getattr(losses(double), name), [double.tensor(v) for v in MADE[made][1]]
    p, c = double.tensor(draw(double, 4, N)), double.tensor(draw(double, 4, N, seed=1))
    call = lambda a, b: loss(layer, a, b, *rest)
    mapped = importlib.import_module("torch.func" if double.library == "torch" else "jax").vmap(call)
    if (double.library, made) == ("torch", "ball"):
        with pytest.raises(InputError, match="give the loss the batch"):
            mapped(p, c)
    else:
        np.testing.assert_allclose(double.numbers(mapped(p, c)), double.numbers(call(p, c)), atol=1e-12)


def test_compiled_losses_of_jax() -> None:
    import jax

    front = FRONT_ENDS["jax"]
    with front.context():
        layer, p, c = ball(front, 1), front.tensor(draw(front, 4, N)), front.tensor(draw(front, 4, N, seed=1))
        rest = [front.tensor(v) for v in MADE["ball"][1]]
        mean = lambda p: losses(front).spo_plus(layer, p, c, *rest).mean()
        eager, compiled = jax.grad(mean)(p), jax.jit(jax.grad(mean))(p)
        np.testing.assert_allclose(eager, compiled, atol=1e-12)


def test_scalars_are_decisions(front: FrontEnd) -> None:
    c, x = cp.Parameter(name="c"), cp.Variable(name="x")
    layer = front.layer(cp.Problem(cp.Minimize(c * x), [x >= -1, x <= 1]), [c], [x])
    value, gradient = evaluated(
        front, lambda a, b: losses(front).spo_plus(layer, a, b), np.array([1.5, -1.0]), np.array([2.0, 2.0])
    )
    close(value, np.array([0.0, 8.0]), front)
    close(gradient, np.array([0.0, -4.0]), front)


def test_gradients_reach_predictions_alone(front: FrontEnd) -> None:
    layer = disc(front, 1)
    for name in losses(front).__all__:
        loss = getattr(losses(front), name)
        arrays = [draw(front, N), draw(front, N, seed=1), np.array(1.5)]
        for k in (1, 2):
            turned = [arrays[k], *arrays[:k], *arrays[k + 1 :]]
            back = lambda first, *rest, k=k, loss=loss: loss(layer, *rest[:k], first, *rest[k:]) + 0 * first.sum()
            assert not evaluated(front, back, *turned)[1].any()


def objectives() -> dict[str, tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]]:
    """Layers whose cost is none."""
    x, t, c, b = cp.Variable(N, name="x"), cp.Variable(name="t"), cp.Parameter(N, name="c"), cp.Parameter(N, name="b")
    box = [x >= 0, x <= 1]
    return {
        "projection": (cp.Problem(cp.Minimize(cp.sum_squares(x - c)), box), [c], [x]),
        "twice": (cp.Problem(cp.Minimize(2 * c @ x), box), [c], [x]),
        "in a constraint": (cp.Problem(cp.Minimize(c @ x), [*box, x <= c + 2]), [c], [x]),
        "second parameter": (cp.Problem(cp.Minimize(c @ x), [*box, x >= b]), [b, c], [x]),
        "other output": (cp.Problem(cp.Minimize(c @ x + t), [*box, t >= 0]), [c], [t, x]),
        "a dual": (cp.Problem(cp.Minimize(c @ x), box), [c], [box[0].dual_variables[0], x]),
        "no parameter": (cp.Problem(cp.Minimize(cp.sum(x)), box), [], [x]),
    }


@pytest.mark.parametrize("case", objectives())
@pytest.mark.parametrize("name", ["regret", "spo_plus", "fenchel_young"])
def test_a_layer_without_costs_is_refused(front: FrontEnd, name: str, case: str) -> None:
    layer = front.layer(*objectives()[case])
    with pytest.raises(ProblemError, match=r"linear in the layer's first parameter.*such as cp.Minimize\(c @ x\)"):
        getattr(losses(front), name)(layer, *map(front.tensor, (np.ones(N), np.ones(N))))
