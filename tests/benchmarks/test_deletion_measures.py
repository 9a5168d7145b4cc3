"""When a run of the deletion study passes, against numbers worked out by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from app.unlearning.rows import TensorRows
from benchmarks.quality.deletion_measures import Gap, Measures, average, probe_auc, spread

GAP = Gap(
    before=Measures(1.0, 0.1, 0.60, 0.90),
    after=Measures(0.8, 1.1, 0.50, 0.88),
    noise=Measures(0.02, 0.1, 0.01, 0.01),
)
GOOD = Measures(0.85, 0.9, 0.52, 0.895)


def test_shares_of_the_gaps() -> None:
    assert GAP.closed(GOOD) == pytest.approx((0.75, 0.8))
    assert GAP.closed(GAP.before) == (0.0, 0.0)
    assert GAP.closed(GAP.after) == (1.0, 1.0)


def test_a_run_passes_only_if_everything_does() -> None:
    assert GAP.verdict(GOOD, 0.1, 0.1) == "pass"
    for bad in (
        replace(GOOD, accuracy=0.87),
        replace(GOOD, loss=1.5),
        replace(GOOD, auc=0.54),
        replace(GOOD, held_out=0.88),
    ):
        assert GAP.verdict(bad, 0.1, 0.1) == "miss"
    assert GAP.missed(GOOD, 0.11, 0.11) == ("share", "time")
    assert GAP.missed(replace(GOOD, auc=0.6, loss=0.0), 0.1, 0.1) == ("loss", "AUC")
    assert GAP.verdict(GOOD, 0.1, 0.11) == "miss"


def test_a_gap_that_retrainings_differ_by_decides_nothing() -> None:
    noisy = replace(GAP, noise=replace(GAP.noise, loss=1.0))
    assert noisy.verdict(GOOD, 0.1, 0.1) == "inconclusive"


def test_mean_and_spread() -> None:
    pair = [Measures(1.0, 0.0, 0.5, 0.2), Measures(0.0, 1.0, 0.75, 0.2)]
    assert average(pair) == Measures(0.5, 0.5, 0.625, 0.2)
    assert spread(pair) == Measures(1.0, 1.0, 0.25, 0.0)


def test_a_probe_finds_rows_that_features_tell_apart_and_no_others() -> None:
    draw = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 1, 1), nn.Flatten(), nn.Linear(6, 4), nn.ReLU(),
                          nn.Linear(4, 2)).eval()  # fmt: skip
    X, y = torch.randn(300, 1, 6, generator=draw), torch.arange(300) % 2
    unseen = TensorRows(X[100:], y[100:])
    assert 0.35 < probe_auc(model, TensorRows(X[:100], y[:100]), unseen) < 0.65
    assert probe_auc(model, TensorRows(X[:100] + 3, y[:100]), unseen) > 0.95
