"""A head cut down to what may change of its first layer, so that teaching it costs less.

The first layer of a head reads thousands of features and holds most of its weights, of which a
tenth may change. Columns of that weight matrix in which nothing is selected add the same to every
row's sums at every step: this part is computed once and handed to the layer in their place.
Where the selection is confined to few columns, a step costs a fraction of what it did.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.unlearning.distillation.lessons import Lesson, Lessons
from app.unlearning.selection import Selection

# Columns hold so many times the scalars that are selected among them.
_ROOM = 3
# A head that keeps a larger share of its columns is not worth cutting down.
_WORTH = 0.75


def confined(scores: Mapping[str, Tensor], first: str, count: int) -> dict[str, Tensor]:
    """Confine a ranking to the columns of the first layer that score most together.

    Args:
        scores: Parameter name to non-negative scores of its shape.
        first: Name of the first layer's weight.
        count: Scalars that will be selected.

    Returns:
        The scores; -1 in all columns of ``first`` but the best. These hold ``_ROOM`` times as many
        scalars as are selected.
    """
    matrix = scores.get(first)
    if matrix is None or matrix.dim() != 2:
        return dict(scores)
    rows, columns = matrix.shape
    kept = min(columns, -(-_ROOM * count // rows))
    best = matrix.sum(0).topk(kept).indices
    only = torch.full_like(matrix, -1)
    only[:, best] = matrix[:, best]
    return {**scores, first: only}


class NarrowLinear(nn.Module):
    """A linear layer of some columns; the sums of the others are part of its input."""

    def __init__(self, layer: nn.Linear, columns: Tensor) -> None:
        """Keep some columns.

        Args:
            layer: The whole layer.
            columns: (k,) positions of the columns to keep.
        """
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach()[:, columns].clone())
        bias: Tensor | None = layer.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """(b, k + out) features and sums; returns (b, out)."""
        kept = self.weight.shape[1]
        return functional.linear(inputs[:, :kept], self.weight, self.bias) + inputs[:, kept:]


@dataclass(frozen=True)
class Narrowed:
    """A head and what it reads, or the whole of both where cutting down is not worth it.

    Attributes:
        head: To be taught; shares no parameter with the whole head where it was cut down.
        whole: The head as it is.
        columns: (k,) those kept of its first layer's weight; None if all.
        first: Name of that weight.
    """

    head: nn.Module
    whole: nn.Module
    columns: Tensor | None
    first: str

    def features(self, features: Tensor) -> Tensor:
        """What the narrowed head reads of the whole head's inputs."""
        if self.columns is None:
            return features
        frozen = self.whole.get_parameter(self.first).detach().clone()
        frozen[:, self.columns] = 0
        return torch.cat([features[:, self.columns], functional.linear(features, frozen)], 1)

    def lessons(self, lessons: Lessons) -> Lessons:
        """The same lessons for the narrowed head."""
        if self.columns is None:
            return lessons

        def narrow(lesson: Lesson) -> Lesson:
            return replace(lesson, features=self.features(lesson.features))

        return replace(
            lessons,
            retained=narrow(lessons.retained),
            around=narrow(lessons.around),
            within=narrow(lessons.within),
            forget=narrow(lessons.forget),
        )

    def selection(self, selection: Selection) -> Selection:
        """The same scalars, by their places in the narrowed head."""
        if self.columns is None:
            return selection
        masks = dict(selection.masks)
        masks[self.first] = masks[self.first][:, self.columns]
        return Selection(masks)

    def widen(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Full tensors from those of the narrowed head; what was cut off is as it was."""
        found = dict(values)
        if self.columns is not None and self.first in found:
            full = self.whole.get_parameter(self.first).detach().clone()
            full[:, self.columns] = found[self.first]
            found[self.first] = full
        return found


def narrow_head(head: nn.Sequential, features: Tensor, selection: Selection) -> Narrowed:
    """Cut a head down to the columns of its first layer in which something is selected.

    Args:
        head: Its first layer holds parameters.
        features: (n, ...) its inputs, to tell whether each is a plain row.
        selection: What may change, by the head's names.

    Returns:
        The narrowed head; the whole head where its first layer is not linear on plain rows, or
        where most columns would be kept.
    """
    name, layer = next(iter(head.named_children()))
    first = f"{name}.weight"
    whole = Narrowed(head, head, None, first)
    if type(layer) is not nn.Linear or features.dim() != 2 or first not in selection.masks:
        return whole
    columns = selection.masks[first].any(0).nonzero()[:, 0]
    if not len(columns) or len(columns) > _WORTH * layer.in_features:
        return whole
    cut = copy.deepcopy(head)
    cut.add_module(name, NarrowLinear(layer, columns))
    return Narrowed(cut, head, columns, first)
