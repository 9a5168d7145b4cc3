"""What the deletion study measures, and when a run passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor, nn

from app.unlearning.distillation.head_split import split_head
from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows
from app.unlearning.verification.evaluation import Evaluated, evaluate
from app.unlearning.verification.membership import match, membership_auc

CLOSED = (0.7, 1.3)
AUC_TOLERANCE, ACCURACY_TOLERANCE = 0.03, 0.01
MOST_PARAMETERS, MOST_TIME = 0.10, 0.10


@dataclass(frozen=True)
class Measures:
    """Of one network: forgotten rows against rows never seen."""

    accuracy: float
    loss: float
    auc: float
    held_out: float


@dataclass(frozen=True)
class Gap:
    """From an untouched network to the mean of the retrained ones.

    Attributes:
        before: Untouched.
        after: Mean of the retrained.
        noise: Largest differences between two retrained networks.
    """

    before: Measures
    after: Measures
    noise: Measures

    def closed(self, new: Measures) -> tuple[float, float]:
        """Shares of the gaps in forget accuracy and loss that are closed."""
        return (
            _share(self.before.accuracy, new.accuracy, self.after.accuracy),
            _share(self.before.loss, new.loss, self.after.loss),
        )

    @property
    def is_conclusive(self) -> bool:
        """Whether retrainings differ by less than the gap itself."""
        return (
            abs(self.before.accuracy - self.after.accuracy) > self.noise.accuracy
            and abs(self.before.loss - self.after.loss) > self.noise.loss
        )

    def verdict(self, new: Measures, changed: float, time: float) -> str:
        """``pass``, ``miss``, or ``inconclusive`` where retrainings differ by the gap itself."""
        if not self.is_conclusive:
            return "inconclusive"
        return "miss" if self.missed(new, changed, time) else "pass"

    def missed(self, new: Measures, changed: float, time: float) -> tuple[str, ...]:
        """Name what a run misses; what it does is judged by the first four alone."""
        best = max(self.before.held_out, self.after.held_out)
        accuracy, loss = (CLOSED[0] <= share <= CLOSED[1] for share in self.closed(new))
        met = {
            "accuracy": accuracy,
            "loss": loss,
            "AUC": abs(new.auc - self.after.auc) <= AUC_TOLERANCE,
            "held-out": new.held_out >= best - ACCURACY_TOLERANCE,
            "share": changed <= MOST_PARAMETERS,
            "time": time <= MOST_TIME,
        }
        return tuple(name for name, is_met in met.items() if not is_met)


def measure(
    model: nn.Module, objective: Objective, forget: TensorRows, reported: TensorRows
) -> Measures:
    """Measure one network."""
    gone, seen = (evaluate(model, objective, rows) for rows in (forget, reported))
    area = membership_auc(gone, seen, match(gone, seen))
    return Measures(gone.accuracy or 0.0, gone.loss, area, seen.accuracy or 0.0)


def average(many: Sequence[Measures]) -> Measures:
    """The mean of each measure."""
    return _each(many, mean)


def spread(many: Sequence[Measures]) -> Measures:
    """The largest difference of each measure."""
    return _each(many, lambda values: max(values) - min(values))


def probe_auc(model: nn.Module, forget: TensorRows, reported: TensorRows) -> float:
    """How well a ridge probe on the body's features finds forgotten rows among unseen ones.

    Fitted on half of both, tested on the other half, and the other way round; unseen rows are
    drawn to the forgotten rows' mix of classes. 0.5: not at all.
    """
    body = split_head(model).body
    others = _alike(forget.targets, reported.targets)
    with torch.no_grad():
        sides = [
            torch.cat([body(part) for part in rows.split(500)]).flatten(1).double()
            for rows in (forget.inputs, reported.inputs[others])
        ]
    areas = []
    for fold in (0, 1):
        fit = [side[fold::2] for side in sides]
        test = [side[1 - fold :: 2] for side in sides]
        centre = torch.cat(fit).mean(0)
        X = torch.cat(fit) - centre
        y = torch.cat([
            torch.full((len(side),), s).double() for side, s in zip(fit, (1, -1), strict=True)
        ])
        # The dual form: far fewer rows than features.
        kernel = X @ X.T
        kernel += kernel.diagonal().mean() * torch.eye(len(X), dtype=X.dtype)
        direction = X.T @ torch.linalg.solve(kernel, y)
        gone, seen = (Evaluated(-(side - centre) @ direction) for side in test)
        areas.append(membership_auc(gone, seen, match(gone, seen)))
    return mean(areas)


def _alike(wanted: Tensor, labels: Tensor) -> Tensor:
    """Up to twice as many positions as there are wanted labels, in the same mix."""
    parts = []
    for label in wanted.unique():
        count = 2 * int((wanted == label).sum())
        parts.append((labels == label).nonzero()[:count, 0])
    return torch.cat(parts)


def _share(before: float, new: float, after: float) -> float:
    return (before - new) / (before - after) if before != after else float("nan")


def _each(many: Sequence[Measures], reduce: object) -> Measures:
    columns = zip(*((m.accuracy, m.loss, m.auc, m.held_out) for m in many), strict=True)
    return Measures(*(reduce(list(column)) for column in columns))  # type: ignore[operator]  # mean or spread
