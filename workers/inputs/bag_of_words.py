"""Bags of words: which words of a vocabulary a text has."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.infra.rows import Overlay, RowStore
from app.infra.rows.input_kinds import BagOfWordsInputs
from workers.inputs.base import Encoder

_TOKEN = re.compile(r"[a-z0-9']+")


def tokens(text: str) -> list[str]:
    """Return the runs of ``[a-z0-9']`` of a text made lower-case.

    >>> tokens("It's 2 LATE")
    ["it's", '2', 'late']
    """
    return _TOKEN.findall(text.lower())


@dataclass(frozen=True)
class BagOfWordsEncoder(Encoder[BagOfWordsInputs]):
    """Counts, or presence, of the words of a vocabulary; a null text has none."""

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.spec.vocabulary)}

    def encode(
        self,
        store: RowStore,
        rows: NDArray[np.int64],
        overlay: Overlay | None = None,
        device: str = "cpu",
    ) -> Tensor:
        """Return float32 ``(n, words)``, each row of length 1 for ``l2``; see ``Encoder``.

        A text without a word of the vocabulary is all zeros, normalised or not.
        """
        texts, _ = store.read(self.spec.column, rows, overlay)
        bags = np.zeros((len(rows), *self.sample_shape), np.float32)
        for bag, text in zip(bags, texts, strict=True):
            counts = Counter(
                place for token in tokens(text or "") if (place := self._places.get(token, -1)) >= 0
            )
            if counts:
                bag[list(counts)] = 1 if self.spec.weight == "binary" else list(counts.values())
        if self.spec.normalise == "l2":
            lengths = np.linalg.norm(bags, axis=1, keepdims=True)
            np.divide(bags, lengths, out=bags, where=lengths > 0)
        return torch.from_numpy(bags).to(device)
