"""What a method returns, and how it becomes a new network."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from app.unlearning.errors import NonFinite

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None
Assurance = Literal["exact", "certified", "empirical"]

ASKED_BY_POLICY = "asked for by the policy"


@dataclass(frozen=True)
class Update:
    """New values for some parameters, with an account of how they were found.

    Attributes:
        values: Parameter name to its new full tensor, only for tensors that changed; scalars that
            were not selected have the bits they had.
        buffers: Buffer name to its new tensor (retraining, or batch-norm statistics).
        selected: The number of scalars the method was allowed to change.
        assurance: ``exact`` (equals training without the data), ``certified`` (a proved bound) or
            ``empirical`` (measurements only).
        method: The registered name of the method that ran.
        parameters: The hyperparameters it ran with.
        reason: Why this method ran.
        gradient_evaluations: Gradients computed, counted per row.
        rows_read: Distinct rows of the dataset that were read.
        diagnostics: Facts of the run: losses before and after, damping, steps, convergence.
        certified: Of a certified update, or of a training run that makes later ones possible: the
            mechanism, epsilon, delta, noise, bound, what is spent and what is left.
    """

    values: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    selected: int
    assurance: Assurance
    method: str
    parameters: Mapping[str, JSON]
    reason: str
    gradient_evaluations: int
    rows_read: int
    diagnostics: Mapping[str, JSON] = field(default_factory=dict)
    certified: Mapping[str, JSON] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no parameter moved and nothing vouches that none had to.

        A proof does (``exact``, ``certified``), and so does a solver that reports the optimum of
        the edited data reached (``converged``): up to rounding the parameters are then those of
        retraining, and may be those there were. Where a method merely found no better point, all
        that the affected rows left in the parameters is still in them.
        """
        vouched = self.assurance != "empirical" or self.diagnostics.get("converged") is True
        return not self.values and not vouched


def changed_only(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keep the tensors of ``new`` that differ from ``old`` in at least one bit.

    Raises:
        NonFinite: A new value is infinite or not a number.
    """
    for name, tensor in new.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFinite(name)
    return {n: t.detach() for n, t in new.items() if not bool((_bits(old[n]) == _bits(t)).all())}


def apply_update(model: nn.Module, update: Update) -> nn.Module:
    """Return a copy of the network with the update's values; ``model`` is not modified.

    Raises:
        ValueError: The update names a tensor that the network lacks, or has another shape or dtype.
    """
    result = copy.deepcopy(model)
    tensors = dict(result.named_parameters()) | dict(result.named_buffers())
    with torch.no_grad():
        for name, value in (dict(update.values) | dict(update.buffers)).items():
            target = tensors.get(name)
            if target is None or target.shape != value.shape or target.dtype != value.dtype:
                raise ValueError(f"the update does not fit the network at {name}")
            target.copy_(value)
    return result


def changed_scalars(old: nn.Module, new: nn.Module) -> int:
    """Count the trainable scalars whose bits differ between two networks of one architecture.

    Compared as integers, so that two NaNs are equal and 0.0 and -0.0 are not.

    Raises:
        ValueError: The networks do not have the same parameters.
    """
    before = {n: p for n, p in old.named_parameters() if p.requires_grad}
    after = {n: p for n, p in new.named_parameters() if p.requires_grad}
    if {n: p.shape for n, p in before.items()} != {n: p.shape for n, p in after.items()}:
        raise ValueError("the networks have different parameters")
    return sum(int((_bits(p) != _bits(after[name])).sum()) for name, p in before.items())


def _bits(tensor: Tensor) -> Tensor:
    """The tensor's bytes as integers of the same width."""
    integer = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.detach().contiguous().view(integer[tensor.element_size()])
