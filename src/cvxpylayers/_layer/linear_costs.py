"""Layers whose first parameter is the cost c of their first output x: what losses on decisions are made of.

In the sense of minimization, s = 1 for Minimize and -1 for Maximize, such a layer solves

    V(c) = min s⟨c, x⟩ + Ω(x) over x in S,      x(c) its minimizer,

with any convex Ω and S. V is concave and ∇V(c) = s x(c) (Danskin), so that for predicted costs p and true ones c

    regret          s⟨c, x(p)⟩ + Ω(x(p)) - V(c)  =  V(p) + s⟨c - p, x(p)⟩ - V(c),
    SPO+            max over x of {s⟨c - 2p, x⟩ - Ω(x)} + 2 (s⟨p, x(c)⟩ + Ω(x(c))) - V(c)
                                                 =  V(c) + 2s⟨p - c, x(c)⟩ - V(2p - c),
    Fenchel–Young   of scores -s p, and a decision y:  s⟨p, y⟩ + Ω(y) - V(p),

all of them differences between V and its tangents, hence nonnegative. Elmachtoub and Grigas (Management Science 2022) bound regret
by SPO+; Berthet et al. (NeurIPS 2020) put the mean of V over perturbed scores in the place of V(p); Blondel, Martins and Niculae
(JMLR 2020) are the source of the last.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from cvxpylayers._layer.layer import Layer
from cvxpylayers._program import CompiledProblem
from cvxpylayers.errors import ProblemError

Array = Any  # of the front end's library


class LinearCosts(NamedTuple):
    """``sign`` is s, 1 for Minimize and -1 for Maximize; ``axes`` are those of a decision; ``alone`` says that Ω is zero."""

    sign: int
    axes: tuple[int, ...]
    alone: bool

    def inner(self, a: Array, b: Array) -> Array:
        """s⟨a, b⟩ of every instance, for arrays (*batch, *shape) of any library."""
        product = a * b
        return self.sign * (product.sum(self.axes) if self.axes else product)


def linear_costs(layer: Layer) -> LinearCosts:
    """What the costs of a layer are.

    Raises:
        ProblemError: its objective is not linear in the first parameter with the first output as coefficients.
    """
    if layer not in _KNOWN:
        _KNOWN[layer] = _examined(layer.compiled)
    return _KNOWN[layer]


_KNOWN: WeakKeyDictionary[Layer, LinearCosts] = WeakKeyDictionary()


def _examined(compiled: CompiledProblem) -> LinearCosts:
    """q is s Rᵀ c, R the rows of the first output, and c is nowhere else; Ω is zero if all else of the objective is."""
    st, decision, sign = compiled.structure, compiled.outputs[0], compiled.objective_sign
    M, R, costs, width = compiled.M.tocsc(), compiled.R.tocsr()[: decision.size], slice(st.P.nnz, st.P.nnz + st.n), decision.size
    fit = bool(compiled.parameters) and compiled.parameters[0].shape == decision.shape and not compiled.log_space
    if fit:
        own = M[:, :width]
        fit = own[costs].nnz == own.nnz and not R[:, st.n :].nnz and not (own[costs] != sign * R[:, : st.n].T).nnz
    if not fit:
        raise ProblemError(
            "Losses on decisions need an objective that is linear in the layer's first parameter, with its first output as "
            "coefficients, such as cp.Minimize(c @ x) or cp.Maximize(c @ x - cp.sum_squares(x)) in CvxpyLayer(problem, [c], [x]); "
            f"this layer takes {', '.join(p.name for p in compiled.parameters) or 'no parameters'} to "
            f"{', '.join(o.name for o in compiled.outputs)}."
        )
    alone = not M[: costs.stop, width:].nnz and not M[[-1]].nnz
    return LinearCosts(sign, tuple(range(-len(decision.shape), 0)), alone)
