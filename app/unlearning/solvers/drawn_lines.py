"""A preconditioner from the rows that weigh most in the curvature of a linear layer.

The curvature of rows is J^T J, where a row has one line of J for each column of a root of its
output Hessian. Few rows hold most of what a diagonal misses: long mails, rare features. With the
diagonal h of the whole curvature, line j weighs sum of j^2 / h, and

    P = D + sum over drawn lines of j j^T / q,   D = h - diag(the sum), at least a floor,

where a row is drawn with a probability q in proportion to its weight, one for the heaviest. That
is leverage-score sampling (Drineas, Mahoney and Muthukrishnan 2006) by the leverage that the
diagonal gives, with what the lines leave of the diagonal added. P is inverted by Woodbury's
identity, or by a Cholesky factor where there are no more scalars than lines.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_LEAST_LEFT = 1e-4
"""Share of its diagonal that a scalar is left with at least."""


def inclusion(weights: Tensor, count: int) -> Tensor:
    """Return probabilities ``min(1, c w)`` whose sum is ``count``, or less if few rows weigh.

    Args:
        weights: (n,), at least zero, float64.
        count: Rows to draw in the mean.

    Returns:
        (n,), float64.
    """
    if count <= 0:
        return torch.zeros_like(weights)
    heavy, _ = weights.sort(descending=True)
    if count >= int((heavy > 0).sum()):
        return (weights > 0).double()
    # With the t heaviest certain, c = (count - t) / (what the others weigh) fits once no other
    # exceeds one.
    certain = torch.arange(count, dtype=torch.float64, device=weights.device)
    others = heavy.flip(0).cumsum(0).flip(0)[:count]
    factors = (count - certain) / others
    fits = (factors * heavy[:count] <= 1.0).nonzero()
    factor = factors[int(fits[0]) if len(fits) else count - 1]
    return (factor * weights).clamp(max=1.0)


def preconditioner(lines: Tensor, diagonal: Tensor, floor: float) -> Callable[[Tensor], Tensor]:
    """Invert P.

    Args:
        lines: Of J, divided by the roots of their probabilities, (m, k), float32 or float64.
        diagonal: h, (k,), float64, all positive.
        floor: The least D may be, >= 0, in the units of h.

    Returns:
        From a vector (k,), float64, to P^-1 times it; of P, only the diagonal h if all else fails.
    """
    left = diagonal - lines.square().sum(0).double()
    # Of a scalar that the lines hold altogether nothing is left but rounding.
    root = left.clamp(min=floor).maximum(_LEAST_LEFT * diagonal).rsqrt()
    scaled = lines * root.to(lines.dtype)
    factor, failure = _factor(scaled)
    if failure:
        # Lines that are all but dependent take more digits.
        scaled = scaled.double()
        factor, failure = _factor(scaled)
    if failure:
        return lambda v: v / diagonal
    if len(lines) >= len(diagonal):
        return lambda v: root * torch.cholesky_solve((root * v)[:, None], factor)[:, 0]

    def apply(vector: Tensor) -> Tensor:
        inside = root * vector
        shares = torch.cholesky_solve((scaled @ inside.to(scaled.dtype)).double()[:, None], factor)
        return root * (inside - (shares[:, 0].to(scaled.dtype) @ scaled).double())

    return apply


def _factor(scaled: Tensor) -> tuple[Tensor, bool]:
    """Factorise one plus the smaller Gram matrix of the lines, float64; whether that failed."""
    tall = len(scaled) >= scaled.shape[1]
    inner = (scaled.t() @ scaled if tall else scaled @ scaled.t()).double()
    inner.diagonal().add_(1.0)
    factor, failure = torch.linalg.cholesky_ex(inner)
    return factor, bool(failure)
