"""Solvers for steps on a selection of coordinates: linear systems and minimisation."""

from app.unlearning.solvers.captured_block import captured_block, solve_damped
from app.unlearning.solvers.conjugate_gradient import Solve, conjugate_gradient
from app.unlearning.solvers.damping_path import damping_path
from app.unlearning.solvers.gauss_newton_product import ggn_vector_product
from app.unlearning.solvers.lissa import Recursion, lissa
from app.unlearning.solvers.masked_lbfgs import Minimum, masked_lbfgs

__all__ = [
    "Minimum",
    "Recursion",
    "Solve",
    "captured_block",
    "conjugate_gradient",
    "damping_path",
    "ggn_vector_product",
    "lissa",
    "masked_lbfgs",
    "solve_damped",
]
