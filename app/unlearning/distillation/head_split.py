"""Where the head of a network begins: the last layers, which hold most of what it memorises.

The layers before the head (the body) stay as they are and map every row to the same features at
every step, so they are run once. For a convolutional network the head is the dense part after the
last convolution; in the networks of the tests it holds nine tenths of the parameters.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from app.unlearning.errors import NotApplicable
from app.unlearning.truncation import is_plain_sequence, layers_in_order

# Layers that a dense part is made of; layers without parameters belong to it too.
_DENSE = (nn.Linear, nn.LayerNorm, nn.BatchNorm1d)
# One linear layer on features that remember says little about what they remember.
_WEIGHT_LAYERS = 2
# A dense part is shortened from the front while the rest holds this share of the parameters.
_SHARE = 0.5


@dataclass(frozen=True)
class HeadSplit:
    """A network cut in two; both parts are made of its own layers.

    Attributes:
        body: The layers that stay; may be empty.
        head: The layers that change; its first layer holds parameters.
        names: Name of a trainable parameter in ``head`` to its name in the network.
    """

    body: nn.Sequential
    head: nn.Sequential
    names: dict[str, str]


def split_head(model: nn.Module, layers: int | None = None) -> HeadSplit:
    """Cut a network where its head begins.

    Args:
        model: A plain sequence of layers; plain sequences inside it are taken apart.
        layers: The head is the last so many layers that hold parameters. None: the shortest run
            of dense layers at the end with at least two of them and half of the network's
            parameters, or all of them if they hold less; where fewer than two layers are dense,
            the two last layers that hold parameters.

    Returns:
        The two parts.

    Raises:
        NotApplicable: The network is no plain sequence, the head would begin with an embedding,
            both parts share a parameter, or nothing is trainable.
    """
    if not is_plain_sequence(model):
        raise NotApplicable("a head can be told only in a plain sequence of layers")
    flat = list(_flattened(model))
    sizes = [sum(p.numel() for p in m.parameters() if p.requires_grad) for _, m in flat]
    holding = [i for i, size in enumerate(sizes) if size]
    if not holding:
        raise NotApplicable("the network has no trainable parameter")
    start = _automatic(flat, sizes) if layers is None else holding[-min(layers, len(holding))]
    if any(isinstance(m, nn.Embedding) for _, one in flat[start:] for m in one.modules()):
        raise NotApplicable("an embedding cannot be part of the head: its inputs are no features")
    parts = [
        nn.Sequential(OrderedDict((str(i), m) for i, (_, m) in part)).train(model.training)
        for part in (list(enumerate(flat))[:start], list(enumerate(flat))[start:])
    ]
    if {id(p) for p in parts[0].parameters()} & {id(p) for p in parts[1].parameters()}:
        raise NotApplicable("the head shares parameters with the layers before it")
    known = {id(p): name for name, p in model.named_parameters()}
    names = {n: known[id(p)] for n, p in parts[1].named_parameters() if p.requires_grad}
    return HeadSplit(parts[0], parts[1], names)


def _flattened(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in layers_in_order(model):
        if is_plain_sequence(child):
            yield from _flattened(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _automatic(flat: list[tuple[str, nn.Module]], sizes: list[int]) -> int:
    """Find the head's first layer.

    Raises:
        NotApplicable: No trainable layer reads features.
    """
    weighty = [i for i, (_, m) in enumerate(flat) if sizes[i] and not _is_norm(m)]
    dense = len(flat)
    while dense and (isinstance(flat[dense - 1][1], _DENSE) or not sizes[dense - 1]):
        dense -= 1
    candidates = [i for i in weighty if i >= dense]
    # Embeddings read indices, which are no features; whatever follows them may be a head.
    first = 1 + max((i for i, (_, m) in enumerate(flat) if isinstance(m, nn.Embedding)), default=-1)
    if len(candidates) < _WEIGHT_LAYERS:
        candidates = [i for i in weighty if i >= first][-_WEIGHT_LAYERS:]
    if not candidates:
        raise NotApplicable("no trainable layer reads features")
    for start in reversed(candidates[: max(1, len(candidates) - _WEIGHT_LAYERS + 1)]):
        if sum(sizes[start:]) >= _SHARE * sum(sizes):
            return start
    return candidates[0]


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._BatchNorm)  # noqa: SLF001 - the one base of all batch norms
