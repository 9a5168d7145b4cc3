"""Controls of the deletion study on small data, and the intervals and pictures beside them."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from app.unlearning.objective import Objective
from app.unlearning.problem import Problem
from app.unlearning.rows import TensorRows
from app.unlearning.update import changed_scalars
from app.unlearning.verification.evaluation import Evaluated
from benchmarks.quality import deletion
from benchmarks.quality.deletion_cases import forgotten, problem_of, recipe_of, trained
from benchmarks.quality.deletion_controls import CONTROLS, relabelled
from benchmarks.quality.deletion_frontier import FRONTIER, SHARES, WAYS, draw, point_of
from benchmarks.quality.deletion_intervals import closed
from benchmarks.quality.deletion_measures import Gap, Measures
from benchmarks.quality.deletion_runs import METHODS, OURS, Line, is_ours, run_methods
from benchmarks.quality.deletion_sets import Study, dense_network
from benchmarks.quality.deletion_tables import table_of
from benchmarks.quality.equal_cost import Answer, Spent
from benchmarks.quality.resampling import Interval

ZERO = Measures(1.0, 0.0, 0.5, 1.0)


def build() -> nn.Module:
    return dense_network(6, 24, 12, 3)


def rows_of(count: int, seed: int) -> TensorRows:
    draw_ = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    inputs = torch.randn(count, 6, generator=draw_)
    inputs[torch.arange(count), labels] += 4.0
    return TensorRows(inputs, labels)


@pytest.fixture(scope="module")
def study() -> Study:
    held = rows_of(60, 1)
    owners = torch.arange(90) % 9
    return Study(build, Objective("cross_entropy"), rows_of(90, 0), owners, held, held, 1)


@pytest.fixture(scope="module")
def problem(study: Study) -> Problem:
    model = trained(study, study.training, recipe_of(200, 0))
    return problem_of(study, torch.arange(12), model, recipe_of(200, 0))


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_spends_what_ours_did_and_no_more(problem: Problem, name: str) -> None:
    CONTROLS[name](problem, Spent(0.05, 0))  # first calls import
    started = time.process_time()
    answer = CONTROLS[name](problem, Spent(0.2, 0))
    spent = time.process_time() - started
    # A step more than there is time for, on a slow machine too.
    assert 0.2 <= spent < 0.6
    assert answer.steps > 10
    changed = changed_scalars(problem.model, answer.model) / problem.parameter_count
    if name == "fine-tune, equal cost":
        assert changed > 0.9
    else:
        assert 0.05 < changed <= 0.1


def test_random_labels_are_never_the_right_ones(study: Study, problem: Problem) -> None:
    rows = relabelled(problem).take(torch.arange(12))
    own = forgotten(study, torch.arange(12)).targets
    assert bool((rows.targets != own).all())
    assert set(rows.targets.tolist()) == {0, 1, 2}
    binary = Problem(
        model=dense_network(6, 1),
        objective=Objective("binary_cross_entropy"),
        kind="deletion",
        forget=TensorRows(torch.zeros(3, 6), torch.tensor([0.0, 1.0, 1.0])),
        replacement=TensorRows(torch.zeros(0, 6), torch.zeros(0)),
        retained=TensorRows(torch.zeros(2, 6), torch.zeros(2)),
        retained_total=2,
    )
    assert relabelled(binary).take(torch.arange(3)).targets.tolist() == [1.0, 0.0, 0.0]


def test_random_labels_undo_what_the_network_knows_of_the_forgotten_rows(
    problem: Problem,
) -> None:
    rows = problem.forget.take(torch.arange(len(problem.forget)))

    def loss(model: nn.Module) -> float:
        with torch.no_grad():
            return float(problem.objective.losses(model(rows.inputs), rows.targets).mean())

    with_labels, without = (
        loss(CONTROLS[name](problem, Spent(0.5, 0)).model)
        for name in ("SalUn 10 %, equal cost", "  without random labels")
    )
    assert with_labels > loss(problem.model)
    assert with_labels > without


def test_controls_may_spend_what_the_first_method_did(study: Study, problem: Problem) -> None:
    told: list[Spent] = []

    def slow(given: Problem, spent: Spent) -> Answer:
        started = time.process_time()
        while time.process_time() - started < 0.05:
            pass
        told.append(spent)
        return Answer(given.model)

    def quick(given: Problem, spent: Spent) -> Answer:
        told.append(spent)
        return Answer(given.model)

    lines = {"slow": Line(), "quick": Line()}
    gap = Gap(ZERO, Measures(0.5, 1.0, 0.5, 1.0), ZERO)
    forget = forgotten(study, torch.arange(12))
    spent = run_methods(
        problem, forget, gap, study, 10.0, lines, {"slow": slow, "quick": quick}
    )  # fmt: skip
    assert told[0].seconds == 0.0
    assert told[1] == spent
    assert 0.05 <= spent.seconds < 0.5
    assert lines["slow"].time == [spent.seconds / 10.0]
    again = run_methods(problem, forget, gap, study, 10.0, {"a": Line()}, {"a": quick}, spent)
    assert again is spent
    assert told[2] is spent


def seen(right: int, loss: float) -> Evaluated:
    """Forty rows, so many of them right; losses around a mean."""
    losses = loss + 0.2 * torch.linspace(-1, 1, 40).double()
    return Evaluated(losses, torch.arange(40) < right, torch.zeros(40, dtype=torch.int64))


def test_intervals_hold_the_mean_of_the_runs() -> None:
    before = [seen(40, 0.5), seen(38, 0.7)]
    after = [seen(30, 1.0), seen(29, 1.1)]
    retrained = [seen(20, 1.4), seen(22, 1.6)]
    accuracy, loss = closed(before, after, retrained)
    # Retrained: 21 right on average, at a loss of 1.5.
    assert accuracy.share == pytest.approx((10 / 19 + 9 / 17) / 2)
    assert loss.share == pytest.approx((0.5 / 1.0 + 0.4 / 0.8) / 2)
    assert accuracy.low < accuracy.share < accuracy.high
    assert accuracy.low > 0.3
    assert accuracy.high < 0.8
    same, _ = closed(before, before, retrained)
    assert (same.share, same.low, same.high) == (0.0, 0.0, 0.0)


def test_a_gap_of_one_row_has_a_wide_interval() -> None:
    accuracy, _ = closed([seen(40, 0.5)] * 2, [seen(38, 1.0)] * 2, [seen(39, 1.5)] * 2)
    assert accuracy.share == pytest.approx(2.0)
    assert accuracy.high > 10
    none, _ = closed([seen(40, 0.5)] * 2, [seen(38, 1.0)] * 2, [seen(40, 1.5)] * 2)
    assert none.share == math.inf  # nothing to close
    assert none.high == 99.0


def test_pictures_are_drawn_and_the_table_has_the_intervals(tmp_path: Path) -> None:
    def line(share: float) -> Line:
        found = Line()
        found.add(Gap(ZERO, Measures(0.5, 1.0, 0.5, 1.0), ZERO), ZERO, share, share)
        found.interval = (Interval(share, 0.0, 1.0), Interval(0.5, 0.25, 0.75))
        return found

    lines = {"random": {name: line(0.1) for name in METHODS}}
    point = point_of("one", lines["random"][OURS])
    assert (point.changed, point.time) == (0.1, 0.1)
    assert point.closed["loss"] == Interval(0.5, 0.25, 0.75)
    draw(lines, {"random": {key: line(key[1]) for key in WAYS}}, "small", tmp_path / "new")
    for file in ("small_cost.png", "small_share.png"):
        assert (tmp_path / "new" / file).read_bytes().startswith(b"\x89PNG")
    table = table_of("", [ZERO], lines["random"], lines["random"][OURS])
    column = list(table.columns[3].cells)
    assert column[0] == "0.00/0.00"
    assert column[1] == "0.10 [0.00, 1.00]/0.50 [0.25, 0.75]"
    with pytest.raises(ValueError, match="no interval"):
        point_of("one", Line())


def test_ours_stands_first_and_what_is_asked_for_stands_beside_it() -> None:
    assert is_ours(next(iter(METHODS.values())))
    assert not any(is_ours(way) for way in CONTROLS.values())
    assert set(CONTROLS) < set(METHODS)
    assert len(WAYS) == len(FRONTIER) * len(SHARES)


@pytest.mark.slow
def test_the_study_runs_controls_and_draws(study: Study, tmp_path: Path) -> None:
    epochs = 2
    originals = [trained(study, study.training, recipe_of(epochs, seed)) for seed in range(2)]
    lines = {name: Line() for name in (OURS, *CONTROLS)}
    along = {key: Line() for key in WAYS}
    train: Callable[..., nn.Module] = lambda _, rows, recipe: trained(study, rows, recipe)
    gone: Tensor = torch.arange(0, 90, 7)
    deletion.study_deletion(study, gone, originals, epochs, lines, along, train, lambda _: None)
    for line in (*lines.values(), *along.values()):
        assert len(line.seen) == 2
        assert line.interval is not None
        means = [sum(column) / 2 for column in zip(*line.closed, strict=True)]
        for share, mean in zip(line.interval, means, strict=True):
            assert share.share == pytest.approx(mean, rel=1e-4) or not math.isfinite(mean)
    draw({"every seventh": lines}, {"every seventh": along}, "toy", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
