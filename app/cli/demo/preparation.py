"""What happens before the service is asked: networks are trained on wrong and on right labels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from app.cli.demo.digits import Digits, load_digits
from app.cli.demo.network import plan
from app.cli.demo.training import Trained, train, train_until_level

RowMask = NDArray[np.bool_]


@dataclass(frozen=True)
class Prepared:
    """Digits of one seed and the networks trained on them.

    Attributes:
        seed: Of everything.
        digits: The rows.
        flipped: Trained with the wrong labels: what a controller has deployed.
        corrected: Trained from scratch on the right labels, until held-out accuracy had levelled
            off; its seconds are the retraining time of the correction.
        without_writer: The same without the rows of the writer who leaves.
    """

    seed: int
    digits: Digits
    flipped: Trained
    corrected: Trained
    without_writer: Trained

    @property
    def is_of_writer(self) -> RowMask:
        """Rows of the writer who asks for deletion."""
        mask: RowMask = self.digits.writers == self.digits.leaving_writer()
        return mask


def prepare(seed: int, most_epochs: int, progress: Progress) -> Prepared:
    """Train the three networks of one seed, for equally many epochs.

    Args:
        seed: Of everything.
        most_epochs: How far to look for the epoch at which accuracy levels off.
        progress: Gets a bar.

    Returns:
        The networks.
    """
    digits = load_digits(seed)
    training, held_out = ~digits.is_held_out, digits.is_held_out
    bar = progress.add_task(f"seed {seed}: training on the right labels", total=most_epochs)

    def advance(_: Trained) -> None:
        progress.advance(bar)

    def again(mask: RowMask, labels: NDArray[np.int64], title: str) -> Trained:
        progress.reset(bar, total=corrected.epochs, description=f"seed {seed}: {title}")
        return train(plan(seed), *tensors(digits, mask, labels), corrected.epochs, advance)

    corrected = train_until_level(
        plan(seed),
        tensors(digits, training, digits.truth),
        tensors(digits, held_out, digits.truth),
        most_epochs,
        advance,
    )
    flipped = again(training, digits.labels, "training on the flipped labels")
    others = training & (digits.writers != digits.leaving_writer())
    without_writer = again(others, digits.truth, "training without one writer")
    progress.remove_task(bar)
    return Prepared(seed, digits, flipped, corrected, without_writer)


def tensors(digits: Digits, mask: RowMask, labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return inputs and labels of the chosen rows."""
    return digits.inputs(mask), torch.from_numpy(labels[mask])
