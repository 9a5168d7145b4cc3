"""Bootstrap intervals cover what they should and cost little."""

import math

import pytest
import torch

from app.unlearning.verification import bootstrap
from app.unlearning.verification.bootstrap import (
    draw_counts,
    percentile_interval,
    resampled_means,
    stretched_interval,
)


def test_intervals_of_a_mean_cover_it_about_as_often_as_promised() -> None:
    generator = torch.Generator().manual_seed(0)
    trials, covered = 300, 0
    for seed in range(trials):
        values = torch.empty(120, 1, dtype=torch.float64).exponential_(generator=generator)
        low, high = percentile_interval(resampled_means(values, seed, 500)[:, 0])
        covered += low <= 1.0 <= high
    # A skewed mean of 120 rows is covered a little less often than 95 %: 0.93 in theory, and
    # 300 trials have a standard error of 0.015.
    assert 0.88 <= covered / trials <= 0.98


@pytest.mark.parametrize("rows", [2, 3, 5, 10])
@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_of_few_rows_cover_the_mean_too(rows: int, skewed: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    trials, covered, plainly = 300, 0, 0
    for seed in range(trials):
        values = torch.empty(rows, 1, dtype=torch.float64)
        if skewed:
            values.exponential_(generator=generator).sub_(1)
        else:
            values.normal_(generator=generator)
        means = resampled_means(values, seed, 500)[:, 0]
        low, high = stretched_interval(float(values.mean()), means, rows)
        assert low <= values.mean() <= high
        covered += low <= 0.0 <= high
        low, high = percentile_interval(means)
        plainly += low <= 0.0 <= high
    # Student's own interval covers the mean of five exponential draws 88 times in a hundred.
    assert covered / trials >= (0.82 if skewed else 0.91)
    assert plainly < covered


def test_a_single_row_has_no_interval_and_many_rows_keep_theirs() -> None:
    assert stretched_interval(3.0, torch.full((9,), 3.0), 1) == (-math.inf, math.inf)
    values = torch.randn(5000, 1, generator=torch.Generator().manual_seed(6)).double()
    means = resampled_means(values, seed=7)[:, 0]
    stretched = stretched_interval(float(means.mean()), means, 5000)
    assert stretched == pytest.approx(percentile_interval(means), rel=1e-3)


@pytest.mark.parametrize("rows", [500, 2048, 2049, 3000, 50_000])
def test_the_spread_is_that_of_the_mean_however_many_rows_there_are(rows: int) -> None:
    values = torch.randn(rows, 1, generator=torch.Generator().manual_seed(rows)).double()
    means = resampled_means(values, seed=1, resamples=2000)
    expected = values.std(correction=0) / rows**0.5
    # The spread of 2,000 resamples is known to 1.6 %, that of 1,025 groups to 2.2 %.
    assert float(means.std() / expected) == pytest.approx(1.0, abs=0.1)
    assert abs(float(means.mean() - values.mean())) < 0.3 * float(expected)


def test_sorted_rows_are_grouped_at_random() -> None:
    values = torch.arange(50_000.0)[:, None].double()
    means = resampled_means(values, seed=1)
    expected = values.std() / 50_000**0.5
    assert float(means.std() / expected) == pytest.approx(1.0, abs=0.12)


def test_columns_are_resampled_together() -> None:
    values = torch.randn(90, 1, generator=torch.Generator().manual_seed(2)).double()
    means = resampled_means(torch.cat([values, values + 3], 1), seed=5)
    torch.testing.assert_close(means[:, 1] - means[:, 0], torch.full((1000,), 3.0).double())


def test_the_same_seed_gives_the_same_draws_in_whatever_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = torch.randn(50, 2, generator=torch.Generator().manual_seed(3)).double()
    whole = resampled_means(values, seed=4)
    assert torch.equal(whole, resampled_means(values, seed=4))
    assert not torch.equal(whole, resampled_means(values, seed=5))
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 50 * 7)
    torch.testing.assert_close(resampled_means(values, seed=4), whole)


def test_each_resample_draws_as_many_rows_as_there_are() -> None:
    counts = draw_counts(20, 31, torch.Generator().manual_seed(0))
    assert counts.shape == (20, 31)
    assert torch.equal(counts.sum(1), torch.full((20,), 31.0).double())
