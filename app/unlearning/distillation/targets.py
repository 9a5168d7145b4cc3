"""What the deleted rows should be answered: the reference's answers, calibrated on held-out rows.

A reference is right about which rows are hard, but its level is off in three ways, each mended by
one number that held-out rows determine: it is more or less confident than the network
(``temperature``, seen once the shift of the classes is undone), the features it reads remember the
deleted rows (``beyond``), and for the same reason deleted rows may look easier than unseen ones
(``lift``, the guard).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from app.unlearning.distillation.answers import evaluated, true_losses
from app.unlearning.verification.evaluation import Evaluated
from app.unlearning.verification.membership import match, membership_auc

LARGEST_LIFT = 6.0
LARGEST_SHIFT = 2.0
_TEMPERATURES = (0.2, 6.0)
_HALVINGS = 40
# Temperature and class shift are found in turns; later turns change the former by under a percent.
_ROUNDS = 6


def temperature_at(answers: Tensor, labels: Tensor, weights: Tensor, level: float) -> float:
    """The divisor of the logits at which the mean held-out loss is ``level``.

    The mean loss is convex in the inverse temperature, so there is a side on which answers are too
    confident: there the solution is sought. Where ``level`` is below the least loss, the
    temperature of least loss is returned; all within [0.2, 6].

    Args:
        answers: (n, C) log-probabilities.
        labels: (n,) classes.
        weights: (n,) float64, of positive sum.
        level: Mean loss wanted.

    Returns:
        The temperature.
    """

    def loss(temperature: float) -> float:
        losses = true_losses((answers.double() / temperature).log_softmax(1), labels)
        return float((losses.cpu() * weights).sum() / weights.sum())

    low, high = (1 / t for t in reversed(_TEMPERATURES))
    best = 1 / _least(lambda inverse: loss(1 / inverse), low, high)
    if loss(best) >= level:
        return best
    if loss(_TEMPERATURES[0]) <= level:
        return _TEMPERATURES[0]
    return _crossing(lambda t: loss(t) <= level, _TEMPERATURES[0], best)


def temperature_beside(answers: Tensor, network: Tensor, labels: Tensor, is_hard: Tensor) -> float:
    """The temperature at which a reference is as confident as the network it stands beside.

    Classes that lost many rows are meant to get harder, and those they are mistaken for easier, so
    the losses of neither show confidence. The shift is undone first: the logits of the hard classes
    rise until these are predicted as often as the network predicts them (priors adjusted as in
    Saerens, Latinne and Decaestecker 2002); then the mean loss of all held-out rows is brought to
    the network's. The two are repeated, since each moves the other a little.

    Args:
        answers: (n, C) log-probabilities of the reference for held-out rows.
        network: (n, C) the same of the network as it was.
        labels: (n,) classes.
        is_hard: (C,) classes that lost many rows.

    Returns:
        The temperature, in the range of :func:`temperature_at`.
    """
    weights = torch.ones(len(labels), dtype=torch.float64)
    level = float(true_losses(network.double(), labels).mean())
    hard = is_hard.to(answers.device)
    wanted = network.double().exp().mean(0)[hard].clamp(min=1e-12).log()
    offsets, temperature = answers.new_zeros(answers.shape[1], dtype=torch.float64), 1.0
    for _ in range(_ROUNDS if bool(hard.any()) else 1):
        shifted = answers.double() + offsets
        temperature = temperature_at(shifted, labels, weights, level)
        present = (shifted / temperature).softmax(1).mean(0)[hard].clamp(min=1e-12).log()
        offsets[hard] += temperature * (wanted - present)
    return temperature


@dataclass(frozen=True)
class Guard:
    """Rows never seen are about as hard as held-out rows of their mix of classes.

    Attributes:
        holdout: The reference on the held-out rows.
        weights: (n,) their weights, see :class:`ClassMix`.
        errors: Standard errors by which deleted rows may look easier.
    """

    holdout: Evaluated
    weights: Tensor
    errors: float

    def holds(self, answers: Tensor, labels: Tensor) -> bool:
        """Whether the membership test finds nothing in these answers for the deleted rows."""
        forget = evaluated(answers, labels)
        area = membership_auc(forget, self.holdout, match(forget, self.holdout))
        area_error, loss_error = self._standard_errors(len(labels))
        if area <= 0.5 - area_error:
            return True
        return area <= 0.5 + area_error and forget.loss >= self._mean() - loss_error

    def _mean(self) -> float:
        return float((self.holdout.losses * self.weights).sum() / self.weights.sum())

    def _standard_errors(self, rows: int) -> tuple[float, float]:
        """Of the area with equal distributions (Mann-Whitney), and of a difference of means."""
        others = float(self.weights.sum()) ** 2 / float(self.weights.square().sum())
        area = math.sqrt((rows + others + 1) / (12 * rows * others))
        spread = (self.holdout.losses - self._mean()).square() * self.weights
        variance = float(spread.sum() / self.weights.sum())
        return self.errors * area, self.errors * math.sqrt(variance / rows + variance / others)


def lift_until(holds: Callable[[Tensor], bool], answers: Tensor, labels: Tensor) -> float:
    """The least number by which every row's true-class logit must fall for a claim to hold.

    Args:
        holds: The claim, about (m, C) log-probabilities; once it holds it keeps holding as the
            true class loses.
        answers: (m, C) log-probabilities.
        labels: (m,) classes.

    Returns:
        A number in [0, ``LARGEST_LIFT``]; the largest where even that is not enough.
    """
    if holds(answers):
        return 0.0
    if not holds(lowered(answers, labels, LARGEST_LIFT)):
        return LARGEST_LIFT
    return _crossing(lambda d: holds(lowered(answers, labels, d)), 0.0, LARGEST_LIFT)


def lowered(answers: Tensor, labels: Tensor, lift: float) -> Tensor:
    """Answers with the true-class logits lowered, normalised again; (m, C)."""
    step = torch.zeros_like(answers).scatter_(1, labels[:, None], lift)
    return (answers - step).log_softmax(1)


def raised(answers: Tensor, classes: Tensor, shift: float) -> Tensor:
    """Answers with the logits of some classes raised, normalised again.

    Args:
        answers: (n, C) log-probabilities.
        classes: (C,) whether each class is raised.
        shift: Added to their logits.

    Returns:
        (n, C) log-probabilities.
    """
    return (answers + shift * classes.to(answers)).log_softmax(1)


def shift_until(holds: Callable[[float], bool]) -> float:
    """The least shift in [0, ``LARGEST_SHIFT``] at which a claim holds, the largest if none does.

    Args:
        holds: The claim; once it holds it keeps holding as the shift grows.

    Returns:
        The shift.
    """
    if holds(0.0):
        return 0.0
    return _crossing(holds, 0.0, LARGEST_SHIFT)


def stretched(answers: Tensor, origin: Tensor, factor: float) -> Tensor:
    """Go beyond the answers, away from where they started: ``softmax(q + factor (q - b))``.

    For a row whose true class lost more log-probability than any other, its loss rises with the
    factor.

    Args:
        answers: (m, C) log-probabilities q.
        origin: (m, C) log-probabilities b of the network as it was.
        factor: 0 leaves the answers as they are; -1 gives the origin.

    Returns:
        (m, C) log-probabilities.
    """
    return (answers + factor * (answers - origin)).log_softmax(1)


def _crossing(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Bisect for the least number at which a claim holds; it holds at ``high``."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
        if high - low < 1e-4:
            break
    return high


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Golden-section search for the minimum of a convex function."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > 1e-3:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2
