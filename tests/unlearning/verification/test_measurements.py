"""Measurements compare networks row by row, and never hide that one could not be measured."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows
from app.unlearning.verification import Measurement, RowSets, judge, measure, observe
from app.unlearning.verification.intervals import clopper_pearson, paired_difference

CLASSES = Objective("cross_entropy")


class Shift(nn.Module):
    """Adds to the first output; counts its rows."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift
        self.rows_seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows_seen += len(x)
        return x + torch.tensor([self.shift, 0.0])


def rows(count: int, seed: int) -> TensorRows:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 2, generator=generator)
    return TensorRows(inputs, torch.randint(2, (count,), generator=generator))


def named(measurements: tuple[Measurement, ...]) -> dict[str, Measurement]:
    assert len({m.name for m in measurements}) == len(measurements)
    return {m.name: m for m in measurements}


def deletion_sets() -> RowSets:
    forget = rows(12, 0)
    return RowSets(forget=forget, deleted=forget, retained=rows(50, 1), holdout=rows(40, 2))


def test_a_deletion_has_the_measurements_of_the_contract() -> None:
    sets = deletion_sets()
    before, after = (observe(Shift(s), CLASSES, sets) for s in (0.0, 1.0))
    found = named(measure(before, after))
    assert list(found) == [
        "forget_loss", "forget_accuracy", "retain_loss", "retain_accuracy",
        "holdout_loss", "holdout_accuracy", "membership_auc",
    ]  # fmt: skip
    assert [m.samples for m in found.values()] == [12, 12, 50, 50, 40, 40, 12]
    assert all(m.reference is None and m.distance is None for m in found.values())


def test_a_label_correction_has_corrected_accuracy_and_no_membership() -> None:
    corrected = TensorRows(
        torch.tensor([[0.0, 0.5], [0.0, 2.0], [1.0, 0.0]]), torch.tensor([0, 0, 0])
    )
    sets = RowSets(forget=rows(3, 0), corrected=corrected, holdout=rows(9, 1))
    before, after = (observe(Shift(s), CLASSES, sets) for s in (0.0, 1.0))
    found = named(measure(before, after))
    assert "membership_auc" not in found
    assert "retain_loss" not in found
    share = found["corrected_accuracy"]
    assert (share.before, share.after, share.samples) == (1 / 3, 2 / 3, 3)
    assert share.interval == clopper_pearson(2, 3)


def test_changes_are_counted_on_the_same_rows() -> None:
    sets = deletion_sets()
    old, new = Shift(0.0), Shift(1.5)
    measurement = named(measure(observe(old, CLASSES, sets), observe(new, CLASSES, sets)))[
        "holdout_accuracy"
    ]
    holdout = sets.holdout
    assert isinstance(holdout, TensorRows)
    was = old(holdout.inputs).argmax(1) == holdout.targets
    now = new(holdout.inputs).argmax(1) == holdout.targets
    gained, lost = int((now & ~was).sum()), int((was & ~now).sum())
    assert gained > 0
    assert lost > 0
    assert measurement.change == (gained - lost) / 40
    assert measurement.change_interval == paired_difference(gained, lost, 40)
    assert measurement.before == int(was.sum()) / 40
    assert measurement.interval == clopper_pearson(int(now.sum()), 40)


def test_a_reference_is_set_beside_the_result() -> None:
    sets = deletion_sets()
    before, after, reference = (observe(Shift(s), CLASSES, sets) for s in (0.0, 1.0, 0.5))
    for measurement in measure(before, after, reference):
        assert measurement.after is not None
        assert measurement.before is not None
        assert measurement.reference is not None
        assert measurement.change == pytest.approx(measurement.after - measurement.before)
        assert measurement.distance == pytest.approx(measurement.after - measurement.reference)
        figures = [
            (measurement.after, measurement.interval),
            (measurement.change, measurement.change_interval),
            (measurement.distance, measurement.distance_interval),
        ]
        for value, interval in figures:
            assert value is not None
            assert interval is not None
            assert interval.low <= value <= interval.high


def test_a_network_beside_itself_has_not_changed_at_all() -> None:
    observed = observe(Shift(0.3), CLASSES, deletion_sets())
    for measurement in measure(observed, observed, observed):
        assert measurement.before == measurement.after == measurement.reference
        assert measurement.change == measurement.distance == 0.0
        if not measurement.name.endswith("accuracy"):
            assert measurement.change_interval == (0.0, 0.0)


def test_each_network_runs_once_over_each_row() -> None:
    model = Shift(0.0)
    fractions: list[float] = []
    observe(model, CLASSES, deletion_sets(), progress=fractions.append)
    assert model.rows_seen == 12 + 50 + 40
    assert fractions == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("count", [1, 2])
def test_of_a_row_or_two_hardly_anything_is_known(count: int) -> None:
    forget = rows(count, 0)
    sets = RowSets(forget=forget, deleted=forget, holdout=rows(40, 2))
    before, after = (observe(Shift(s), CLASSES, sets) for s in (0.0, 1.0))
    found = named(measure(before, after, before))
    loss, auc = found["forget_loss"], found["membership_auc"]
    assert (loss.document()["interval"] is None) == (count == 1)
    assert auc.interval is not None
    assert auc.interval.high - auc.interval.low > 0.8
    if count == 2:
        assert loss.interval is not None
        assert loss.after is not None
        assert 0.0 == loss.interval.low < 3 * loss.after < loss.interval.high
    judged = judge(found.values(), {"membership_auc": 0.6, "membership_auc_to_reference": 0.05})
    assert judged.verdict == "inconclusive"


def test_the_seed_decides_the_intervals() -> None:
    before, after = (observe(Shift(s), CLASSES, deletion_sets()) for s in (0.0, 1.0))
    assert measure(before, after, seed=1) == measure(before, after, seed=1)
    first, second = (named(measure(before, after, seed=s))["forget_loss"] for s in (1, 2))
    assert first.after == second.after
    assert first.interval != second.interval


def test_a_regression_is_measured_by_its_losses() -> None:
    values = TensorRows(torch.randn(20, 2), torch.randn(20, 2))
    sets = RowSets(
        forget=values, deleted=values, holdout=TensorRows(torch.randn(9, 2), torch.randn(9, 2))
    )
    observed = observe(Shift(0.0), Objective("mean_squared_error"), sets)
    assert list(named(measure(observed, observed))) == [
        "forget_loss", "holdout_loss", "membership_auc",
    ]  # fmt: skip


def test_what_cannot_be_measured_stays_in_the_report_without_a_value() -> None:
    sets = deletion_sets()
    before, after = (observe(Shift(s), CLASSES, sets) for s in (0.0, float("nan")))
    found = measure(before, after)
    assert len(found) == 7
    for measurement in found:
        assert measurement.after is None
        assert measurement.change is None
        assert measurement.error == "NonFinite"
        assert measurement.document()["error"] == "NonFinite"


def test_a_failure_of_the_network_before_leaves_no_change_to_judge() -> None:
    sets = deletion_sets()
    before, after = (observe(Shift(s), CLASSES, sets) for s in (float("nan"), 0.0))
    for measurement in measure(before, after):
        assert measurement.after is not None
        assert measurement.before is None
        assert measurement.change is None


def test_any_exception_of_a_network_is_a_failed_measurement() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError(f"row {x[0]}")

    sets = RowSets(holdout=rows(5, 0))
    observed = observe(Broken(), CLASSES, sets)
    found = named(measure(observed, observed))
    assert found["holdout_accuracy"].error == "KeyError"


def test_what_progress_raises_is_not_swallowed() -> None:
    def cancel(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        observe(Shift(0.0), CLASSES, deletion_sets(), progress=cancel)


def test_no_shared_label_leaves_membership_unmeasured() -> None:
    zeros, ones = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    sets = RowSets(
        deleted=TensorRows(torch.randn(4, 2), zeros), holdout=TensorRows(torch.randn(4, 2), ones)
    )
    observed = observe(Shift(0.0), CLASSES, sets)
    measurement = named(measure(observed, observed))["membership_auc"]
    assert (measurement.after, measurement.error) == (None, "NotApplicable")


def test_empty_sets_are_not_measured() -> None:
    none = TensorRows(torch.empty(0, 2), torch.empty(0, dtype=torch.int64))
    observed = observe(Shift(0.0), CLASSES, RowSets(forget=none, holdout=rows(5, 0)))
    assert list(named(measure(observed, observed))) == ["holdout_loss", "holdout_accuracy"]


def test_a_document_is_what_the_contract_shows() -> None:
    observed = observe(Shift(0.0), CLASSES, RowSets(holdout=rows(5, 0)))
    document: dict[str, Any] = named(measure(observed, observed))["holdout_accuracy"].document()
    assert list(document) == ["name", "before", "after", "reference", "interval", "samples"]
    assert isinstance(document["interval"], list)
