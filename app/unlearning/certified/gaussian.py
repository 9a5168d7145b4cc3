"""How well Gaussian noise hides a shift: the exact (epsilon, delta) curve.

Two Gaussians of deviation sigma whose means are ``shift`` apart cannot be told apart better than
(epsilon, delta) with

    delta = Phi(a / 2 - epsilon / a) - e^epsilon Phi(-a / 2 - epsilon / a),  a = shift / sigma

(Balle and Wang, ICML 2018, Theorem 8; both directions are alike). It holds for every epsilon. The
rule of Guo et al. (ICML 2020) and Warnecke et al. (NDSS 2023), ``sigma = c shift / epsilon`` with
``delta = 1.5 exp(-c^2 / 2)``, asks for more noise than this.
"""

import math

# Bisection halves the interval; 200 halvings reach the last bit of any float64.
_HALVINGS = 200


def delta_of(epsilon: float, shift: float, deviation: float) -> float:
    """The smallest delta for an epsilon.

    >>> round(delta_of(1.0, shift=1.0, deviation=1.0), 4)
    0.1269
    >>> delta_of(1.0, shift=0.0, deviation=1.0)
    0.0

    Args:
        epsilon: >= 0.
        shift: Distance of the means, >= 0.
        deviation: Of both Gaussians, >= 0.

    Returns:
        delta in [0, 1]; 1 for a shift that no noise hides.
    """
    if shift == 0:
        return 0.0
    if deviation == 0 or math.isinf(shift):
        return 1.0
    a = shift / deviation
    # exp(epsilon) overflows long after Phi of its partner has vanished.
    rest = _normal(-a / 2 - epsilon / a)
    scaled = math.exp(epsilon + math.log(rest)) if rest > 0 else 0.0
    return min(1.0, max(0.0, _normal(a / 2 - epsilon / a) - scaled))


def epsilon_of(delta: float, shift: float, deviation: float) -> float:
    """The smallest epsilon for a delta.

    >>> round(epsilon_of(1e-5, shift=0.1, deviation=1.0), 3)
    0.341

    Args:
        delta: In (0, 1).
        shift: As in :func:`delta_of`.
        deviation: As in :func:`delta_of`.

    Returns:
        epsilon >= 0; infinite for a shift that no noise hides.
    """
    if delta_of(0.0, shift, deviation) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while delta_of(high, shift, deviation) > delta:
        low, high = high, 2 * high
        if high > 1e9:
            return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if delta_of(middle, shift, deviation) > delta:
            low = middle
        else:
            high = middle
    return high


def largest_shift(epsilon: float, delta: float, deviation: float) -> float:
    """The largest shift that is still hidden: what a budget is.

    >>> round(largest_shift(1.0, 1e-5, deviation=1.0), 4)
    0.2681

    Args:
        epsilon: > 0.
        delta: In (0, 1).
        deviation: Of the noise, >= 0.

    Returns:
        The shift, in the units of ``deviation``.
    """
    low, high = 0.0, 1.0
    while delta_of(epsilon, high, 1.0) <= delta:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if delta_of(epsilon, middle, 1.0) <= delta:
            low = middle
        else:
            high = middle
    return low * deviation


def _normal(x: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * math.erfc(-x / math.sqrt(2))
