"""What the correction study measures, how sure it is, and when a method passes.

Everything is compared with retrained networks, of which there are several: their mean is where an
update should land, the largest difference between two of them is the noise beside every distance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

import torch
from torch import Tensor, nn

from app.unlearning.rows import TensorRows
from benchmarks.quality.correction_cases import Case
from benchmarks.quality.resampling import Interval, draws, interval, weighted

LEAST_CLOSED = 0.95
MOST_PARAMETERS, MOST_TIME = 0.02, 0.05
_ROWS = 500


@dataclass(frozen=True)
class Seen:
    """One network on rows never trained on, and on the rows whose labels were wrong.

    Attributes:
        answers: (n, C) probabilities for the reported rows.
        right: (n,) float64, 1 where the first choice is the right label.
        corrected: Accuracy on the corrected rows, by their right labels.
    """

    answers: Tensor
    right: Tensor
    corrected: float


@dataclass(frozen=True)
class Figures:
    """Means over networks.

    Attributes:
        accuracy: On the reported rows.
        recall: Mean recall of the watched classes there.
        corrected: Accuracy on the corrected rows.
        distance: Mean total variation to the retrained networks on the reported rows.
    """

    accuracy: float
    recall: float
    corrected: float
    distance: float


def see(model: nn.Module, case: Case) -> Seen:
    """Run one network over the rows that are reported on and those that were corrected."""
    reported, corrected = case.data.reported, case.corrected
    answers = _answers(model, reported)
    right = (answers.argmax(1) == reported.targets).double()
    choices = _answers(model, corrected).argmax(1)
    return Seen(answers, right, float((choices == corrected.targets).double().mean()))


def total_variation(left: Seen, right: Seen) -> float:
    """Half the absolute difference of two networks' answers, mean over the reported rows."""
    return float((left.answers - right.answers).abs().sum(1).mean()) / 2


class Yardstick:
    """The retrained networks, and how others compare.

    Attributes:
        retrained: Figures of the retrained networks; their distance is that between two of them.
        noise: The largest difference of two retrained networks in each figure; for the distance,
            the distance itself.
        before: Figures of the networks with wrong labels.
    """

    def __init__(self, case: Case, retrained: Sequence[Seen], originals: Sequence[Seen]) -> None:
        """Take in the networks.

        Args:
            case: Says which rows and classes count.
            retrained: Trained on right labels; at least two.
            originals: Trained on wrong ones.
        """
        self._case, self._retrained, self._originals = case, retrained, originals
        apart = mean(total_variation(a, b) for a, b in combinations(retrained, 2))
        own = [self._figures(one, apart) for one in retrained]
        self.retrained = _mean(own)
        self.noise = Figures(
            _spread([f.accuracy for f in own]),
            _spread([f.recall for f in own]),
            _spread([f.corrected for f in own]),
            apart,
        )
        self.before = self.figures(originals)

    def figures(self, models: Sequence[Seen]) -> Figures:
        """Means over networks, one for each original."""
        return _mean([
            self._figures(one, mean(total_variation(one, other) for other in self._retrained))
            for one in models
        ])

    def closed(self, models: Sequence[Seen]) -> tuple[Interval, Interval]:
        """Shares of the gaps in accuracy and in recall that are closed.

        ``(after - before) / (retrained - before)`` of the means. The intervals are those of a
        bootstrap over rows, originals (with what became of them) and retrained networks.

        Args:
            models: What became of each original, in their order.

        Returns:
            For accuracy and for recall.
        """
        accuracy, recall = self._shares(models)
        return interval(accuracy), interval(recall)

    def ahead(self, models: Sequence[Seen], others: Sequence[Seen]) -> tuple[Interval, Interval]:
        """How much more of the gaps in accuracy and in recall one method closes than another.

        Both are resampled together.

        Args:
            models: What the one made of each original.
            others: What the other made of them.

        Returns:
            Differences of the shares.
        """
        pairs = zip(self._shares(models), self._shares(others), strict=True)
        accuracy, recall = (interval(one - other) for one, other in pairs)
        return accuracy, recall

    def _shares(self, models: Sequence[Seen]) -> tuple[Tensor, Tensor]:
        """Shares closed for every draw, (1 + RESAMPLES,) each; the first draw is no draw."""
        draw = torch.Generator().manual_seed(0)
        counts = draws(len(self._case.data.reported), draw)
        pairs, others = draws(len(models), draw), draws(len(self._retrained), draw)
        before, after, goal = (
            self._chosen(counts, seen) for seen in (self._originals, models, self._retrained)
        )
        accuracy, recall = (
            (weighted(new, pairs) - weighted(old, pairs))
            / (weighted(wanted, others) - weighted(old, pairs))
            for old, new, wanted in zip(before, after, goal, strict=True)
        )
        return accuracy, recall

    def near(self, models: Sequence[Seen]) -> float:
        """How much of the distance in excess of that between two retrained networks is gone."""
        floor, before = self.noise.distance, self.before.distance
        after = self.figures(models).distance
        return (before - after) / (before - floor) if before > floor else float("nan")

    def verdict(self, models: Sequence[Seen], changed: float, time: float) -> str:
        """``pass``, what is missed, or ``inconclusive``.

        Accuracy and recall pass where at least 0.95 of what was lost is back; a recall that is
        above that of the retrained networks by more than they differ is not theirs, and misses. A
        figure of which two retrained networks differ by as much as was lost tells nothing; with
        either of them there is no pass.

        Args:
            models: What became of each original.
            changed: Share of the parameters.
            time: Share of a retraining.

        Returns:
            A word or a few.
        """
        missed, unclear = [], []
        shares = self.closed(models)
        for name, found in zip(("accuracy", "recall"), shares, strict=True):
            gap = abs(getattr(self.retrained, name) - getattr(self.before, name))
            if gap <= getattr(self.noise, name):
                unclear.append(name)
            elif not found.share >= LEAST_CLOSED:
                missed.append(name)
        if self.figures(models).recall > self.retrained.recall + self.noise.recall:
            missed.append("recall too high")
        if changed > MOST_PARAMETERS:
            missed.append("share")
        if time > MOST_TIME:
            missed.append("time")
        if missed:
            return f"misses {', '.join(missed)}"
        return f"inconclusive: {', '.join(unclear)}" if unclear else "pass"

    def _figures(self, seen: Seen, distance: float) -> Figures:
        one = torch.ones(1, len(seen.right), dtype=torch.float64)
        accuracy, recall = (float(x) for x in self._rates(one, seen))
        return Figures(accuracy, recall, seen.corrected, distance)

    def _chosen(self, counts: Tensor, models: Sequence[Seen]) -> tuple[Tensor, Tensor]:
        """Accuracy and recall of each network on resampled rows, (draws, networks)."""
        rates = [self._rates(counts, seen) for seen in models]
        return torch.stack([a for a, _ in rates], 1), torch.stack([r for _, r in rates], 1)

    def _rates(self, counts: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
        """Accuracy and recall where row i counts ``counts[b, i]`` times, (b,) each."""
        labels = self._case.data.reported.targets
        member = torch.stack([labels == label for label in self._case.watched], 1).double()
        recalls = counts @ (member * seen.right[:, None]) / (counts @ member)
        return counts @ seen.right / counts.sum(1), recalls.mean(1)


def _answers(model: nn.Module, rows: TensorRows) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part.inputs).softmax(1) for part in rows.batches(_ROWS)])


def _mean(many: Sequence[Figures]) -> Figures:
    return Figures(
        mean(f.accuracy for f in many),
        mean(f.recall for f in many),
        mean(f.corrected for f in many),
        mean(f.distance for f in many),
    )


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)
