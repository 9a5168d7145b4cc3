"""Where a tape is tied to the graph of a forward pass: its outputs, and the gradients at them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from app.unlearning.curvature.rules.use import Use

ANCHOR = torch.zeros((), requires_grad=True)
"""Where every backward pass ends: what plain data is tied to, so that it has a gradient."""

Receiver = Callable[[list[Use], Tensor], None]
"""Takes the uses of one operation and the gradient at its output. It may empty the list, and the
tape then lets go of what they hold."""


class Handover:
    """Passes gradients on to whoever wants them at the moment.

    The graph holds this and not the tape: the tape holds parts of the graph, and a cycle through
    the graph's nodes would never be freed.
    """

    def __init__(self) -> None:
        """Begin with nobody listening."""
        self.receiver: Receiver | None = None

    def __call__(self, uses: list[Use], place: int, gradients: tuple[Tensor | None, ...]) -> None:
        """Pass the gradient on.

        Args:
            uses: What wants it.
            place: Which output of the node it belongs to.
            gradients: Of all outputs of the node.
        """
        gradient = gradients[place]
        if self.receiver is not None and gradient is not None:
            self.receiver(uses, gradient)


class Tap(torch.autograd.Function):
    """The identity on plain data, which makes it part of a graph."""

    @staticmethod
    def forward(
        ctx: Any,  # torch gives the context no public type
        output: Tensor,
        anchor: Tensor,  # noqa: ARG004 - it is what requires a gradient
        is_view: bool,
    ) -> Tensor:
        """Pass the output on."""
        if is_view:
            return output.view_as(output)
        # Not a view, so that an activation may still overwrite it in place.
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:  # noqa: ARG004
        """End the backward pass: there is nothing before plain data."""
        return None, None, None
