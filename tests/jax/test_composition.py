"""Inside control flow, across devices, ahead of time: a layer goes wherever a function of arrays goes, without Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import Mesh, PartitionSpec

from cvxpylayers import Status
from cvxpylayers.jax import CvxpyLayer
from tests.jax.cases import FAMILIES, Case, case, weights


@pytest.fixture
def qp() -> Case:
    return case("qp")


@pytest.fixture
def params(qp: Case) -> tuple[jax.Array, ...]:
    """F (8, 4, 3), g (8, 4), u ()."""
    return tuple(map(jnp.asarray, qp.sample((8,), (8,), (), dtype="float32")))


def loss_of(qp: Case) -> Callable[..., Any]:
    return lambda *params: sum(jnp.sum(weights(o.shape, o.dtype) * o**2) for o in qp.layer(*params))


def close(found: Any, expected: Any, slack: float = 1e-5) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=slack * max(1.0, float(np.abs(expected).max())))


def _step(qp: Case, u: jax.Array, g: jax.Array, F: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, _ = qp.layer(F, g, u)
    return g + 0.1 * jnp.append(x, x[0]), x


def test_scan_is_the_loop_and_has_its_gradient(qp: Case, params: tuple[jax.Array, ...]) -> None:
    F, g, u = params
    step = partial(_step, qp, u)

    def scanned(g: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.scan(step, g, F)[1] ** 2)

    def looped(g: jax.Array) -> jax.Array:
        total = jnp.zeros(())
        for matrix in F:
            g, x = step(g, matrix)
            total += jnp.sum(x**2)
        return total

    close(jax.jit(scanned)(g[0]), looped(g[0]))
    close(jax.jit(jax.grad(scanned))(g[0]), jax.grad(looped)(g[0]))
    close(jax.jit(jax.grad(jax.checkpoint(scanned)))(g[0]), jax.grad(looped)(g[0]))


def test_while_and_cond(qp: Case, params: tuple[jax.Array, ...]) -> None:
    F, g, u = params

    def body(state: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        return state[0] + 1, _step(qp, u, state[1], F[state[0]])[0]

    _, found = jax.jit(lambda g: jax.lax.while_loop(lambda state: state[0] < 3, body, (0, g)))(g[0])
    expected = g[0]
    for matrix in F[:3]:
        expected, _ = _step(qp, u, expected, matrix)
    np.testing.assert_array_equal(found, expected)
    branch = jax.jit(jax.grad(lambda flag, g: jax.lax.cond(flag, lambda g: loss_of(qp)(F[0], g, u), lambda g: jnp.sum(g), g), 1))
    close(branch(True, g[0]), jax.grad(loss_of(qp), 1)(F[0], g[0], u))
    close(branch(False, g[0]), np.ones(4))


@pytest.mark.parametrize("checked", [True, False])
def test_shard_map_over_four_devices(qp: Case, params: tuple[jax.Array, ...], checked: bool) -> None:
    assert len(jax.devices()) >= 4
    mesh = Mesh(np.array(jax.devices()[:4]), ("batch",))
    split, whole = PartitionSpec("batch"), PartitionSpec()
    sharded = jax.shard_map(qp.layer.__call__, mesh=mesh, in_specs=(split, split, whole), out_specs=split, check_vma=checked)
    for output, expected in zip(jax.jit(sharded)(*params), qp.layer(*params), strict=True):
        np.testing.assert_array_equal(output, expected)

    def loss(layer: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *params: sum(jnp.sum(weights(o.shape, o.dtype) * o) for o in layer(*params))

    found, expected = (jax.jit(jax.grad(loss(f), (0, 1, 2)))(*params) for f in (sharded, qp.layer))
    jax.tree.map(close, found, expected)


def test_gradient_inside_shard_map_sums_over_devices(qp: Case, params: tuple[jax.Array, ...]) -> None:
    mesh, split = Mesh(np.array(jax.devices()[:4]), ("batch",)), PartitionSpec("batch")

    def local(F: jax.Array, g: jax.Array, u: jax.Array) -> jax.Array:
        return jax.grad(lambda u: jax.lax.psum(jnp.sum(qp.layer(F, g, u)[0] ** 2), "batch"))(u)

    found = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(split, split, PartitionSpec()), out_specs=PartitionSpec()))(*params)
    close(found, jax.grad(lambda u: jnp.sum(qp.layer(*params[:2], u)[0] ** 2))(params[2]))


def test_pmap(qp: Case, params: tuple[jax.Array, ...]) -> None:
    F, g, u = params
    found = jax.pmap(lambda F, g: qp.layer(F, g, u))(F.reshape(4, 2, 4, 3), g.reshape(4, 2, 4))
    for output, expected in zip(found, qp.layer(*params), strict=True):
        np.testing.assert_array_equal(output.reshape(expected.shape), expected)


def test_ahead_of_time(qp: Case, params: tuple[jax.Array, ...]) -> None:
    compiled = jax.jit(qp.layer.__call__).lower(*params).compile()
    for output, expected in zip(compiled(*params), qp.layer(*params), strict=True):
        np.testing.assert_array_equal(output, expected)


def test_export_with_symbolic_batch(qp: Case, params: tuple[jax.Array, ...]) -> None:
    (b,) = jax.export.symbolic_shape("b")
    types = [jax.ShapeDtypeStruct((b, *p.shape[1:]) if p.ndim else (), p.dtype) for p in params]
    known = [jax.export.DisabledSafetyCheck.custom_call("cvxpylayers_solve")]
    exported = jax.export.export(jax.jit(qp.layer.__call__), disabled_checks=known)(*types)
    for output, expected in zip(exported.call(*params), qp.layer(*params), strict=True):
        np.testing.assert_array_equal(output, expected)


def calls(text: str, name: str) -> int:
    return len(re.findall(rf"\b{name}\b(?=\[)", text))


TRANSFORMS: dict[str, tuple[Callable[[Any], Any], dict[str, int]]] = {
    "vmap": (lambda f: jax.vmap(f, (0, 0, None)), {"solve": 1}),
    "nested": (lambda f: jax.vmap(jax.vmap(f, (None, 0, None)), (0, None, None)), {"solve": 1}),
    "vmap of grad": (lambda f: jax.vmap(jax.grad(lambda *p: jnp.sum(f(*p)[0])), (0, 0, None)), {"solve": 1, "vjp": 1}),
    "vmap of jacrev": (lambda f: jax.vmap(jax.jacrev(lambda *p: f(*p)[0]), (0, 0, None)), {"solve": 1, "vjp": 1}),
    "vmap of jacfwd": (lambda f: jax.vmap(jax.jacfwd(f), (0, 0, None)), {"solve": 1, "jvp": 1}),
    "vmap of hessian": (lambda f: jax.vmap(jax.hessian(lambda *p: jnp.sum(f(*p)[0] ** 2), 1), (0, 0, None)), {"hvp": 1}),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_one_call_and_no_callback(qp: Case, params: tuple[jax.Array, ...], name: str) -> None:
    """Any vmap is one call of each kind in the jaxpr, and in the compiled program, which never calls Python."""
    transform, expected = TRANSFORMS[name]
    function = transform(qp.layer.__call__)
    jaxpr, program = str(jax.make_jaxpr(function)(*params)), jax.jit(function).lower(*params).compile().as_text()
    targets = re.findall(r'custom_call_target="(\w+)"', program)
    for kind, count in expected.items():
        assert calls(jaxpr, f"cvxpylayers_{kind}") == count
        assert targets.count(f"cvxpylayers_{kind}") == count
    assert all(target.startswith("cvxpylayers_") for target in targets)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_same_through_python(qp: Case, params: tuple[jax.Array, ...], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the compiled interface, every transformation gives what it gives with it."""
    monkeypatch.setenv("CVXPYLAYERS_JAX", "callback")
    problem, parameters, variables, _ = FAMILIES["qp"]()
    slow = CvxpyLayer(problem, parameters, variables)
    transform, _ = TRANSFORMS[name]
    assert "cvxpylayers_" not in jax.jit(transform(slow.__call__)).lower(*params).compile().as_text()
    found, expected = (jax.jit(transform(layer.__call__))(*params) for layer in (slow, qp.layer))
    jax.tree.map(close, found, expected)


def test_what_is_shared_is_not_repeated(qp: Case, params: tuple[jax.Array, ...]) -> None:
    """Parameters that are not mapped enter the call once, whatever the maps; a gradient summed over a batch is born summed."""
    F, g, u = params
    each = jax.vmap(jax.grad(lambda F, g, u: jnp.sum(qp.layer(F, g, u)[0]), 1), (None, 0, None))
    total = jax.grad(lambda F, g, u: jnp.sum(jax.vmap(qp.layer, (None, 0, None))(F, g, u)[0]))
    for function in (each, total):
        for line in jax.jit(function).lower(F[0], g, u).compile().as_text().splitlines():
            assert "8,12]" not in line


def test_checkify_and_statuses_in_compiled_code(qp: Case, params: tuple[jax.Array, ...]) -> None:
    F, g, u = params

    def total(F: jax.Array, g: jax.Array, u: jax.Array) -> jax.Array:
        (x, _), info = qp.layer.solve(F, g, u)
        checkify.check(jnp.all(info.solved), "unsolved")
        return jnp.sum(jnp.where(info.status[:, None] == Status.SOLVED, x, 0.0))

    checked = jax.jit(checkify.checkify(total))
    error, value = checked(F, g, u)
    error.throw()
    close(value, jnp.sum(qp.layer(F, g, u)[0]))
    with pytest.raises(checkify.JaxRuntimeError, match="unsolved"):
        checked(F, g.at[3].set(jnp.nan), u)[0].throw()
