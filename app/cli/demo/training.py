"""Networks trained and measured in plain torch, without any part of the service."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

LEVEL = 0.005
"""Held-out accuracy has levelled off at the first epoch within this of the best one."""
MEASURED_ROWS = 1000


@dataclass(frozen=True)
class Plan:
    """How networks of one kind are trained: Adam at a constant rate.

    Attributes:
        build: Makes a fresh network.
        learning_rate: Step size.
        batch_rows: Rows of a step.
        seed: Of the initial parameters and of the order of the rows.
    """

    build: Callable[[], nn.Sequential]
    learning_rate: float
    batch_rows: int
    seed: int

    def recipe(self, epochs: int) -> dict[str, Any]:
        """Return what a version says about its training."""
        return {
            "optimizer": "adam",
            "learning_rate": self.learning_rate,
            "momentum": 0.0,
            "batch_size": self.batch_rows,
            "epochs": epochs,
            "seed": self.seed,
            "schedule": "constant",
            "initialisation_seed": self.seed,
        }


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        model: In eval mode.
        epochs: Passes over the rows.
        seconds: Time spent training; measuring is not counted.
    """

    model: nn.Sequential
    epochs: int
    seconds: float


AfterEpoch = Callable[[Trained], None]


def train(
    plan: Plan, inputs: Tensor, labels: Tensor, epochs: int, after_epoch: AfterEpoch
) -> Trained:
    """Train from scratch.

    Args:
        plan: How.
        inputs: Shape ``(rows, ...)``.
        labels: Shape ``(rows,)``.
        epochs: Passes over the rows.
        after_epoch: Called with the network so far, in eval mode; its own time is not counted.

    Returns:
        The trained network.
    """
    torch.manual_seed(plan.seed)
    model = plan.build()
    optimizer = torch.optim.Adam(model.parameters(), lr=plan.learning_rate)
    generator = torch.Generator().manual_seed(plan.seed)
    seconds = 0.0
    for epoch in range(1, epochs + 1):
        model.train()
        started = time.perf_counter()
        for rows in torch.randperm(len(labels), generator=generator).split(plan.batch_rows):
            optimizer.zero_grad()
            cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()
        seconds += time.perf_counter() - started
        model.eval()
        after_epoch(Trained(model, epoch, seconds))
    return Trained(model, epochs, seconds)


def train_until_level(
    plan: Plan,
    training: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    epochs: int,
    after_epoch: AfterEpoch,
) -> Trained:
    """Train, and return the network as it was when held-out accuracy had levelled off.

    Whatever training went on after that is not counted.

    Args:
        plan: How.
        training: Inputs and labels.
        held_out: Inputs and labels.
        epochs: How far to look for a better accuracy.
        after_epoch: Called after every epoch.

    Returns:
        The network of the first epoch whose accuracy is within ``LEVEL`` of the best.
    """
    seen: list[tuple[float, Trained]] = []

    def keep(trained: Trained) -> None:
        model = copy.deepcopy(trained.model)
        seen.append((accuracy(model, *held_out), Trained(model, trained.epochs, trained.seconds)))
        after_epoch(trained)

    train(plan, *training, epochs, keep)
    best = max(reached for reached, _ in seen)
    return next(trained for reached, trained in seen if reached >= best - LEVEL)


@torch.no_grad()
def losses(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return each row's cross entropy, shape ``(rows,)``."""
    parts = zip(inputs.split(MEASURED_ROWS), labels.split(MEASURED_ROWS), strict=True)
    return torch.cat([cross_entropy(model(x), y, reduction="none") for x, y in parts])


@torch.no_grad()
def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of rows whose label is the network's first choice."""
    choices = torch.cat([model(x).argmax(1) for x in inputs.split(MEASURED_ROWS)])
    return float((choices == labels).double().mean())


def membership_auc(members: Tensor, strangers: Tensor, weights: Tensor) -> float:
    """Return the chance that a member's loss is below a stranger's, ties counting half.

    Args:
        members: Losses of rows that were trained on.
        strangers: Losses of rows that were not.
        weights: How much each stranger counts; gives them the label mix of the members.

    Returns:
        0.5 when the losses do not tell who was trained on.
    """
    below = (members[:, None] < strangers).double() + 0.5 * (members[:, None] == strangers).double()
    return float((below @ weights).mean() / weights.sum())


def same_mix(members: Tensor, strangers: Tensor) -> Tensor:
    """Return weights that give the strangers' labels the mix of the members'.

    Args:
        members: Labels, shape ``(m,)``; each also occurs among the strangers.
        strangers: Labels, shape ``(n,)``.

    Returns:
        Weights of the strangers, float64, shape ``(n,)``.

    >>> same_mix(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])).tolist()
    [2.0, 0.5, 0.5]
    """
    classes = int(torch.cat([members, strangers]).max()) + 1
    wanted = torch.bincount(members, minlength=classes).double()
    there = torch.bincount(strangers, minlength=classes).double()
    return (wanted / there.clamp(min=1))[strangers]


def changed_share(old: nn.Module, new: nn.Module) -> float:
    """Return the share of a network's parameters whose value differs in another one."""
    pairs = list(zip(old.parameters(), new.parameters(), strict=True))
    changed = sum(int((a != b).sum()) for a, b in pairs)
    return changed / sum(a.numel() for a, _ in pairs)
