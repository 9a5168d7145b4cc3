"""What watches an import for rows and values that must not come back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.infra.rows import Cell


@dataclass(frozen=True)
class Verdict:
    """What a guard found in a batch of ``n`` rows.

    Attributes:
        drop: Mask ``(n,)`` of rows that are suppressed.
        replace: Cells that hold an old value: column, position in the batch, corrected cell.
        offending: How many of what was found, by name, for the refusal's counts.
    """

    drop: NDArray[np.bool_]
    replace: Sequence[tuple[str, int, Cell]] = ()
    offending: Mapping[str, int] = field(default_factory=dict)


class Guard(Protocol):
    """Looks at every batch of an import."""

    @property
    def mode(self) -> Literal["refuse", "drop"]:
        """Whether a finding refuses the file or is taken out of it."""
        ...

    def inspect(
        self,
        ids: Sequence[str],
        subjects: Sequence[str | None],
        cell: Callable[[str], Sequence[Cell]],
    ) -> Verdict:
        """Judge a batch.

        Args:
            ids: One per row; empty where the file has none.
            subjects: One per row; None for nobody.
            cell: Returns the canonical cells of a column of the batch, by its name. It raises
                ``KeyError`` for a column that this file does not have.

        Returns:
            What is to be dropped and replaced.
        """
        ...
