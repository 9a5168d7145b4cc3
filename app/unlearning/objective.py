"""Training objectives: per-row losses and their curvature with respect to the outputs.

The objective of every model here is

    mean over rows of loss(outputs, targets) + weight_decay / 2 * sum of squares of parameters,

all parameters, biases and norm weights included. The loss of one row is

* ``cross_entropy``: softmax cross-entropy, outputs (b, C), targets (b,) int64. Of sequences,
  outputs (b, T, C) and targets (b, T): the mean over the row's tokens of their cross-entropies,
  leaving out tokens whose target is ``IGNORED``; a row of nothing else has the loss 0. A sequence
  is one row: its gradient is that of the mean, not those of its tokens;
* ``binary_cross_entropy``: logistic loss, outputs (b,) or (b, 1), targets (b,) or (b, 1) in [0, 1];
* ``mean_squared_error``: mean over the k output columns of (output - target)^2, outputs (b, k) or
  (b,). The mean, not the sum: its Hessian is (2 / k) I.

The Hessian ``Q`` of each loss with respect to the outputs depends on the targets only through
which tokens are left out and is positive semidefinite, so it has roots ``Q = sum_c r_c r_c^T``.
Back-propagating the columns ``r_c`` gives the generalised Gauss-Newton matrix (Schraudolph 2002);
back-propagating one sum of the columns with random signs gives an unbiased estimate of it in a
single pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from app.unlearning.errors import BadParameters, NotApplicable

LossName = Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error"]

IGNORED = -100
"""The target of a token that does not count, such as padding; torch and its relatives agree."""

_NEVER = torch.iinfo(torch.int64).min
"""A target that no row has: a row with one target cannot do without it."""

_TOGETHER = 2**20
"""Scalars of root columns that are computed together."""


@dataclass(frozen=True)
class Objective:
    """What a model was trained to minimise.

    Attributes:
        name: The loss of one row, see the module.
        weight_decay: Factor of half the squared norm of all parameters, >= 0.
    """

    name: LossName
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the name and the weight decay.

        Raises:
            BadParameters: The loss is unknown, or the weight decay negative or not finite.
        """
        if self.name not in get_args(LossName):
            raise BadParameters("/name", f"unknown loss; known: {', '.join(get_args(LossName))}")
        if not 0.0 <= self.weight_decay < float("inf"):
            raise BadParameters("/weight_decay", "must be a finite number of at least 0")

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, without weight decay.

        Args:
            outputs: (b, C), (b, T, C), (b, k) or (b,), see the module.
            targets: (b,), (b, T) or (b, k).

        Returns:
            (b,), differentiable in ``outputs``.

        Raises:
            NotApplicable: ``binary_cross_entropy`` was given several outputs per row; so do the
                other methods.
        """
        if self.name == "cross_entropy":
            if outputs.dim() == 2:
                return functional.cross_entropy(
                    outputs, targets, ignore_index=_NEVER, reduction="none"
                )
            flat = outputs.flatten(0, -2)
            losses = functional.cross_entropy(
                flat, targets.flatten(), ignore_index=IGNORED, reduction="none"
            )
            return (losses.view(targets.shape) * _shares(outputs, targets)).sum(1)
        if self.name == "binary_cross_entropy":
            _require_one_output(outputs)
            flat = outputs.reshape(len(outputs))
            wanted = targets.reshape(len(outputs)).to(outputs.dtype)
            return functional.binary_cross_entropy_with_logits(flat, wanted, reduction="none")
        flat = outputs.reshape(len(outputs), -1)
        return (flat - targets.reshape(flat.shape).to(flat.dtype)).square().mean(1)

    def output_gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient of each row's loss with respect to its outputs.

        Args:
            outputs: As in :meth:`losses`; not differentiated through.
            targets: As in :meth:`losses`.

        Returns:
            A tensor of the shape of ``outputs``.
        """
        outputs = outputs.detach()
        if self.name == "cross_entropy":
            gradient = torch.softmax(outputs, -1)
            if outputs.dim() == 2:
                return gradient.scatter_(1, targets[:, None], -1.0, reduce="add")
            # Whatever an ignored token's target is replaced by, its share is zero.
            gradient.scatter_(-1, targets[..., None].clamp(min=0), -1.0, reduce="add")
            return gradient.mul_(_shares(outputs, targets)[..., None])
        if self.name == "binary_cross_entropy":
            _require_one_output(outputs)
        wanted = targets.reshape(outputs.shape).to(outputs.dtype)
        if self.name == "binary_cross_entropy":
            return torch.sigmoid(outputs) - wanted
        return (outputs - wanted) * (2.0 / _columns(outputs))

    def drawn_gradient(
        self, outputs: Tensor, noise: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Return the gradient of each row's loss for targets that the model itself draws.

        The model is read as a distribution of targets of which the loss is the negative
        logarithm: categorical, Bernoulli, and for ``mean_squared_error`` normal with variance
        k / 2 in each column. The mean of g g^T is then the Hessian (the Fisher matrix). Each of
        a sequence's T tokens enters with the factor 1 / sqrt(T) in place of 1 / T, which makes
        that true of the mean over tokens as well.

        Args:
            outputs: As in :meth:`losses`; not differentiated through.
            noise: See :meth:`noise_shape`.
            targets: Which tokens of sequences count; None means all.

        Returns:
            A tensor g of the shape of ``outputs``.
        """
        outputs = outputs.detach()
        if self.name == "cross_entropy":
            gradient = torch.softmax(outputs, -1)
            sums = gradient.cumsum(-1)
            # The last sum is one up to rounding, which must not decide.
            drawn = torch.searchsorted(sums, (noise * sums[..., -1])[..., None], right=True)
            drawn.clamp_(max=outputs.shape[-1] - 1)
            gradient.scatter_add_(-1, drawn, gradient.new_full((), -1.0).expand_as(drawn))
            return _scaled(gradient, _shares(outputs, targets).sqrt())
        if self.name == "binary_cross_entropy":
            _require_one_output(outputs)
            probability = torch.sigmoid(outputs)
            return probability - (noise < probability).to(outputs.dtype)
        normal = math.sqrt(2.0) * torch.erfinv(2.0 * noise - 1.0)
        return normal * math.sqrt(2.0 / _columns(outputs))

    def noise_shape(self, outputs: Tensor) -> torch.Size:
        """Return the shape of the noise, uniform in (0, 1), that :meth:`drawn_gradient` takes.

        Args:
            outputs: As in :meth:`losses`.

        Returns:
            One number per distribution: a class has one, every column of a regression its own.
        """
        return outputs.shape[:-1] if self.name == "cross_entropy" else outputs.shape

    def root_columns(self, outputs: Tensor, targets: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the columns of an exact root of each row's output Hessian.

        For the softmax a closed-form triangular factor of diag(p) - p p^T is used (after Tanabe and
        Sagae 1992): one column fewer than classes, since the matrix is singular. It takes no
        differences of probabilities, so those that are nearly one or zero do no harm.

        Args:
            outputs: As in :meth:`losses`; not differentiated through.
            targets: Which tokens of sequences count; None means all.

        Yields:
            Tensors r_c of the shape of ``outputs`` with sum over c of r_c r_c^T = Hessian: C - 1
            of them for ``cross_entropy`` (for each token of a sequence), 1 for
            ``binary_cross_entropy``, k for ``mean_squared_error``.
        """
        outputs = outputs.detach()
        if self.name == "cross_entropy" and outputs.dim() == 2:
            yield from _softmax_root(outputs)
        elif self.name == "cross_entropy":
            factors = _shares(outputs, targets).sqrt()
            for token in range(outputs.shape[1]):
                for column in _softmax_root(outputs[:, token]):
                    root = torch.zeros_like(outputs)
                    root[:, token] = column * factors[:, token, None]
                    yield root
        elif self.name == "binary_cross_entropy":
            yield _logistic_root(outputs)
        else:
            columns = _columns(outputs)
            for position in range(columns):
                root = outputs.new_zeros(len(outputs), columns)
                root[:, position] = math.sqrt(2.0 / columns)
                yield root.view(outputs.shape)

    def root_draw(self, outputs: Tensor, signs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Combine the columns of a root with random signs.

        For the softmax: s = sum over c of eps_c sqrt(p_c) (e_c - p), for which
        E[s s^T] = diag(p) - p p^T. The symmetric-looking root is used here and not the triangular
        one because all classes then share the randomness alike. Tokens have signs of their own.

        Args:
            outputs: As in :meth:`losses`; not differentiated through.
            signs: Independent +1 or -1, of the shape of ``outputs``.
            targets: Which tokens of sequences count; None means all.

        Returns:
            A tensor s of the shape of ``outputs`` with E[s s^T] = Hessian for each row.
        """
        outputs = outputs.detach()
        if self.name == "cross_entropy":
            probabilities = torch.softmax(outputs, -1)
            signed = probabilities.sqrt().mul_(signs)
            sums = signed.sum(-1, keepdim=True)
            return _scaled(
                signed.addcmul_(probabilities, sums, value=-1), _shares(outputs, targets).sqrt()
            )
        if self.name == "binary_cross_entropy":
            return _logistic_root(outputs) * signs
        return signs * math.sqrt(2.0 / _columns(outputs))

    def output_curvature_product(
        self, outputs: Tensor, direction: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Multiply each row's output Hessian by a direction.

        Args:
            outputs: As in :meth:`losses`; not differentiated through.
            direction: A tensor of the shape of ``outputs``.
            targets: Which tokens of sequences count; None means all.

        Returns:
            A tensor of the shape of ``outputs``.
        """
        outputs = outputs.detach()
        if self.name == "cross_entropy":
            probabilities = torch.softmax(outputs, -1)
            weighted = probabilities * direction
            product = weighted - probabilities * weighted.sum(-1, keepdim=True)
            return _scaled(product, _shares(outputs, targets))
        if self.name == "binary_cross_entropy":
            return _logistic_root(outputs).square() * direction
        return direction * (2.0 / _columns(outputs))


def _columns(outputs: Tensor) -> int:
    return outputs[0].numel() if outputs.dim() > 1 else 1


def _shares(outputs: Tensor, targets: Tensor | None) -> Tensor:
    """Return what each softmax contributes to the loss of its row, (b,) or (b, T)."""
    if outputs.dim() == 2:
        return outputs.new_ones(())
    if targets is None:
        return outputs.new_full((), 1.0 / outputs.shape[1]).expand(outputs.shape[:-1])
    counted = (targets != IGNORED).to(outputs.dtype)
    return counted / counted.sum(1, keepdim=True).clamp(min=1.0)


def _scaled(values: Tensor, factors: Tensor) -> Tensor:
    """Multiply in place, by (b, T) factors along the last axis; a single row's factor is one."""
    return values.mul_(factors[..., None]) if factors.dim() else values


def _require_one_output(outputs: Tensor) -> None:
    """Check the shape that the logistic loss is defined for.

    Raises:
        NotApplicable: Rows have several outputs.
    """
    if outputs.shape[1:].numel() != 1:
        raise NotApplicable("binary_cross_entropy needs a network with one output")


def _logistic_root(outputs: Tensor) -> Tensor:
    _require_one_output(outputs)
    # sigmoid(-z) instead of 1 - sigmoid(z): the latter is 0 in float32 from z = 17 on.
    return (torch.sigmoid(outputs) * torch.sigmoid(-outputs)).sqrt()


def _softmax_root(logits: Tensor) -> Iterator[Tensor]:
    """Yield the columns of R with R R^T = diag(p) - p p^T, for p = softmax(logits).

    With q_c = sum of p_j over j < c: R_cc = sqrt(p_c q_c / q_{c+1}) and R_jc = -(p_j / q_c) R_cc
    for j < c, from c = 1 on. Where q_c is too small for a number, so are both.
    """
    probabilities = torch.softmax(logits, 1)
    sums = probabilities.cumsum(1).clamp_(min=torch.finfo(logits.dtype).tiny)
    diagonals = (sums[:, :-1] / sums[:, 1:]).mul_(probabilities[:, 1:]).sqrt_()
    factors = (diagonals / sums[:, :-1]).neg_().t()[:, :, None]
    last = logits.shape[1] - 1
    step = max(1, _TOGETHER // max(1, logits.numel()))
    for start in range(0, last, step):
        stop = min(start + step, last)
        columns = probabilities * factors[start:stop]  # (columns, b, C)
        columns.masked_fill_(_beyond(last + 1, start, stop, logits.device), 0.0)
        columns.diagonal(start + 1, 0, 2).copy_(diagonals[:, start:stop])
        yield from columns


@lru_cache(maxsize=16)
def _beyond(classes: int, start: int, stop: int, device: torch.device) -> Tensor:
    """Return where the columns ``start + 1`` to ``stop`` of a triangular root are zero."""
    mask = torch.ones(stop - start, classes, dtype=torch.bool, device=device)
    return mask.triu_(start + 1)[:, None]
