"""What watches an import for rows and values that must not come back."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from app.domain.reentry import Verdict
from app.infra.rows import Cell

__all__ = ["Guard", "Verdict"]


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
