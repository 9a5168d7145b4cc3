"""The diagonal curvature a method ranks by: the one kept with the version, or a fresh one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from app.unlearning.curvature import (
    Diagonal,
    choose_estimator,
    empirical_fisher_diagonal,
    ggn_diagonal,
    hutchinson_diagonal,
    monte_carlo_fisher_diagonal,
    sketched_ggn_diagonal,
)
from app.unlearning.curvature.precision import Precision, products_in
from app.unlearning.problem import Problem
from app.unlearning.rows import Rows

Wanted = Literal[
    "auto", "ggn", "sketched_ggn", "monte_carlo_fisher", "empirical_fisher", "hutchinson"
]

# Hutchinson's error with one probe is several times the diagonal itself.
_DRAWS = {"hutchinson": 100}


@dataclass(frozen=True)
class Estimating:
    """Which diagonal to rank by.

    Attributes:
        estimator: As the curvature package names them; ``auto`` takes the one kept with the
            version, else the exact Gauss-Newton diagonal where that is cheap and random signs
            where it is not.
        draws: Random vectors, drawn labels or probes of the estimates; None for what is usual.
        precision: Of float32 products; None leaves it to the process.
    """

    estimator: Wanted = "auto"
    draws: int | None = None
    precision: Precision | None = None


@dataclass(frozen=True)
class CurvatureAtHand:
    """A diagonal of the curvature of the mean loss, without weight decay.

    Attributes:
        values: Parameter name to tensor.
        estimator: How it was found.
        gradient_evaluations: Gradients it cost now, counted per row; 0 if it was kept.
        fallbacks: Where an operation without a rule made it slower; a sentence each.
    """

    values: Mapping[str, Tensor]
    estimator: str
    gradient_evaluations: int
    fallbacks: tuple[str, ...] = ()


def curvature_at_hand(
    problem: Problem,
    names: tuple[str, ...],
    *,
    rows: Rows | None = None,
    how: Estimating | None = None,
) -> CurvatureAtHand:
    """Find the diagonal for some parameters.

    Args:
        problem: The problem.
        names: Parameters wanted.
        rows: Rows for a fresh one; None for the edited data.
        how: Which diagonal; None for the defaults.

    Returns:
        What was kept with the version, if it is what is wanted and covers the names with the right
        shapes; otherwise a fresh one.
    """
    how = how or Estimating()
    kept = kept_curvature(problem, names)
    if kept is not None and problem.curvature is not None:
        found = problem.curvature.estimator
        if how.estimator == "auto" or (how.estimator == found and how.draws is None):
            return CurvatureAtHand(kept, f"{found}, kept with the version", 0)
    fresh = _fresh(problem, problem.edited if rows is None else rows, how)
    values = {name: fresh.values[name] for name in names}
    cost = fresh.rows * max(1, fresh.draws)
    return CurvatureAtHand(values, fresh.estimator, cost, fresh.fallbacks)


def _fresh(problem: Problem, rows: Rows, how: Estimating) -> Diagonal:
    model, objective, seed = problem.model, problem.objective, problem.generator_seed
    name = how.estimator
    draws = how.draws or _DRAWS.get(name, 1)
    if name == "auto":
        name = "ggn" if choose_estimator(model, objective) == "ggn" else "sketched_ggn"
    if name == "ggn":
        return ggn_diagonal(model, objective, rows, precision=how.precision)
    if name == "empirical_fisher":
        return empirical_fisher_diagonal(model, objective, rows, precision=how.precision)
    if name == "hutchinson":
        with products_in(how.precision):
            return hutchinson_diagonal(model, objective, rows, draws=draws, seed=seed)
    sampled = sketched_ggn_diagonal if name == "sketched_ggn" else monte_carlo_fisher_diagonal
    return sampled(model, objective, rows, draws=draws, seed=seed, precision=how.precision)


def kept_curvature(problem: Problem, names: tuple[str, ...]) -> dict[str, Tensor] | None:
    """The diagonal kept with the version, for some parameters.

    Args:
        problem: The problem.
        names: Parameters wanted.

    Returns:
        Parameter name to tensor, in the parameters' own precision; None if nothing was kept that
        covers the names with the right shapes.
    """
    stored = problem.curvature
    if stored is None:
        return None
    like = {name: problem.parameters[name] for name in names}
    if any(n not in stored.values or stored.values[n].shape != t.shape for n, t in like.items()):
        return None
    return {n: stored.values[n].to(device=t.device, dtype=t.dtype) for n, t in like.items()}
