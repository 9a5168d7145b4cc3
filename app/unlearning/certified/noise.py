"""Noise nobody can draw again, and the test whether a training run has used it.

Whoever knows the noise can take it off, so it comes from the operating system and is not kept: at
the optimum of a perturbed objective the gradient of the plain objective is minus the noise, and the
service reads it from there when it has the rows.
"""

import math
import os
from collections.abc import Callable

import torch
from torch import Tensor

from app.unlearning.errors import NotApplicable

RandomBytes = Callable[[int], bytes]
# An honest declaration is refused once in a hundred thousand times.
_TAIL = 5e-6


def gaussian_noise(
    shape: tuple[int, ...], deviation: float, random_bytes: RandomBytes = os.urandom
) -> Tensor:
    """Draw independent normal numbers.

    By the inverse distribution function of 52-bit uniform numbers, so that all of the randomness is
    that of ``random_bytes``; nothing lies beyond 8.2 deviations.

    Args:
        shape: Of the result.
        deviation: Their standard deviation, >= 0.
        random_bytes: Where randomness comes from: a number of bytes to as many random ones.

    Returns:
        float64, on the CPU.
    """
    count = math.prod(shape)
    if not count:
        return torch.zeros(shape, dtype=torch.float64)
    words = torch.frombuffer(bytearray(random_bytes(8 * count)), dtype=torch.int64)
    uniform = ((words & (2**52 - 1)).double() + 0.5) / 2**52
    normal = math.sqrt(2) * torch.erfinv(2 * uniform - 1)
    return (deviation * normal).reshape(shape)


def require_plausible(perturbation: Tensor, deviation: float, slack: float) -> None:
    """Check that a perturbation can be a draw of the noise a recipe declares.

    The squared norm over the squared deviation is chi-squared with as many degrees of freedom as
    there are scalars. A model trained without the noise, with other noise, on other rows or not to
    its optimum usually fails by orders of magnitude. The fewer the scalars, the weaker the check:
    of ten, a norm from 0.2 to 2 times the expected one passes, of a hundred from 0.7 to 1.3 times.

    Args:
        perturbation: Minus the gradient of the plain summed objective at the parameters.
        deviation: As declared, > 0.
        slack: Norm by which the perturbation may be off: what earlier updates have left.

    Raises:
        NotApplicable: It cannot.
    """
    half = torch.tensor(perturbation.numel() / 2, dtype=torch.float64)
    norm = float(perturbation.double().norm())
    least, most = max(0.0, norm - slack) / deviation, (norm + slack) / deviation
    below = float(torch.special.gammainc(half, half.new_tensor(most**2 / 2)))
    above = float(torch.special.gammaincc(half, half.new_tensor(least**2 / 2)))
    if min(below, above) < _TAIL:
        expected = deviation * math.sqrt(perturbation.numel())
        raise NotApplicable(
            f"the gradient left at these parameters has norm {norm:.3g} where the noise that the "
            f"recipe declares has about {expected:.3g}: training did not use that noise, or "
            "stopped before the optimum"
        )
