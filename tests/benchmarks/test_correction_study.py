"""The correction study on small data, and its arithmetic against numbers worked out by hand."""

from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from app.unlearning.rows import TensorRows
from benchmarks.quality import correction
from benchmarks.quality.correction_cases import Case, DataSet, Training, digit_network, wronged
from benchmarks.quality.correction_measures import Seen, Yardstick
from benchmarks.quality.correction_methods import METHODS
from benchmarks.quality.correction_networks import Networks

LABELS = torch.arange(4).repeat(50)


def case_of(watched: tuple[int, ...]) -> Case:
    rows = TensorRows(torch.zeros(200, 1), LABELS)
    data = DataSet(digit_network, rows, rows, 4, 2, 0)
    return Case(data, LABELS, torch.arange(3), watched)


def seen(right: Tensor, tilt: float) -> Seen:
    answers = torch.full((200, 4), 0.25)
    answers[:, 0] += tilt
    answers[:, 1] -= tilt
    return Seen(answers, right.double(), 0.5)


def right_in(share_of_two: float, others: float) -> Tensor:
    """The first so many rows of class 2 and of each other class."""
    rank = torch.arange(200) // 4
    return rank < torch.where(LABELS == 2, 50 * share_of_two, 50 * others)


def test_shares_distances_and_noise() -> None:
    retrained = [seen(right_in(0.8, 0.9), 0.1), seen(right_in(0.84, 0.9), 0.12)]
    originals = [seen(right_in(0.42, 0.9), 0.0)] * 2
    yardstick = Yardstick(case_of((2,)), retrained, originals)
    assert yardstick.noise.recall == pytest.approx(0.04)
    assert yardstick.noise.accuracy == pytest.approx(0.01)
    assert yardstick.noise.distance == pytest.approx(0.02)
    assert yardstick.before.distance == pytest.approx(0.11)
    half = [seen(right_in(0.62, 0.9), 0.065)] * 2
    accuracy, recall = yardstick.closed(half)
    assert accuracy.share == pytest.approx(0.5)
    assert recall.share == pytest.approx(0.5)
    assert recall.low < 0.5 < recall.high
    assert yardstick.near(half) == pytest.approx((0.11 - 0.045) / (0.11 - 0.02))
    assert yardstick.ahead(half, originals)[1].share == pytest.approx(0.5)


def test_verdicts() -> None:
    retrained = [seen(right_in(0.8, 0.9), 0.1), seen(right_in(0.84, 0.9), 0.1)]
    yardstick = Yardstick(case_of((2,)), retrained, [seen(right_in(0.42, 0.9), 0.0)] * 2)
    good = [seen(right_in(0.82, 0.9), 0.1)] * 2
    assert yardstick.verdict(good, 0.02, 0.05) == "pass"
    assert yardstick.verdict(good, 0.03, 0.06) == "misses share, time"
    high = [seen(right_in(0.9, 0.9), 0.1)] * 2
    assert yardstick.verdict(high, 0.02, 0.05) == "misses recall too high"
    poor = [seen(right_in(0.7, 0.9), 0.1)] * 2
    assert yardstick.verdict(poor, 0.02, 0.05) == "misses accuracy, recall"
    near = Yardstick(case_of((2,)), retrained, [seen(right_in(0.8, 0.9), 0.1)] * 2)
    assert near.verdict(good, 0.02, 0.05) == "inconclusive: accuracy, recall"


def bright_columns(rows: int, seed: int) -> TensorRows:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 4
    images = 0.5 * torch.randn(rows, 1, 8, 8, generator=draw)
    images[torch.arange(rows), 0, :, labels] += 1.5
    return TensorRows(images, labels)


def test_wrong_labels_are_those_that_a_case_names() -> None:
    data = DataSet(digit_network, bright_columns(80, 0), bright_columns(40, 1), 4, 3, 1)
    half = wronged(data, "half_class")
    assert len(half.wrong) == 10
    assert set(half.labels[half.wrong].tolist()) == {1}
    assert half.watched == (3,)
    fifth = wronged(data, "flips20")
    assert len(fifth.wrong) == 16
    assert bool((fifth.labels[fifth.wrong] != data.training.targets[fifth.wrong]).all())
    few = data.reporting_on(15)
    assert torch.equal(few.reported.targets, data.reported.targets[:15])
    assert len(data.reporting_on(None).reported) == 40


@pytest.mark.slow
def test_every_method_has_its_line_and_pictures_are_drawn(tmp_path: Path) -> None:
    data = DataSet(digit_network, bright_columns(120, 0), bright_columns(80, 1), 4, 3, 1)
    console = Console(width=220, record=True)
    kept = tmp_path / "networks"
    networks = Networks(data, Training(2, "constant"), kept, "columns")
    results = correction.run_set(networks, ["half_class", "flips20"], 2, tmp_path, console)
    printed = console.export_text()
    for name in ("do nothing", *METHODS, "retrain", "two of them differ by"):
        assert name.strip() in printed
    assert "auto chose shrinking_mask" in printed
    assert set(results) == {"half_class", "flips20"}
    again = networks.one("right", data.training, Training(2, "constant").recipe(100))
    assert len(list(kept.glob("columns-*.safetensors"))) == 6
    assert all(map(torch.equal, again.parameters(), networks.retrained(1)[0].parameters()))
    for file in ("columns_cost.png", "columns_share.png"):
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")
