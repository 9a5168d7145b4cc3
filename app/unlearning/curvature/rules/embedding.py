"""Embedding tables.

The per-row gradient of a table is the sum of the output gradients at equal (row, token) pairs, so
the squares are formed once per distinct pair and added to the token's entry.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from app.unlearning.curvature.rules.recorder import Arguments, Operation, Recorder
from app.unlearning.curvature.rules.use import Use

_NAMES = ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")


class EmbeddingTable(Use):
    """An embedding table, (tokens, features)."""

    def __init__(
        self, slot: int, tokens: Tensor, rows: int, shape: torch.Size, padding: int | None
    ) -> None:
        """Record the tokens.

        Args:
            slot: Which tracked parameter.
            tokens: (rows, ...) int64.
            rows: Rows of the batch.
            shape: Of the table.
            padding: The token whose entry receives no gradient.
        """
        super().__init__(slot)
        self._tokens = tokens.reshape(rows, -1)
        self._shape = shape
        self._padding = None if padding is None else padding % shape[0]

    def add_squares(self, gradient: Tensor, total: Tensor) -> None:
        """Add the sum over rows of the squared per-row table gradients to ``total``."""
        rows, size = self._tokens.shape[0], self._shape[0]
        row = torch.arange(rows, device=self._tokens.device)[:, None]
        pairs, pair = (self._tokens + row * size).unique(return_inverse=True)
        sums = gradient.new_zeros(len(pairs), self._shape[1])
        sums.index_add_(0, pair.flatten(), self._masked(gradient).flatten(0, 1))
        total.index_add_(0, pairs % size, sums.square_().to(total.dtype))

    def row_gradients(self, gradient: Tensor, start: int, stop: int) -> Tensor:
        """Return the table gradients of rows ``start`` to ``stop``."""
        masked = self._masked(gradient)[start:stop]
        tokens = self._tokens[start:stop]
        tables = gradient.new_zeros(len(tokens), *self._shape)
        return tables.scatter_add_(1, tokens[:, :, None].expand_as(masked), masked)

    def add_row_gradients(self, gradient: Tensor, start: int, stop: int, into: Tensor) -> None:
        """Add the table gradients of rows ``start`` to ``stop`` to ``into``."""
        masked, tokens = self._masked(gradient)[start:stop], self._tokens[start:stop]
        for row, (vectors, places) in enumerate(zip(masked, tokens, strict=True)):
            into[row].index_add_(0, places, vectors)

    def columns(self, index: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepare the derivatives with respect to a few entries."""
        token, feature = index // self._shape[1], index % self._shape[1]
        chosen, position = token.unique(return_inverse=True)
        features, place = feature.unique(return_inverse=True)

        def derivatives(gradient: Tensor) -> Tensor:
            hits = (self._tokens[:, None, :] == chosen[None, :, None]).to(gradient.dtype)
            sums = torch.bmm(hits, self._masked(gradient)[:, :, features])
            return sums[:, position, place]

        return derivatives

    def _masked(self, gradient: Tensor) -> Tensor:
        """Return the gradient as (rows, positions, features), zero at padding."""
        split = gradient.reshape(*self._tokens.shape, self._shape[1])
        if self._padding is None:
            return split
        return split.masked_fill((self._tokens == self._padding)[:, :, None], 0.0)


def embedding(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.nn.functional.embedding``.

    Indices without a row axis, such as positions shared by all rows, get one, so that the gradient
    at the output still tells the rows apart.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    call = Arguments.bind(_NAMES, args, kwargs)
    # Renormalising writes to the table, and frequencies couple the rows of a batch.
    if call.get("max_norm") is not None or call.get("scale_grad_by_freq"):
        return None
    slot = recorder.slot(call["weight"])
    tokens: Tensor = call["input"]
    if slot is None or not tokens.dim():
        return None
    rows = recorder.rows
    if tokens.dim() == 1 and recorder.is_rowless(len(tokens)):
        tokens = tokens.expand(rows, -1)
    elif len(tokens) == 1 and rows > 1:
        tokens = tokens.expand(rows, *tokens.shape[1:])
    elif tokens.numel() % rows:
        return None
    call.slots(recorder, "weight")
    call["input"] = tokens
    output: Tensor = operation(**call)
    use = EmbeddingTable(slot, tokens, rows, call["weight"].shape, call.get("padding_idx"))
    return recorder.tap(output, [use])
