"""Leave out the part of a network that a method does not change.

If only the last layers change, the layers before them map every row to the same features at every
step. They are run once; the method then works on the rest of the network with the features as its
rows. Gradients and curvature of the remaining parameters are the same, and losses up to the
constant weight decay of the others, at a fraction of the cost (a share of a percent for the dense
head of a small convolutional network).
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from app.unlearning.problem import Problem
from app.unlearning.rows import Batch, Rows, TensorRows, empty

# Features are kept in memory; above this many bytes the whole network is used instead.
FEATURE_BYTES_LIMIT = 1 << 29


def tail_names(model: nn.Module, at_least: int) -> tuple[str, ...]:
    """The parameters of the shortest run of last layers that holds ``at_least`` scalars.

    Args:
        model: The network.
        at_least: Trainable scalars wanted.

    Returns:
        Names of trainable parameters; all of them for a network that is not a plain sequence of
        layers.
    """
    every = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    if not is_plain_sequence(model):
        return tuple(every)
    kept: list[str] = []
    for child in reversed([name for name, _ in layers_in_order(model)]):
        kept = [n for n in every if n.split(".", 1)[0] == child] + kept
        if sum(every[n] for n in kept) >= at_least:
            break
    return tuple(kept)


def truncate(problem: Problem, names: Collection[str], *, batch_size: int = 256) -> Problem:
    """Return an equivalent problem on the last layers only, or the problem itself.

    The new network is made of the old one's own layers under their old names. It begins with the
    first layer that holds one of ``names``. Stored curvature and row weights are kept; held-out
    rows and the means of retraining are not.

    Args:
        problem: The problem.
        names: Parameters that may change.
        batch_size: Rows of a forward pass.

    Returns:
        The problem on features; ``problem`` itself when nothing would be saved: the network is not
        a plain sequence, the first layers have no parameters or share some with the last ones, or
        the features would not fit.
    """
    model = problem.model
    if not is_plain_sequence(model) or not names:
        return problem
    children = layers_in_order(model)
    chosen = {name.split(".", 1)[0] for name in names}
    start = next(i for i, (name, _) in enumerate(children) if name in chosen)
    first = nn.Sequential(OrderedDict(children[:start])).train(model.training)
    rest = nn.Sequential(OrderedDict(children[start:])).train(model.training)
    shared = {id(p) for p in first.parameters()} & {id(p) for p in rest.parameters()}
    if shared or not any(True for _ in first.parameters()):
        return problem
    sets = (problem.forget, problem.replacement, problem.retained)
    width = feature_bytes(first, sets)
    if width * sum(len(rows) for rows in sets) > FEATURE_BYTES_LIMIT:
        return problem
    forget, replacement, retained = (FeatureRows(first, rows, batch_size) for rows in sets)
    return replace(
        problem,
        model=rest,
        forget=forget,
        replacement=replacement,
        retained=retained,
        holdout=None,
        recipe=None,
        full_retained=None,
        untouched=None,
        build=None,
    )


def is_plain_sequence(model: nn.Module) -> bool:
    """Whether running the children one after the other is what the network does."""
    return (
        type(model).forward is nn.Sequential.forward
        and not any(True for _ in model.named_parameters(recurse=False))
        and not has_hooks(model)
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether functions of somebody's own run before or after the module's."""
    before, after = module._forward_pre_hooks, module._forward_hooks  # noqa: SLF001 - torch offers no public way to ask
    return bool(before or after)


def layers_in_order(sequence: nn.Module) -> list[tuple[str, nn.Module]]:
    """The children of a plain sequence with their names, in the order they run.

    One that stands in several places, such as an activation, is listed at each of them;
    ``named_children`` lists it once.
    """
    names = [name for name, _ in sequence.named_modules(remove_duplicate=False)]
    return [(name, sequence.get_submodule(name)) for name in names if name and "." not in name]


def feature_bytes(first: nn.Module, sets: Iterable[Rows]) -> int:
    """Bytes of one row's features; 0 if there are no rows."""
    for rows in sets:
        if len(rows):
            with torch.no_grad():
                one: Tensor = first(rows.take(torch.zeros(1, dtype=torch.int64)).inputs)
            return one.numel() * one.element_size()
    return 0


def _channels_last(inputs: Tensor) -> Tensor:
    """Images in the memory layout that pooling on a processor is several times faster in."""
    return inputs.to(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs


@dataclass(frozen=True)
class FeatureRows:
    """Rows with the first layers' outputs as their inputs, computed at the first use and kept.

    Attributes:
        first: The first layers.
        rows: The rows as they are.
        batch_size: Rows of a forward pass.
    """

    first: nn.Module
    rows: Rows
    batch_size: int

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream all rows in order, at most ``size`` at a time."""
        return self._computed.batches(size)

    def take(self, positions: Tensor) -> Batch:
        """Return the rows at ``positions``."""
        return self._computed.take(positions)

    @cached_property
    def _computed(self) -> Rows:
        inputs, targets, weights = [], [], []
        with torch.no_grad():
            for batch in self.rows.batches(self.batch_size):
                inputs.append(self.first(_channels_last(batch.inputs)))
                targets.append(batch.targets)
                weights.append(batch.weights)
        if not inputs:
            return empty()
        joined = None
        if any(w is not None for w in weights):
            joined = torch.cat([
                torch.ones(len(x), dtype=x.dtype, device=x.device) if w is None else w
                for x, w in zip(inputs, weights, strict=True)
            ])
        return TensorRows(torch.cat(inputs), torch.cat(targets), joined)
