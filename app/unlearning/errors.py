"""Everything that can go wrong in the numerics.

UnlearningError
├── UnknownMethod        no method is registered under this name
├── BadParameters        a hyperparameter is missing, unknown or out of range
├── NotConverged         a solve or a training run stopped above its tolerance
├── NotApplicable        the method needs something this problem does not have
├── NotConvincing        a result is too far from what the method itself expects of it
├── NothingMoved         every parameter would stay as it was, though rows are to be forgotten
├── BudgetSpent          what may be done to a model before it is trained again is used up
├── NonFinite            a tensor holds NaN or infinity
├── ArchitectureError    an architecture description cannot be built
└── WeightsMismatch      weights do not fit the architecture

Errors carry facts a program can use (names, limits, counts), never ids, labels or features.
"""

from __future__ import annotations

from collections.abc import Sequence


class UnlearningError(Exception):
    """Base of every error raised by this package."""


class UnknownMethod(UnlearningError):
    """No method is registered under this name.

    Attributes:
        name: What was asked for.
        known: The registered names.
    """

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        """Remember the name asked for and the names that exist."""
        self.name = name
        self.known = tuple(known)
        super().__init__(f"no method is called {name!r}; known: {', '.join(self.known) or 'none'}")


class BadParameters(UnlearningError):
    """A hyperparameter is missing, unknown or out of range.

    Attributes:
        pointer: JSON pointer (RFC 6901) to the value at fault, inside the parameters.
        reason: What is wrong with it.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        """Remember where the fault is and what it is."""
        self.pointer = pointer
        self.reason = reason
        super().__init__(f"{pointer or '/'}: {reason}")


class NotConverged(UnlearningError):
    """A solve or a training run stopped above its tolerance.

    Attributes:
        residual: What was reached, in the units of ``tolerance``.
        tolerance: What was asked for.
    """

    def __init__(self, residual: float, tolerance: float) -> None:
        """Remember what was reached and what was asked for."""
        self.residual = residual
        self.tolerance = tolerance
        super().__init__(f"stopped at residual {residual:.3e}, above the tolerance {tolerance:.3e}")


class NotApplicable(UnlearningError):
    """The method needs something this problem does not have.

    Attributes:
        reason: What is missing.
    """

    def __init__(self, reason: str) -> None:
        """Remember what is missing."""
        self.reason = reason
        super().__init__(reason)


class NotConvincing(UnlearningError):
    """A result is too far from what the method itself expects of it.

    Attributes:
        judgement: The method's own distance, in units of what a result may miss by.
        limit: The largest distance that is let through.
    """

    def __init__(self, judgement: float, limit: float) -> None:
        """Remember how far the result is and what was allowed."""
        self.judgement = judgement
        self.limit = limit
        super().__init__(
            f"the method judges its own result at {judgement:.2f}, above {limit:.2f}: it does not "
            "answer the deleted rows as a network would that never saw them"
        )


class NothingMoved(UnlearningError):
    """Every parameter would stay as it was, though rows are to be forgotten."""

    def __init__(self) -> None:
        """Say what that means."""
        super().__init__(
            "the method found no step to take: every parameter would stay as it was, with what the "
            "rows left in it"
        )


class BudgetSpent(UnlearningError):
    """What may be done to a model before it is trained again is used up.

    Attributes:
        name: Which budget.
        used: What would be used of it.
        limit: What it allows.
    """

    def __init__(self, name: str, used: float, limit: float) -> None:
        """Remember the budget, what would be used and what is allowed."""
        self.name = name
        self.used = used
        self.limit = limit
        super().__init__(f"the {name} budget is spent: {used:.4g} of {limit:.4g}")


class NonFinite(UnlearningError):
    """A tensor holds NaN or infinity.

    Attributes:
        name: The tensor at fault.
    """

    def __init__(self, name: str) -> None:
        """Remember the name of the tensor."""
        self.name = name
        super().__init__(f"{name} holds NaN or infinity")


class ArchitectureError(UnlearningError):
    """An architecture description cannot be built.

    Attributes:
        pointer: JSON pointer (RFC 6901) to the part at fault.
        reason: What is wrong with it.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        """Remember where the fault is and what it is."""
        self.pointer = pointer
        self.reason = reason
        super().__init__(f"{pointer or '/'}: {reason}")


class WeightsMismatch(UnlearningError):
    """Weights do not fit the architecture.

    Attributes:
        mismatches: One sentence for each of the first tensors at fault.
        count: How many tensors are at fault in all.
    """

    def __init__(self, mismatches: Sequence[str], count: int | None = None) -> None:
        """Remember the first mismatches and their number."""
        self.mismatches = tuple(mismatches)
        self.count = len(self.mismatches) if count is None else count
        super().__init__(f"{self.count} tensors do not fit: " + "; ".join(self.mismatches))
