"""Train a network by its recipe, the same way every time.

What is minimised is the mean loss over the rows plus half of ``weight_decay`` times the sum of
squares of all parameters: the decay enters the gradient of ``sgd``, ``adam`` and ``lbfgs``;
``adamw`` decays the parameters directly, which is what AdamW is (Loshchilov and Hutter 2019).
Rows are shuffled once for each epoch by a generator seeded by the recipe; anything random inside
the network (dropout) draws from the same seed. On one machine, with the same number of threads,
two runs agree bit for bit.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.unlearning.curvature.evaluation import outputs_of
from app.unlearning.errors import NonFinite, NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.problem import unreported
from app.unlearning.recipe import Recipe
from app.unlearning.rows import Batch, Rows

# Below these L-BFGS gains nothing in float32 and little in float64.
_LBFGS_GRADIENT_TOLERANCE = 1e-10
_LBFGS_CHANGE_TOLERANCE = 1e-16


@dataclass(frozen=True)
class Training:
    """An account of a training run.

    Attributes:
        epochs: Epochs run (for ``lbfgs``: iterations); fewer than the recipe's if stopped early.
        gradient_evaluations: Gradients computed, counted per row.
        loss: Mean loss seen in the last epoch (while the parameters moved), weight decay left out;
            for ``lbfgs`` of the last evaluation, weight decay included.
    """

    epochs: int
    gradient_evaluations: int
    loss: float


def initialise(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a network with the initial parameters of a seed, leaving the global generator alone."""
    with seeded(seed):
        return build()


def train(
    model: nn.Module,
    rows: Rows,
    objective: Objective,
    recipe: Recipe,
    *,
    progress: Callable[[float], None] = unreported,
    after_epoch: Callable[[int, nn.Module], bool] | None = None,
) -> Training:
    """Train ``model`` in place and leave it in eval mode.

    Args:
        model: The network as initialised.
        rows: Training rows; their order matters for the result's bits.
        objective: What is minimised.
        recipe: How.
        progress: Told the fraction done; raising from it aborts.
        after_epoch: Called with the number of epochs done and the network (in eval mode); training
            stops when it returns true. Not called by ``lbfgs``.

    Returns:
        An account of the run.

    Raises:
        NotApplicable: There are no rows.
        NonFinite: The parameters diverged.
    """
    if not len(rows):
        raise NotApplicable("there are no rows to train on")
    with seeded(recipe.seed):
        if recipe.optimizer == "lbfgs":
            result = _train_full_batch(model, rows, objective, recipe, progress)
        else:
            result = _train_mini_batches(model, rows, objective, recipe, progress, after_epoch)
    model.eval()
    _require_finite(model)
    return result


def mean_loss(objective: Objective, model: nn.Module, batch: Batch) -> Tensor:
    """The batch's weighted mean loss, without weight decay; differentiable.

    Zero where no row of the batch counts.
    """
    losses = objective.losses(outputs_of(model, batch.inputs), batch.targets)
    if batch.weights is None:
        return losses.mean()
    total = batch.weights.sum()
    return (losses * batch.weights).sum() / torch.where(total > 0, total, 1.0)


def shuffled(count: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Cut a random order of ``count`` positions into batches.

    A last batch of a single row joins the one before it: batch statistics of one row do not exist.
    """
    parts = list(torch.randperm(count, generator=generator).split(batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators inside the block and restore them after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _train_mini_batches(
    model: nn.Module,
    rows: Rows,
    objective: Objective,
    recipe: Recipe,
    progress: Callable[[float], None],
    after_epoch: Callable[[int, nn.Module], bool] | None,
) -> Training:
    optimizer = _optimizer(model, objective, recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    seen, loss, epoch, step = 0, math.nan, 0, 0
    steps = recipe.epochs * len(shuffled(len(rows), recipe.batch_size, torch.Generator()))
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        total = 0.0
        for positions in shuffled(len(rows), recipe.batch_size, generator):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * _schedule(recipe, step / steps)
            optimizer.zero_grad()
            batch_loss = mean_loss(objective, model, rows.take(positions))
            batch_loss.backward()
            optimizer.step()
            total += float(batch_loss.detach()) * len(positions)
            step += 1
            progress(step / steps)
        seen += len(rows)
        loss = total / len(rows)
        _require_finite(model)
        model.eval()
        if after_epoch is not None and after_epoch(epoch, model):
            break
    return Training(epoch, seen, loss)


def _train_full_batch(
    model: nn.Module,
    rows: Rows,
    objective: Objective,
    recipe: Recipe,
    progress: Callable[[float], None],
) -> Training:
    """L-BFGS on the whole objective, in eval mode: the line search needs a function."""
    model.eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.LBFGS(
        parameters,
        lr=recipe.learning_rate,
        max_iter=recipe.epochs,
        tolerance_grad=_LBFGS_GRADIENT_TOLERANCE,
        tolerance_change=_LBFGS_CHANGE_TOLERANCE,
        history_size=20,
        line_search_fn="strong_wolfe",
    )
    evaluations = 0
    last = math.nan
    weight = sum(batch.total_weight() for batch in rows.batches(recipe.batch_size))

    def evaluate() -> float:
        nonlocal evaluations, last
        optimizer.zero_grad()
        total = 0.0
        for batch in rows.batches(max(recipe.batch_size, 1024)):
            part = mean_loss(objective, model, batch) * (batch.total_weight() / weight)
            part.backward()
            total += float(part.detach().double())
        if objective.weight_decay:
            decay = 0.5 * objective.weight_decay * sum(p.square().sum() for p in parameters)
            torch.as_tensor(decay).backward()
            total += float(torch.as_tensor(decay).detach().double())
        evaluations += 1
        last = total
        progress(min(1.0, evaluations / max(1, recipe.epochs)))
        return total

    iterations = 0
    if recipe.epochs:
        optimizer.step(evaluate)
        iterations = int(optimizer.state[parameters[0]]["n_iter"])
    return Training(iterations, evaluations * len(rows), last)


def _optimizer(model: nn.Module, objective: Objective, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    decay = objective.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=decay
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=recipe.learning_rate, weight_decay=decay)


def _schedule(recipe: Recipe, done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done)) if recipe.schedule == "cosine" else 1.0


def _require_finite(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise NonFinite(name)
