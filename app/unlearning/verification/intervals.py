"""Intervals of 95 % for shares of rows and for differences of two shares.

Clopper and Pearson (1934): the interval of a binomial proportion by inverting the exact test;
it covers the true value with at least the stated probability, whatever the number of rows. Student
(1908): how much wider an interval has to be whose width is itself estimated from few rows.
"""

import math
from typing import Final, NamedTuple

CONFIDENCE: Final = 0.95


class Interval(NamedTuple):
    """A closed interval."""

    low: float
    high: float

    def document(self) -> list[float] | None:
        """Return the interval as a report shows it; None if it has no end on one side."""
        return list(self) if all(map(math.isfinite, self)) else None


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the exact interval of a share.

    The limits are quantiles of beta distributions: low of Beta(k, n - k + 1), high of
    Beta(k + 1, n - k).

    >>> low, high = clopper_pearson(0, 10)
    >>> low, round(high, 6)
    (0.0, 0.308497)

    Args:
        successes: ``k``, from 0 to ``trials``.
        trials: ``n``, at least 1.
        confidence: Least probability of covering the true share.

    Returns:
        The interval, inside [0, 1].

    Raises:
        ValueError: The counts are impossible.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError("a share needs 0 <= successes <= trials and at least one trial")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else _beta_quantile(tail, successes, trials - successes + 1)
    # By symmetry the upper limit is one minus the lower limit of the failures.
    failures = trials - successes
    high = 1.0 if failures == 0 else 1 - _beta_quantile(tail, failures, successes + 1)
    return Interval(low, high)


def paired_difference(
    gained: int, lost: int, trials: int, confidence: float = CONFIDENCE
) -> Interval:
    """Return an interval of the change of a share measured twice on the same rows.

    The change is P(gained) - P(lost). Each of the two proportions gets a Clopper-Pearson interval
    at half the error (Bonferroni), so the result covers at least ``confidence``. It depends only
    on rows that changed, so it is far narrower than the difference of two separate intervals.

    Args:
        gained: Rows wrong at first and right then.
        lost: Rows right at first and wrong then.
        trials: All rows, at least 1.
        confidence: Least probability of covering the true change.

    Returns:
        The interval, inside [-1, 1].
    """
    each = 1 - (1 - confidence) / 2
    up = clopper_pearson(gained, trials, each)
    down = clopper_pearson(lost, trials, each)
    return Interval(up.low - down.high, up.high - down.low)


def student_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """Return the t that Student's distribution exceeds in size with probability 1 - confidence.

    >>> round(student_quantile(1), 3), round(student_quantile(10), 3)
    (12.706, 2.228)

    Args:
        degrees: Degrees of freedom, at least 1.
        confidence: Probability of lying within -t and t.

    Returns:
        t, by its relation to the beta distribution (DLMF 8.17.6).

    Raises:
        ValueError: There is no degree of freedom.
    """
    if degrees < 1:
        raise ValueError("Student's distribution has at least one degree of freedom")
    x = _beta_quantile(1 - confidence, degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - x) / x)


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """Return x with I_x(a, b) = probability, by bisection to the last bit."""
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if middle in {low, high}:
            return middle
        if _incomplete_beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b).

    By its continued fraction (DLMF 8.17.22), evaluated with Lentz's method; on the other side
    of the mean by I_x(a, b) = 1 - I_{1-x}(b, a), where it converges fast.
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    return math.exp(log_front) / a / _continued_fraction(x, a, b)


def _continued_fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    value, c, d = 1.0, 1.0, 0.0
    # The number of terms grows with the square root of the arguments.
    for m in range(1, 1000 + 20 * math.isqrt(int(a + b))):
        half, is_odd = divmod(m, 2)
        if is_odd:
            term = -(a + half) * (a + b + half) * x / ((a + m - 1) * (a + m))
        else:
            term = half * (b - half) * x / ((a + m - 1) * (a + m))
        d = 1 / (1 + term * d or tiny)
        c = 1 + term / c or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            return value
    raise ArithmeticError("the continued fraction of the incomplete beta function did not settle")
