"""The figures of the table, computed outside the service on the weights it publishes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from app.cli.demo.digits import CLASSES
from app.cli.demo.preparation import Prepared, RowMask, tensors
from app.cli.demo.training import accuracy, losses, membership_auc, same_mix


@dataclass(frozen=True)
class Figures:
    """One network, measured.

    Attributes:
        accuracy: On held-out rows with the right labels.
        loss: Mean cross entropy on the same rows.
        auc: Membership AUC of the rows that the request is about; 0.5 is no trace.
    """

    accuracy: float
    loss: float
    auc: float


def after_correction(prepared: Prepared, model: nn.Module) -> Figures:
    """Measure how a network stands to the flipped labels.

    Membership: is the wrong label of a flipped row likelier than the same wrong label of a row
    that was never trained on?
    """
    digits = prepared.digits
    wrong = (digits.truth + 1) % CLASSES
    return _figures(prepared, model, digits.is_flipped, digits.is_held_out, wrong)


def after_deletion(prepared: Prepared, model: nn.Module) -> Figures:
    """Measure how a network stands to the deleted rows, on held-out rows of the other writers."""
    digits = prepared.digits
    own = prepared.is_of_writer
    held_out = digits.is_held_out & ~own
    return _figures(prepared, model, own & ~digits.is_held_out, held_out, digits.truth)


def _figures(
    prepared: Prepared,
    model: nn.Module,
    members: RowMask,
    held_out: RowMask,
    suspected: np.ndarray,
) -> Figures:
    """Measure; membership is of the ``members`` under their ``suspected`` labels."""
    digits = prepared.digits
    right = tensors(digits, held_out, digits.truth)
    member_inputs, member_labels = tensors(digits, members, suspected)
    stranger_inputs, stranger_labels = tensors(digits, held_out, suspected)
    is_comparable = torch.isin(member_labels, stranger_labels)
    member_inputs, member_labels = member_inputs[is_comparable], member_labels[is_comparable]
    return Figures(
        accuracy=accuracy(model, *right),
        loss=float(losses(model, *right).double().mean()),
        auc=membership_auc(
            losses(model, member_inputs, member_labels),
            losses(model, stranger_inputs, stranger_labels),
            same_mix(member_labels, stranger_labels),
        ),
    )
