"""What kind of CVXPY expression one is: predicates for messages and rules."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
from cvxpy.atoms.affine.binary_operators import DivExpression, MulExpression
from cvxpy.atoms.affine.conv import conv, convolve
from cvxpy.atoms.affine.kron import kron
from cvxpy.atoms.affine.unary_operators import NegExpression
from cvxpy.atoms.elementwise.power import Power
from cvxpy.atoms.quad_form import QuadForm
from cvxpy.reductions.dcp2cone.canonicalizers import CANON_METHODS


def is_quad_form(expression: Any) -> bool:
    """Whether ``expression`` is ``quad_form(x, P)``."""
    return isinstance(expression, QuadForm)


def is_affine(expression: Any) -> bool:
    """Whether a quadratic term among the arguments of ``expression`` is one of it too."""
    return type(expression) not in CANON_METHODS


def is_division(expression: Any) -> bool:
    """Whether ``expression`` is a quotient."""
    return isinstance(expression, DivExpression)


def is_product(expression: Any) -> bool:
    """Whether ``expression`` is a product, of matrices or entry by entry."""
    return isinstance(expression, MulExpression)


def is_convolution(expression: Any) -> bool:
    """Whether ``expression`` is a convolution of vectors or of columns."""
    return isinstance(expression, (conv, convolve))


def is_kronecker(expression: Any) -> bool:
    """Whether ``expression`` is a Kronecker product."""
    return isinstance(expression, kron)


def is_negation(expression: Any) -> bool:
    """Whether ``expression`` is another with its sign changed."""
    return isinstance(expression, NegExpression)


def exponents(expression: Any) -> list[cp.Parameter]:
    """The parameters in the exponent of ``expression``, which is no argument of it."""
    return expression.p.parameters() if isinstance(expression, Power) and isinstance(expression.p, cp.Expression) else []
