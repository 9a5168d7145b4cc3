"""How a network was trained, as far as it is needed to train it again."""

from dataclasses import dataclass
from typing import Literal, get_args

Optimizer = Literal["sgd", "adam", "adamw", "lbfgs"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Recipe:
    """A training recipe; what it does is said in :mod:`app.unlearning.training`.

    Attributes:
        optimizer: ``lbfgs`` runs on the full batch with a strong Wolfe line search.
        learning_rate: Step size; > 0.
        batch_size: Rows of a step; >= 1; ignored by ``lbfgs`` but for memory.
        epochs: Passes over the rows; for ``lbfgs`` the largest number of iterations.
        momentum: For ``sgd``; in [0, 1).
        seed: Order of the rows and whatever the network draws while training.
        schedule: ``cosine`` lowers the step size to zero over the whole run.
        initialisation_seed: Seed of the initial parameters.
    """

    optimizer: Optimizer
    learning_rate: float
    batch_size: int
    epochs: int
    momentum: float = 0.0
    seed: int = 0
    schedule: Schedule = "constant"
    initialisation_seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A field is out of its range.
        """
        if self.optimizer not in get_args(Optimizer):
            raise ValueError(f"unknown optimizer {self.optimizer!r}")
        if self.schedule not in get_args(Schedule):
            raise ValueError(f"unknown schedule {self.schedule!r}")
        if not self.learning_rate > 0:
            raise ValueError("learning_rate must be positive")
        if not 0 <= self.momentum < 1:
            raise ValueError("momentum must be in [0, 1)")
        if self.batch_size < 1 or self.epochs < 0:
            raise ValueError("batch_size must be at least 1 and epochs not negative")
