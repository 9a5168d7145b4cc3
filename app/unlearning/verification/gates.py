"""Gates: limits a result must keep before it is published.

A gate compares the point estimate with its limit. Where the 95 % interval of the gate's quantity
reaches to both sides of the limit, the verdict is ``inconclusive``. A gate whose quantity was not
measured, for whatever reason, has failed.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from app.unlearning.verification.intervals import Interval
from app.unlearning.verification.measurements import Measurement

Verdict = Literal["passed", "failed", "inconclusive"]


class Quantity(NamedTuple):
    """What a gate looks at; the interval is None where there is none."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Gate:
    """One gate, judged.

    Attributes:
        name: Key of ``GATES``.
        limit: From the policy.
        value: What was measured; None if nothing was.
        verdict: ``passed``, ``failed`` or ``inconclusive``.
        interval: 95 % interval of ``value``.
    """

    name: str
    limit: float
    value: float | None
    verdict: Verdict
    interval: Interval | None = None

    def document(self) -> dict[str, Any]:
        """Return the gate as the report shows it."""
        return {
            "name": self.name,
            "limit": self.limit,
            "value": self.value,
            "verdict": self.verdict,
            "interval": None if self.interval is None else self.interval.document(),
        }


@dataclass(frozen=True)
class Judgement:
    """All gates of a result.

    Attributes:
        verdict: ``failed`` if any gate failed, else ``inconclusive`` if any is, else ``passed``.
        gates: One for each limit of the policy.
    """

    verdict: Verdict
    gates: tuple[Gate, ...]


class _Kind(NamedTuple):
    """How a gate reads its quantity, and on which side of the limit it passes."""

    is_upper: bool
    read: Callable[[Mapping[str, Measurement]], Quantity | None]


def judge(measurements: Iterable[Measurement], limits: Mapping[str, float]) -> Judgement:
    """Judge a result.

    Args:
        measurements: What was measured of it.
        limits: Limit by gate name; an unknown name is a gate that cannot be measured.

    Returns:
        The gates in the order of ``limits``, and the verdict over all.
    """
    named = {measurement.name: measurement for measurement in measurements}
    gates = tuple(_judge_one(name, limit, named) for name, limit in limits.items())
    verdicts = {gate.verdict for gate in gates}
    if "failed" in verdicts:
        return Judgement("failed", gates)
    return Judgement("inconclusive" if "inconclusive" in verdicts else "passed", gates)


def _judge_one(name: str, limit: float, named: Mapping[str, Measurement]) -> Gate:
    kind = GATES.get(name)
    quantity = None if kind is None else kind.read(named)
    if kind is None or quantity is None or not math.isfinite(quantity.value):
        return Gate(name, limit, None, "failed")
    value, interval = quantity
    if interval is not None and _reaches_both_sides(interval, limit, is_upper=kind.is_upper):
        return Gate(name, limit, value, "inconclusive", interval)
    passes = value <= limit if kind.is_upper else value >= limit
    return Gate(name, limit, value, "passed" if passes else "failed", interval)


def _reaches_both_sides(interval: Interval, limit: float, *, is_upper: bool) -> bool:
    # A value equal to the limit passes, so the limit belongs to the passing side.
    if is_upper:
        return interval.low <= limit < interval.high
    return interval.low < limit <= interval.high


def _drop(name: str) -> Callable[[Mapping[str, Measurement]], Quantity | None]:
    """Read how much a measurement fell."""

    def read(named: Mapping[str, Measurement]) -> Quantity | None:
        measurement = named.get(name)
        if measurement is None or measurement.change is None:
            return None
        interval = measurement.change_interval
        return Quantity(
            # Not -change, which would make a negative zero of no change.
            0.0 - measurement.change,
            None if interval is None else Interval(0.0 - interval.high, 0.0 - interval.low),
        )

    return read


def _value(name: str) -> Callable[[Mapping[str, Measurement]], Quantity | None]:
    """Read a measurement itself."""

    def read(named: Mapping[str, Measurement]) -> Quantity | None:
        measurement = named.get(name)
        if measurement is None or measurement.after is None:
            return None
        return Quantity(measurement.after, measurement.interval)

    return read


def _distance(name: str) -> Callable[[Mapping[str, Measurement]], Quantity | None]:
    """Read how far a measurement is from the reference's, either way."""

    def read(named: Mapping[str, Measurement]) -> Quantity | None:
        measurement = named.get(name)
        if measurement is None or measurement.distance is None:
            return None
        interval = measurement.distance_interval
        return Quantity(
            abs(measurement.distance), None if interval is None else _absolute(interval)
        )

    return read


def forget_gap_closed(named: Mapping[str, Measurement]) -> Quantity | None:
    """Read which share of the way to the reference the forgotten rows have gone.

    ``1 - |after - reference| / |before - reference|`` of ``forget_accuracy``, or of
    ``forget_loss`` where there are no classes. 1: as the reference; 0: as before; negative:
    further away. The interval carries that of ``after``; before and reference are taken as they
    are. Where before equals the reference there is nothing to close: 1 if it stayed so, and not
    measurable if it did not.

    Args:
        named: Measurements by name.

    Returns:
        The share, or None.
    """
    measurement = named.get("forget_accuracy", named.get("forget_loss"))
    if measurement is None or measurement.before is None or measurement.reference is None:
        return None
    if measurement.distance is None:
        return None
    gap = abs(measurement.before - measurement.reference)
    if gap == 0.0:
        return Quantity(1.0, None) if measurement.distance == 0.0 else None
    interval = measurement.interval
    if interval is not None:
        low, high = (end - measurement.reference for end in interval)
        away = _absolute(Interval(low, high))
        interval = Interval(1 - away.high / gap, 1 - away.low / gap)
    closed = 1 - abs(measurement.distance) / gap
    if interval is not None and math.isinf(interval.low):
        # Of a single loss: there is no telling, and a policy has no limit below -1.
        interval = Interval(min(-1.0, closed), interval.high)
    return Quantity(closed, interval)


def _absolute(interval: Interval) -> Interval:
    """Return the interval of the absolute value of what lies in an interval."""
    ends = sorted((abs(interval.low), abs(interval.high)))
    return Interval(0.0 if interval.low <= 0.0 <= interval.high else ends[0], ends[1])


GATES: Final[Mapping[str, _Kind]] = {
    "holdout_accuracy_drop": _Kind(is_upper=True, read=_drop("holdout_accuracy")),
    "retain_accuracy_drop": _Kind(is_upper=True, read=_drop("retain_accuracy")),
    "membership_auc": _Kind(is_upper=True, read=_value("membership_auc")),
    "membership_auc_to_reference": _Kind(is_upper=True, read=_distance("membership_auc")),
    "corrected_accuracy": _Kind(is_upper=False, read=_value("corrected_accuracy")),
    "forget_gap_closed": _Kind(is_upper=False, read=forget_gap_closed),
}
"""Every gate a policy may set."""
