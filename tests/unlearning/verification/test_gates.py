"""Gates compare point estimates with limits, and say when the rows are too few to tell."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.unlearning.verification import GATES, Interval, Measurement, judge
from app.unlearning.verification.gates import forget_gap_closed


def auc(value: float, low: float, high: float) -> Measurement:
    return Measurement("membership_auc", 9, after=value, interval=Interval(low, high))


def corrected(value: float, low: float, high: float) -> Measurement:
    return Measurement("corrected_accuracy", 9, after=value, interval=Interval(low, high))


def holdout(before: float, after: float, low: float, high: float) -> Measurement:
    return Measurement(
        "holdout_accuracy", 9, before=before, after=after, interval=Interval(0, 1),
        change=after - before, change_interval=Interval(low, high),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("measurement", "gate", "limit", "verdict"),
    [
        # Upper limits: the limit itself passes.
        (auc(0.50, 0.45, 0.55), "membership_auc", 0.60, "passed"),
        (auc(0.50, 0.45, 0.60), "membership_auc", 0.60, "passed"),
        (auc(0.58, 0.50, 0.66), "membership_auc", 0.60, "inconclusive"),
        (auc(0.62, 0.58, 0.66), "membership_auc", 0.60, "inconclusive"),
        (auc(0.62, 0.60, 0.66), "membership_auc", 0.60, "inconclusive"),
        (auc(0.70, 0.65, 0.75), "membership_auc", 0.60, "failed"),
        (auc(0.60, 0.60, 0.60), "membership_auc", 0.60, "passed"),
        # Lower limits.
        (corrected(0.95, 0.92, 0.97), "corrected_accuracy", 0.90, "passed"),
        (corrected(0.95, 0.90, 0.97), "corrected_accuracy", 0.90, "passed"),
        (corrected(0.95, 0.85, 0.97), "corrected_accuracy", 0.90, "inconclusive"),
        (corrected(0.80, 0.70, 0.90), "corrected_accuracy", 0.90, "inconclusive"),
        (corrected(0.80, 0.70, 0.89), "corrected_accuracy", 0.90, "failed"),
        # Drops look at the change, not at the wide interval of the accuracy itself.
        (holdout(0.90, 0.91, -0.01, 0.02), "holdout_accuracy_drop", 0.02, "passed"),
        (holdout(0.90, 0.89, -0.03, 0.00), "holdout_accuracy_drop", 0.02, "inconclusive"),
        (holdout(0.90, 0.80, -0.15, -0.05), "holdout_accuracy_drop", 0.02, "failed"),
        (holdout(0.90, 0.95, 0.02, 0.09), "holdout_accuracy_drop", -0.01, "passed"),
    ],
)
def test_verdicts(measurement: Measurement, gate: str, limit: float, verdict: str) -> None:
    judgement = judge([measurement], {gate: limit})
    assert (judgement.gates[0].verdict, judgement.verdict) == (verdict, verdict)


def test_a_drop_of_exactly_the_limit_passes() -> None:
    fallen = Measurement("holdout_accuracy", 500, before=0.9, after=0.88, change=-10 / 500)
    assert judge([fallen], {"holdout_accuracy_drop": 0.02}).verdict == "passed"


def test_no_drop_is_a_plain_zero() -> None:
    gate = judge([holdout(0.9, 0.9, 0.0, 0.1)], {"holdout_accuracy_drop": 0.02}).gates[0]
    assert str(gate.value) == "0.0"
    assert str(gate.document()["interval"]) == "[-0.1, 0.0]"


def test_the_value_of_a_drop_is_positive_when_accuracy_falls() -> None:
    gate = judge([holdout(0.90, 0.80, -0.15, -0.05)], {"holdout_accuracy_drop": 0.02}).gates[0]
    assert gate.value == pytest.approx(0.10)
    assert gate.interval == (0.05, 0.15)
    assert gate.document() == {
        "name": "holdout_accuracy_drop",
        "limit": 0.02,
        "value": gate.value,
        "verdict": "failed",
        "interval": [0.05, 0.15],
    }


@pytest.mark.parametrize(
    ("distance", "interval", "verdict"),
    [
        (-0.02, (-0.04, 0.01), "passed"),
        (-0.02, (-0.06, 0.01), "inconclusive"),
        (0.08, (0.06, 0.10), "failed"),
        (-0.08, (-0.10, -0.06), "failed"),
    ],
)
def test_distance_to_the_reference_counts_either_way(
    distance: float, interval: tuple[float, float], verdict: str
) -> None:
    measurement = Measurement(
        "membership_auc", 9, after=0.5 + distance, reference=0.5,
        distance=distance, distance_interval=Interval(*interval),
    )  # fmt: skip
    gate = judge([measurement], {"membership_auc_to_reference": 0.05}).gates[0]
    assert gate.verdict == verdict
    assert gate.value == pytest.approx(abs(distance))


def gap(before: float, after: float, reference: float, low: float, high: float) -> Measurement:
    return Measurement(
        "forget_accuracy", 9, before=before, after=after, reference=reference,
        interval=Interval(low, high), distance=after - reference,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("measurement", "value", "interval"),
    [
        (gap(1.0, 0.9, 0.8, 0.85, 0.95), 0.5, (0.25, 0.75)),
        (gap(1.0, 0.8, 0.8, 0.75, 0.90), 1.0, (0.5, 1.0)),
        (gap(1.0, 0.7, 0.8, 0.60, 0.80), 0.5, (0.0, 1.0)),
        (gap(1.0, 0.4, 0.8, 0.40, 0.40), -1.0, (-1.0, -1.0)),
        (gap(0.2, 0.5, 0.7, 0.45, 0.55), 0.6, (0.5, 0.7)),
    ],
)
def test_the_share_of_the_gap_that_is_closed(
    measurement: Measurement, value: float, interval: tuple[float, float]
) -> None:
    closed = forget_gap_closed({"forget_accuracy": measurement})
    assert closed is not None
    assert closed.value == pytest.approx(value)
    assert closed.interval == pytest.approx(interval)


def test_without_a_gap_only_staying_there_is_success() -> None:
    stayed = forget_gap_closed({"forget_accuracy": gap(0.8, 0.8, 0.8, 0.7, 0.9)})
    assert stayed is not None
    assert stayed.value == 1.0
    assert forget_gap_closed({"forget_accuracy": gap(0.8, 0.7, 0.8, 0.6, 0.8)}) is None


def test_a_single_loss_does_not_tell_how_much_of_a_gap_is_closed() -> None:
    loss = Measurement(
        "forget_loss", 1, before=0.1, after=0.8, reference=0.9, distance=-0.1,
        interval=Interval(-math.inf, math.inf),
    )  # fmt: skip
    gate = judge([loss], {"forget_gap_closed": 0.5}).gates[0]
    assert gate.value == pytest.approx(0.875)
    assert gate.verdict == "inconclusive"
    assert gate.document()["interval"] == [-1.0, 1.0]
    assert loss.document()["interval"] is None


def test_without_classes_the_gap_is_that_of_the_loss() -> None:
    loss = Measurement("forget_loss", 9, before=0.1, after=0.5, reference=0.9, distance=-0.4)
    closed = forget_gap_closed({"forget_loss": loss})
    assert closed is not None
    assert closed.value == pytest.approx(0.5)


@pytest.mark.parametrize("gate", [*GATES, "no_such_gate"])
@pytest.mark.parametrize(
    "measurements",
    [
        [],
        [
            Measurement(name, 0, error="NonFinite")
            for name in ("holdout_accuracy", "retain_accuracy", "membership_auc",
                         "corrected_accuracy", "forget_accuracy", "forget_loss")
        ],
    ],
)  # fmt: skip
def test_a_gate_that_cannot_be_measured_fails(gate: str, measurements: list[Measurement]) -> None:
    judgement = judge(measurements, {gate: 1e9 if gate not in GATES else 0.5})
    assert judgement.verdict == "failed"
    assert judgement.gates[0].value is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_fails(value: float) -> None:
    broken = Measurement("membership_auc", 9, after=value)
    assert judge([broken], {"membership_auc": 1.0}).verdict == "failed"


@given(st.lists(st.sampled_from(["passed", "failed", "inconclusive"]), max_size=3))
def test_one_failed_gate_fails_all_and_one_open_gate_leaves_all_open(wanted: list[str]) -> None:
    ends = {"passed": (0.1, 0.1), "failed": (0.9, 0.9), "inconclusive": (0.1, 0.9)}
    intervals = [Interval(*ends[verdict]) for verdict in wanted]
    gates = ["membership_auc", "corrected_accuracy", "forget_gap_closed"][: len(wanted)]
    measurements = []
    if len(wanted) > 0:
        measurements.append(auc(intervals[0].low, *intervals[0]))
    for name, interval in zip(
        ("corrected_accuracy", "forget_accuracy"), intervals[1:], strict=False
    ):
        # Lower limits: mirrored, so that the same words mean the same verdicts.
        low, high = 1 - interval.high, 1 - interval.low
        measurements.append(
            corrected(high, low, high)
            if name == "corrected_accuracy"
            else gap(1.0, 1 - high, 0.0, 1 - high, 1 - low)
        )

    judged = judge(measurements, dict.fromkeys(gates, 0.5))

    assert [gate.verdict for gate in judged.gates] == wanted
    worst = ["failed", "inconclusive", "passed"]
    assert judged.verdict == min(wanted, key=worst.index, default="passed")
