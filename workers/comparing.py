"""How far two results lie apart, beside how far they were moved."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

RELATIVE = 1e-3
"""Distance over the length of the change, up to which two results agree. Last bits differ by 1e-7;
solvers and epochs of training amplify that, and what is measured of a result has two to three
digits."""
SAME_SELECTION = 0.99
"""Share of the changed scalars that two results must have in common (Jaccard index)."""


@dataclass(frozen=True)
class Distance:
    """Two results of one job, compared.

    Attributes:
        relative: Length of the difference over the length of the published change; where the
            version it started from is gone, over the length of all published parameters.
        changed: Scalars that the published result has changed; None where that is not known.
        common: How many of them the other result has changed too.
        either: How many at least one of the two has changed.
    """

    relative: float
    changed: int | None = None
    common: int = 0
    either: int = 0

    @property
    def agrees(self) -> bool:
        """Whether the difference can be one of last bits."""
        shares = self.changed is None or self.common >= SAME_SELECTION * self.either
        return self.relative <= RELATIVE and shares

    def __str__(self) -> str:
        """Say it in a sentence."""
        apart = f"the weights lie {self.relative:.1e} of the change apart"
        if self.changed is None:
            return f"the weights lie {self.relative:.1e} of their length apart"
        if self.common == self.either == self.changed:
            return f"{apart}, and the same {self.changed} scalars were changed"
        return f"{apart}, and {self.common} of {self.either} changed scalars are the same"


def distance(
    published: Mapping[str, Tensor],
    again: Mapping[str, Tensor],
    start: Mapping[str, Tensor] | None,
) -> Distance:
    """Compare two results.

    Args:
        published: The state dict that was published.
        again: That of the other run.
        start: That of the version both started from, if it is still held.

    Returns:
        How far they lie apart; infinitely, if they have different tensors or values that are
        not finite.
    """
    if {name: t.shape for name, t in published.items()} != {n: t.shape for n, t in again.items()}:
        return Distance(math.inf)
    apart = length = 0.0
    changed = common = either = 0
    for name, tensor in published.items():
        other = again[name].to(tensor.device)
        origin = torch.zeros_like(tensor) if start is None else start[name]
        apart += float((other.double() - tensor.double()).square().sum())
        length += float((tensor.double() - origin.double()).square().sum())
        if start is not None:
            ours, theirs = tensor != origin, other != origin
            changed += int(ours.sum())
            common += int((ours & theirs).sum())
            either += int((ours | theirs).sum())
    relative = math.sqrt(apart / length) if length > 0 else math.sqrt(apart)
    relative = relative if math.isfinite(relative) else math.inf
    return Distance(relative, None if start is None else changed, common, either)
