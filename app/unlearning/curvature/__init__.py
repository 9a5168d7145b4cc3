"""Diagonals of the curvature of the mean loss, exact and estimated.

All take a network, its objective and rows, stream the rows in bounded memory, respect row weights
and leave weight decay out. Each result says how it came about.
"""

from app.unlearning.curvature.choice import choose_estimator
from app.unlearning.curvature.diagonal import Diagonal
from app.unlearning.curvature.fisher import (
    empirical_fisher_diagonal,
    monte_carlo_fisher_diagonal,
)
from app.unlearning.curvature.gauss_newton import ggn_diagonal, sketched_ggn_diagonal
from app.unlearning.curvature.hutchinson import hutchinson_diagonal

__all__ = [
    "Diagonal",
    "choose_estimator",
    "empirical_fisher_diagonal",
    "ggn_diagonal",
    "hutchinson_diagonal",
    "monte_carlo_fisher_diagonal",
    "sketched_ggn_diagonal",
]
