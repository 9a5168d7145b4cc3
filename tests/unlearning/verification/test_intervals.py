"""Clopper-Pearson intervals are the inverted binomial tests they claim to be."""

import math
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.unlearning.verification.intervals import (
    clopper_pearson,
    paired_difference,
    student_quantile,
)


def upper_tail(k: int, n: int, p: float) -> float:
    """P(X >= k) for X ~ Binomial(n, p), in exact arithmetic."""
    exact = Fraction(p)
    return float(sum(comb(n, i) * exact**i * (1 - exact) ** (n - i) for i in range(k, n + 1)))


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_limits_are_where_the_exact_binomial_tails_hold_two_and_a_half_percent(n: int) -> None:
    for k in range(n + 1):
        low, high = clopper_pearson(k, n)
        if k > 0:
            assert upper_tail(k, n, low) == pytest.approx(0.025, rel=1e-9)
        if k < n:
            assert 1 - upper_tail(k + 1, n, high) == pytest.approx(0.025, rel=1e-9)


def test_limits_hold_for_many_rows_too() -> None:
    n, k = 20_000, 18_231
    low, high = clopper_pearson(k, n)

    def log_mass(i: int, p: float) -> float:
        choose = math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        return choose + i * math.log(p) + (n - i) * math.log1p(-p)

    assert math.fsum(math.exp(log_mass(i, low)) for i in range(k, n + 1)) == pytest.approx(
        0.025, rel=1e-6
    )
    assert math.fsum(math.exp(log_mass(i, high)) for i in range(k + 1)) == pytest.approx(
        0.025, rel=1e-6
    )


@pytest.mark.parametrize("n", [1, 10, 1000, 10**6])
def test_no_success_has_the_closed_form(n: int) -> None:
    low, high = clopper_pearson(0, n)
    assert low == 0.0
    assert high == pytest.approx(-math.expm1(math.log(0.025) / n), rel=1e-9)


@pytest.mark.parametrize("p", [0.02, 0.1, 0.33, 0.5, 0.97])
def test_the_true_share_is_covered_at_least_as_often_as_promised(p: float) -> None:
    n = 30
    covered = [k for k in range(n + 1) if clopper_pearson(k, n)[0] <= p <= clopper_pearson(k, n)[1]]
    assert sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in covered) >= 0.95


@settings(deadline=None)
@given(st.integers(1, 5000), st.data())
def test_limits_enclose_the_share_and_mirror_each_other(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = clopper_pearson(k, n)
    assert 0.0 <= low <= k / n <= high <= 1.0
    mirrored = clopper_pearson(n - k, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_counts_are_refused(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        clopper_pearson(k, n)


@pytest.mark.parametrize(("gain", "loss"), [(0.0, 0.0), (0.1, 0.1), (0.0, 0.3), (0.45, 0.5)])
def test_the_change_of_a_share_is_covered_at_least_as_often_as_promised(
    gain: float, loss: float
) -> None:
    n, covered = 12, 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            low, high = paired_difference(gained, lost, n)
            if low <= gain - loss <= high:
                same = n - gained - lost
                ways = comb(n, gained) * comb(n - gained, lost)
                covered += ways * gain**gained * loss**lost * (1 - gain - loss) ** same
    assert covered >= 0.95


def test_an_unchanged_share_of_few_rows_still_may_have_changed() -> None:
    assert paired_difference(0, 0, 10).high > 0.3
    assert paired_difference(0, 0, 1000).high < 0.005


def test_students_quantiles_are_those_of_the_closed_forms_and_the_normal_limit() -> None:
    # One degree of freedom is the Cauchy distribution; two have F(t) = 1/2 + t / (2 sqrt(2 + t^2)).
    assert student_quantile(1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-9)
    t = student_quantile(2)
    assert t / math.sqrt(2 + t * t) == pytest.approx(0.95, rel=1e-9)
    assert student_quantile(10) == pytest.approx(2.2281388520, rel=1e-9)  # printed tables
    assert student_quantile(10**7) == pytest.approx(1.9599639845, rel=1e-6)
    with pytest.raises(ValueError, match="degree"):
        student_quantile(0)
