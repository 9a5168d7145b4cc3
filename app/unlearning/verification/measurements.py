"""What is measured of an update: before, after and, where there is one, beside a reference.

``observe`` runs one network over all sets of rows once; ``measure`` computes every measurement
from such observations, so that the same ``before`` and ``reference`` serve several results and
controls. A measurement that raises is kept with the name of its error and without a value: its
gate fails.

Losses and ``membership_auc`` have bootstrap intervals, accuracies Clopper-Pearson intervals. All
are intervals of ``after`` at 95 %; the mean loss of a single row has none. Those of ``change`` and
``distance`` are for the same rows seen by both networks.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from app.unlearning.errors import NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.rows import Rows
from app.unlearning.verification import membership
from app.unlearning.verification.bootstrap import resampled_means, stretched_interval
from app.unlearning.verification.evaluation import BATCH_SIZE, Evaluated, evaluate
from app.unlearning.verification.intervals import Interval, clopper_pearson, paired_difference


@dataclass(frozen=True)
class RowSets:
    """The rows to measure on; a set that is None or empty is not measured.

    Attributes:
        forget: All affected rows as they were trained on.
        retained: Retained rows, all or a uniform sample.
        holdout: Rows never trained on.
        deleted: Those of ``forget`` that are deleted, for ``membership_auc``; may be the same
            object as ``forget``, which is then evaluated once.
        corrected: Rows whose label was corrected, with their new labels.
    """

    forget: Rows | None = None
    retained: Rows | None = None
    holdout: Rows | None = None
    deleted: Rows | None = None
    corrected: Rows | None = None

    def present(self) -> dict[str, Rows]:
        """Return the sets that hold rows, by name."""
        named = {
            "forget": self.forget,
            "retain": self.retained,
            "holdout": self.holdout,
            "deleted": self.deleted,
            "corrected": self.corrected,
        }
        return {name: rows for name, rows in named.items() if rows is not None and len(rows)}


@dataclass(frozen=True)
class Failure:
    """A network could not be evaluated on a set of rows.

    Attributes:
        error: Name of what was raised; nothing of its text, which may hold data.
    """

    error: str


Observation = Mapping[str, Evaluated | Failure]
"""What one network does on each set of rows."""


@dataclass(frozen=True)
class Measurement:
    """One measured quantity.

    Attributes:
        name: As the HTTP contract calls it.
        samples: Rows it was measured on (forgotten rows for ``membership_auc``).
        before: Of the network as it was.
        after: Of the updated network; None if it could not be measured.
        reference: Of the reference, if there is one.
        interval: 95 % interval of ``after``.
        change: ``after - before``.
        change_interval: 95 % interval of it.
        distance: ``after - reference``.
        distance_interval: 95 % interval of it.
        error: Name of what was raised while measuring ``after``.
    """

    name: str
    samples: int
    before: float | None = None
    after: float | None = None
    reference: float | None = None
    interval: Interval | None = None
    change: float | None = None
    change_interval: Interval | None = None
    distance: float | None = None
    distance_interval: Interval | None = None
    error: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the measurement as the report shows it."""
        shown: dict[str, Any] = {
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "reference": self.reference,
            "interval": None if self.interval is None else self.interval.document(),
            "samples": self.samples,
        }
        return shown if self.error is None else {**shown, "error": self.error}


def observe(
    model: nn.Module,
    objective: Objective,
    sets: RowSets,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[float], None] | None = None,
) -> Observation:
    """Run a network over every set of rows, each once.

    Args:
        model: The network.
        objective: What it was trained on.
        sets: The rows.
        batch_size: Rows at a time.
        progress: Told the fraction of sets done; what it raises is not caught.

    Returns:
        Results by the set's name; a set on which the network raised has a ``Failure``.
    """
    seen: dict[int, Evaluated | Failure] = {}
    observed = {}
    present = sets.present()
    for done, (name, rows) in enumerate(present.items(), start=1):
        if id(rows) not in seen:
            seen[id(rows)] = _try_to_evaluate(model, objective, rows, batch_size)
        observed[name] = seen[id(rows)]
        if progress is not None:
            progress(done / len(present))
    return observed


def measure(
    before: Observation,
    after: Observation,
    reference: Observation | None = None,
    seed: int = 0,
) -> tuple[Measurement, ...]:
    """Compute every measurement that makes sense for the sets that were observed.

    Args:
        before: The network as it was.
        after: The updated network, or a control.
        reference: A network trained without the data.
        seed: Seed of the bootstrap.

    Returns:
        The measurements, losses and accuracies first.
    """
    networks = (before, after, reference or {})
    measurements = []
    for name in ("forget", "retain", "holdout"):
        if name in after:
            trio = _Trio(*(network.get(name) for network in networks))
            measurements.append(_guarded(f"{name}_loss", trio, lambda n, t: _loss(n, t, seed)))
            if trio.has_classes:
                measurements.append(_guarded(f"{name}_accuracy", trio, _accuracy))
    if "deleted" in after and "holdout" in after:
        left = _Trio(*(network.get("deleted") for network in networks))
        right = _Trio(*(network.get("holdout") for network in networks))
        measurements.append(
            _guarded("membership_auc", left, lambda n, t: _membership(n, t, right, seed))
        )
    if "corrected" in after:
        trio = _Trio(*(network.get("corrected") for network in networks))
        if trio.has_classes:
            measurements.append(_guarded("corrected_accuracy", trio, _accuracy))
    return tuple(measurements)


@dataclass(frozen=True)
class _Trio:
    """Three networks on one set of rows."""

    before: Evaluated | Failure | None
    after: Evaluated | Failure | None
    reference: Evaluated | Failure | None

    @property
    def has_classes(self) -> bool:
        """False only if a result says so: a failed one must not make a measurement vanish."""
        results = (self.before, self.after, self.reference)
        return not any(isinstance(r, Evaluated) and r.correct is None for r in results)

    def others(self) -> dict[str, Evaluated]:
        """Return the networks beside ``after`` that could be evaluated."""
        named = {"before": self.before, "reference": self.reference}
        return {name: r for name, r in named.items() if isinstance(r, Evaluated)}


def _try_to_evaluate(
    model: nn.Module, objective: Objective, rows: Rows, batch_size: int
) -> Evaluated | Failure:
    try:
        return evaluate(model, objective, rows, batch_size)
    except Exception as error:
        # Whatever it is, nothing may be published on rows that could not be measured.
        return Failure(type(error).__name__)


def _guarded(name: str, trio: _Trio, compute: Callable[[str, _Trio], Measurement]) -> Measurement:
    if isinstance(trio.after, Failure):
        return Measurement(name, 0, error=trio.after.error)
    try:
        return compute(name, trio)
    except Exception as error:
        return Measurement(name, 0, error=type(error).__name__)


def _result(evaluated: Evaluated | Failure | None) -> Evaluated:
    if isinstance(evaluated, Evaluated):
        return evaluated
    raise NotApplicable("the network could not be evaluated on these rows")


def _loss(name: str, trio: _Trio, seed: int) -> Measurement:
    after = _result(trio.after)
    others = trio.others()
    # Differences are taken row by row, so that equal networks differ by exactly nothing.
    differences = [after.losses - other.losses for other in others.values()]
    means = resampled_means(torch.stack([after.losses, *differences], 1), seed)
    rows = len(after)
    low, high = stretched_interval(after.loss, means[:, 0], rows)
    # No loss is negative; an interval without ends stays one.
    interval = Interval(max(0.0, low) if math.isfinite(high) else low, high)
    figures: dict[str, Any] = {"after": after.loss, "interval": interval}
    for column, (which, other) in enumerate(others.items(), start=1):
        difference = after.loss - other.loss
        interval = stretched_interval(difference, means[:, column], rows)
        figures |= _beside(which, other.loss, difference, interval)
    return Measurement(name, rows, **figures)


def _accuracy(name: str, trio: _Trio) -> Measurement:
    after = _result(trio.after)
    right, correct = _right(after)
    rows = len(after)
    figures: dict[str, Any] = {"after": right / rows, "interval": clopper_pearson(right, rows)}
    for which, other in trio.others().items():
        right_there, correct_there = _right(other)
        gained = int((correct & ~correct_there).sum())
        lost = int((correct_there & ~correct).sum())
        # A quotient of whole numbers, so that a drop of exactly the limit compares equal to it.
        difference = (right - right_there) / rows
        interval = paired_difference(gained, lost, rows)
        figures |= _beside(which, right_there / rows, difference, interval)
    return Measurement(name, rows, **figures)


def _right(evaluated: Evaluated) -> tuple[int, torch.Tensor]:
    if evaluated.correct is None:
        raise NotApplicable("the objective has no classes")
    return int(evaluated.correct.sum()), evaluated.correct


def _membership(name: str, left: _Trio, right: _Trio, seed: int) -> Measurement:
    forgotten, heldout = _result(left.after), _result(right.after)
    pairs = {"after": (forgotten, heldout)}
    strangers = right.others()
    for which, member in left.others().items():
        if which in strangers:
            pairs[which] = (member, strangers[which])
    matching = membership.match(forgotten, heldout)
    areas = {w: membership.membership_auc(*pair, matching) for w, pair in pairs.items()}
    resampled = membership.resampled_aucs(list(pairs.values()), matching, seed)
    after, rows = areas["after"], matching.rows
    interval = membership.area_interval(after, resampled[:, 0], rows)
    figures: dict[str, Any] = {"after": after, "interval": interval}
    for column, which in enumerate(pairs):
        if which != "after":
            difference = after - areas[which]
            interval = membership.area_difference_interval(
                difference, resampled[:, 0] - resampled[:, column], rows
            )
            figures |= _beside(which, areas[which], difference, interval)
    return Measurement(name, len(matching.forgotten), **figures)


def _beside(which: str, value: float, difference: float, interval: Interval) -> dict[str, Any]:
    """Name a figure of another network and the difference to it."""
    what = "change" if which == "before" else "distance"
    return {which: value, what: difference, f"{what}_interval": interval}
