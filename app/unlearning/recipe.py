"""How a network was trained, as far as it is needed to train it again."""

from dataclasses import dataclass
from typing import Literal, get_args

Optimizer = Literal["sgd", "adam", "adamw", "lbfgs"]
Schedule = Literal["constant", "cosine"]
Trained = Literal["all", "last_layer"]


@dataclass(frozen=True)
class Perturbation:
    """Noise in the training objective: a draw b of normal numbers, and ``<b, parameters>``.

    It is added to the *sum* over the rows of loss plus weight decay (in the mean objective: divided
    by the number of rows), and only to the parameters that are trained. b itself is not declared:
    whoever knows it can take it off.

    Attributes:
        standard_deviation: Of each component of b; > 0.
        gradient_norm: At most the norm of the gradient of the summed objective, b included, at the
            weights as they are stored: what training left; >= 0.
    """

    standard_deviation: float
    gradient_norm: float

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A field is out of its range.
        """
        if not 0 < self.standard_deviation < float("inf"):
            raise ValueError("standard_deviation must be positive")
        if not 0 <= self.gradient_norm < float("inf"):
            raise ValueError("gradient_norm must not be negative")


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
        trained: Which parameters training moved; with ``last_layer`` the layers before it were
            never fitted to these rows and stay as they are.
        perturbation: Noise in the objective; None for none.
    """

    optimizer: Optimizer
    learning_rate: float
    batch_size: int
    epochs: int
    momentum: float = 0.0
    seed: int = 0
    schedule: Schedule = "constant"
    initialisation_seed: int = 0
    trained: Trained = "all"
    perturbation: Perturbation | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A field is out of its range.
        """
        if self.optimizer not in get_args(Optimizer):
            raise ValueError(f"unknown optimizer {self.optimizer!r}")
        if self.schedule not in get_args(Schedule):
            raise ValueError(f"unknown schedule {self.schedule!r}")
        if self.trained not in get_args(Trained):
            raise ValueError(f"unknown parameters {self.trained!r}")
        if not self.learning_rate > 0:
            raise ValueError("learning_rate must be positive")
        if not 0 <= self.momentum < 1:
            raise ValueError("momentum must be in [0, 1)")
        if self.batch_size < 1 or self.epochs < 0:
            raise ValueError("batch_size must be at least 1 and epochs not negative")
