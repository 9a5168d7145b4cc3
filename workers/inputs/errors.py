"""What can go wrong when rows become tensors.

InputsError
└── UnusableTargets   labels are missing or do not fit the objective

A wrong declaration is ``app.infra.rows.BadInputs``.
"""


class InputsError(Exception):
    """Base of what this package raises on purpose."""


class UnusableTargets(InputsError):
    """Labels are missing or do not fit the objective.

    Attributes:
        count: How many rows of the batch are at fault.
    """

    def __init__(self, reason: str, count: int) -> None:
        super().__init__(f"{count} rows of a batch: {reason}")
        self.count = count
