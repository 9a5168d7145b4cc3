"""Which scalars of a head may change: rules that rank them.

* ``energy``: squared gradients of ``KL(target || answer)``, summed row by row over deleted rows;
* ``warm``: how far a short run with a wide mask moved them, times how strong their inputs are;
* ``decrement``: ``g^2 / (h + mean h)``, ``g`` the mean gradient for deleted rows, ``h`` the
  diagonal curvature on retained rows: what the target gains against what retained rows lose;
* ``curvature``: the largest ``h`` alone; ``random``: a control.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from app.unlearning.curvature import choose_estimator, ggn_diagonal, sketched_ggn_diagonal
from app.unlearning.curvature.squared_gradients import SquaredGradients
from app.unlearning.distillation.answers import output_gradient
from app.unlearning.distillation.lessons import Lesson
from app.unlearning.objective import Objective
from app.unlearning.rows import Rows
from app.unlearning.selection import decrement_scores

MaskRule = Literal["auto", "energy", "warm", "decrement", "random", "curvature"]

_BATCH = 256


def energy_scores(head: nn.Module, objective: Objective, forget: Lesson) -> dict[str, Tensor]:
    """Sum over deleted rows of the squared gradient of ``KL(target || answer)``.

    Args:
        head: In eval mode.
        objective: How outputs are read.
        forget: Deleted rows and their targets.

    Returns:
        Scores by the head's parameter names.
    """
    squares = SquaredGradients(head)
    for inputs, wanted in _batches(forget):
        squares.add(inputs, lambda out, wanted=wanted: [output_gradient(objective, out, wanted)])  # type: ignore[misc]  # mypy cannot type a lambda's default
    return squares.totals


def curvature_scores(
    head: nn.Module, objective: Objective, retained: Rows, seed: int
) -> Mapping[str, Tensor]:
    """Diagonal of the Gauss-Newton matrix of the mean loss on retained rows.

    Args:
        head: In eval mode.
        objective: What it was trained on.
        retained: Features of retained rows.
        seed: Of the draws, where the diagonal is estimated.

    Returns:
        The diagonal by the head's parameter names.
    """
    if choose_estimator(head, objective) == "ggn":
        return ggn_diagonal(head, objective, retained).values
    return sketched_ggn_diagonal(head, objective, retained, seed=seed).values


def gain_scores(
    head: nn.Module, objective: Objective, forget: Lesson, curvature: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The decrement ``g^2 / (h + mean h)`` of each scalar.

    Args:
        head: In eval mode.
        objective: How outputs are read.
        forget: Deleted rows and their targets.
        curvature: ``h``, see :func:`curvature_scores`.

    Returns:
        Scores by the head's parameter names.
    """
    named = {n: p for n, p in head.named_parameters() if p.requires_grad}
    gradient = {n: torch.zeros_like(p) for n, p in named.items()}
    for inputs, wanted in _batches(forget):
        outputs = head(inputs)
        direction = output_gradient(objective, outputs.detach(), wanted) / len(forget)
        parts = torch.autograd.grad(
            outputs, list(named.values()), direction, allow_unused=True, materialize_grads=True
        )
        for name, part in zip(named, parts, strict=True):
            gradient[name] += part
    count = sum(h.numel() for h in curvature.values())
    mean = sum(float(h.double().clamp(min=0).sum()) for h in curvature.values()) / max(1, count)
    return decrement_scores(gradient, curvature, mean if mean > 0 else 1e-12)


def movement_scores(
    head: nn.Module, moved: Mapping[str, Tensor], features: Tensor
) -> dict[str, Tensor]:
    """How much each scalar's movement can have changed the outputs of its layer.

    ``|movement|`` times the root mean square of the input it multiplies, for the weights of linear
    layers; ``|movement|`` for all other parameters.

    Args:
        head: As it was, in eval mode.
        moved: New tensors by name; those left out did not move.
        features: (n, ...) inputs of the head.

    Returns:
        Scores by the head's parameter names.
    """
    strengths: dict[str, Tensor] = {}

    def listen(name: str) -> object:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            flat = inputs[0].reshape(-1, inputs[0].shape[-1])
            strengths[f"{name}.weight"] = flat.square().mean(0).sqrt()

        return hook

    linear = {n: m for n, m in head.named_modules() if isinstance(m, nn.Linear)}
    hooks = [m.register_forward_pre_hook(listen(n)) for n, m in linear.items()]  # type: ignore[arg-type]  # torch's own type of hooks is private
    try:
        with torch.no_grad():
            head(features)
    finally:
        for hook in hooks:
            hook.remove()
    scores = {}
    for name, p in head.named_parameters():
        if p.requires_grad:
            moves = (moved[name] - p.detach()).abs() if name in moved else torch.zeros_like(p)
            scores[name] = (moves * strengths.get(name, 1.0)).detach()
    return scores


def _batches(lesson: Lesson) -> Iterable[tuple[Tensor, Tensor]]:
    pairs = zip(lesson.features.split(_BATCH), lesson.answers.split(_BATCH), strict=True)
    return ((features, answers.exp()) for features, answers in pairs)
