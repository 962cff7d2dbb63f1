"""Layers of problems that are built alike share their compilation; nothing that differs is taken to be alike."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from cvxpy.atoms.atom import Atom
from cvxpy.reductions.dcp2cone.canonicalizers import CANON_METHODS
from cvxpy.transforms.suppfunc import SuppFunc

from cvxpylayers import ProblemError
from cvxpylayers._canon import Recent, fingerprint
from cvxpylayers._canon.fingerprint import _SILENT
from cvxpylayers._layer import assembly
from cvxpylayers.torch import CvxpyLayer

Build = tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]


def build(
    *,
    n: int = 3,
    weight: float = 2.0,
    matrix: Any = None,
    bound: Callable[[cp.Variable], cp.Constraint] = lambda x: x >= 0,
    atom: Callable[[Any], Any] = cp.sum_squares,
    sense: type = cp.Minimize,
    variable: dict[str, Any] | None = None,
    parameter: dict[str, Any] | None = None,
    swap: bool = False,
    dual: bool = False,
    twice: bool = False,
) -> Build:
    x, a, c = cp.Variable(n, **(variable or {})), cp.Parameter(n, **(parameter or {})), cp.Parameter(n)
    matrix = np.eye(n) if matrix is None else matrix
    constraint = bound(x)
    objective = weight * atom(matrix @ x - a) + c @ x
    constraints = [constraint, constraint if twice else cp.sum(x) <= 10]
    problem = cp.Problem(sense(objective if sense is cp.Minimize else -objective), constraints)
    return problem, [c, a] if swap else [a, c], [constraint.dual_variables[0] if dual else x]


CHANGES: dict[str, dict[str, Any]] = {
    "size": {"n": 4},
    "a number": {"weight": np.nextafter(2.0, 3.0)},
    "a matrix": {"matrix": np.diag([1.0, 1.0, 1.5])},
    "a sparse matrix": {"matrix": sp.eye_array(3, format="csr")},
    "a constant bound": {"bound": lambda x: x >= 1e-300},
    "the kind of a constraint": {"bound": lambda x: x == 0},
    "an index": {"bound": lambda x: x[:2] >= 0},
    "another index": {"bound": lambda x: x[1:] >= 0},
    "an axis": {"bound": lambda x: cp.sum(cp.reshape(x, (3, 1), order="C"), axis=0) >= 0},
    "the other axis": {"bound": lambda x: cp.sum(cp.reshape(x, (3, 1), order="C"), axis=1) >= 0},
    "an atom": {"atom": cp.norm1},
    "an option of an atom": {"atom": lambda e: cp.huber(cp.sum(e), 1.0)},
    "another option": {"atom": lambda e: cp.huber(cp.sum(e), 2.0)},
    "an exponent": {"atom": lambda e: cp.power(cp.sum(e), 2)},
    "another exponent": {"atom": lambda e: cp.power(cp.sum(e), 4)},
    "sense": {"sense": cp.Maximize},
    "a variable's attribute": {"variable": {"nonneg": True}},
    "a variable's bounds": {"variable": {"bounds": [0, 1]}},
    "a variable's other bounds": {"variable": {"bounds": [0, 2]}},
    "a parameter's attribute": {"parameter": {"nonneg": True}},
    "the order of parameters": {"swap": True},
    "the output": {"dual": True},
    "a constraint": {"twice": True},
    "nothing": {},
}


def test_all_that_differs_is_told_apart() -> None:
    digests = {name: fingerprint(*build(**change), False, None) for name, change in CHANGES.items()}
    assert None not in digests.values()
    assert len(set(digests.values())) == len(CHANGES)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_built_anew_is_alike(change: dict[str, Any]) -> None:
    assert fingerprint(*build(**change), False, None) == fingerprint(*build(**change), False, None)


def test_options_count() -> None:
    assert fingerprint(*build(), False, None) != fingerprint(*build(), True, None)


def test_what_is_not_known_is_like_nothing() -> None:
    class Own(cp.exp):
        pass

    x, a = cp.Variable(), cp.Parameter()
    assert fingerprint(cp.Problem(cp.Minimize(Own(x) + a * x)), [a], [x], False, None) is None
    assert fingerprint("no problem", [a], [x]) is None


def perspective(r: float, x: cp.Variable) -> tuple[Any, list[cp.Constraint]]:
    t = cp.Variable(nonneg=True)
    return cp.perspective(r * cp.square(x), t), [t <= 1]


def support(r: float, x: cp.Variable) -> tuple[Any, list[cp.Constraint]]:
    z = cp.Variable()
    return cp.square(x) / 2 + SuppFunc(z, [z <= r, z >= -r])(x), []


@pytest.mark.parametrize(("function", "solutions"), [(perspective, (2.0, 1.0)), (support, (3.0, 2.0))])
def test_what_an_atom_does_not_tell_is_like_nothing(function: Callable[..., Any], solutions: tuple[float, ...]) -> None:
    for r, solution in zip((1.0, 2.0), solutions, strict=True):
        x, a = cp.Variable(), cp.Parameter()
        objective, constraints = function(r, x)
        problem = cp.Problem(cp.Minimize(objective - a * x), constraints)
        assert fingerprint(problem, [a], [x], False, None) is None
        torch.testing.assert_close(CvxpyLayer(problem, [a], [x])(torch.tensor(4.0))[0], torch.tensor(solution))


# From what get_data tells, and the shape.
DERIVED = {"_shape", "_keep", "_ones", "_select_mat", "approx_error", "cone_lb", "cone_num", "cone_num_over"}
DERIVED |= {"keepdims", "p", "p_used", "tree", "w", "w_dyad"}


def names(function: Callable[..., Any], kind: type[ast.expr_context]) -> set[str]:
    """Attributes that a function stores or loads."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, kind)}


@pytest.mark.parametrize("atom", sorted(set(CANON_METHODS) - set(_SILENT), key=lambda atom: atom.__name__))
def test_atoms_tell_what_they_are_made_from(atom: Any) -> None:
    makers = [
        vars(kind)["__init__"] for kind in atom.__mro__ if issubclass(kind, Atom) and kind is not Atom and "__init__" in vars(kind)
    ]
    kept = set().union(*(names(maker, ast.Store) for maker in makers))
    told = set().union(*(names(vars(kind)["get_data"], ast.Load) for kind in atom.__mro__ if "get_data" in vars(kind)))
    assert kept - told <= DERIVED | {"args"}


def test_the_second_layer_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assembly._RECENT.clear()
    first = CvxpyLayer(*build())
    calls: list[int] = []
    compile_problem = assembly.compile_problem
    monkeypatch.setattr(assembly, "compile_problem", lambda *args, **kwargs: (calls.append(1), compile_problem(*args, **kwargs))[1])
    second = CvxpyLayer(*build())
    assert not calls
    inputs = torch.randn(5, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    assert torch.equal(first(*inputs)[0], second(*inputs)[0])
    assert second._layer.engine is not first._layer.engine
    CvxpyLayer(*build(), solver_args={"tolerance": 1e-9})
    CvxpyLayer(*build(), solver="CLARABEL")
    assert len(calls) == 2


def test_names_are_those_of_the_layer() -> None:
    def named(word: str) -> CvxpyLayer:
        x, a = cp.Variable(2, name=f"x_{word}"), cp.Parameter(2, name=f"a_{word}")
        return CvxpyLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [x >= 0]), [a], [x])

    for word in ("one", "two"):
        layer = named(word)
        assert f"(a_{word}[2]) → (x_{word}[2])" in repr(layer)
        with pytest.raises(ValueError, match=f"'a_{word}' must have shape"):
            layer(torch.zeros(3))


def test_mistakes_are_refused_every_time() -> None:
    problem, parameters, variables = build()
    for _ in range(2):
        with pytest.raises(ProblemError):
            CvxpyLayer(problem, parameters[:1], variables)


def test_the_store_forgets_the_oldest() -> None:
    store = Recent[str](count=2, room=10, size=len)
    for key in "abc":
        store.put(key, key)
    assert [store.get(key) for key in "abc"] == [None, "b", "c"]
    store.put("d", "d" * 10)
    assert [store.get(key) for key in "bcd"] == [None, None, "d" * 10]
    store.put("e", "e" * 11)
    assert store.get("e") is None
