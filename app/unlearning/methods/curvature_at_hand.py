"""The diagonal curvature a method ranks by: the one kept with the version, or a fresh one."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from app.unlearning.curvature import choose_estimator, ggn_diagonal, sketched_ggn_diagonal
from app.unlearning.problem import Problem


@dataclass(frozen=True)
class CurvatureAtHand:
    """A diagonal of the curvature of the mean loss, without weight decay.

    Attributes:
        values: Parameter name to tensor.
        estimator: How it was found.
        gradient_evaluations: Gradients it cost now, counted per row; 0 if it was kept.
    """

    values: Mapping[str, Tensor]
    estimator: str
    gradient_evaluations: int


def curvature_at_hand(problem: Problem, names: tuple[str, ...]) -> CurvatureAtHand:
    """Find the diagonal for some parameters.

    Args:
        problem: The problem.
        names: Parameters wanted.

    Returns:
        What was kept with the version, if it covers the names with the right shapes; otherwise an
        estimate on the edited data.
    """
    kept = kept_curvature(problem, names)
    if kept is not None and problem.curvature is not None:
        estimator = f"{problem.curvature.estimator}, kept with the version"
        return CurvatureAtHand(kept, estimator, 0)
    model, objective, rows = problem.model, problem.objective, problem.edited
    if choose_estimator(model, objective) == "ggn":
        fresh = ggn_diagonal(model, objective, rows)
    else:
        fresh = sketched_ggn_diagonal(model, objective, rows, seed=problem.generator_seed)
    values = {name: fresh.values[name] for name in names}
    return CurvatureAtHand(values, fresh.estimator, fresh.rows * max(1, fresh.draws))


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
