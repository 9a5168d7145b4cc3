"""Run the layers that two networks share once instead of twice.

A sparse update leaves the first layers of a network bit-identical; to measure it before and after,
they need not be run for both. What is measured is the same: the last layers see the outputs of the
first ones, whoever computed them.
"""

from collections import OrderedDict
from dataclasses import fields, replace

import torch
from torch import nn

from app.unlearning.rows import Rows
from app.unlearning.truncation import (
    FEATURE_BYTES_LIMIT,
    FeatureRows,
    feature_bytes,
    is_plain_sequence,
    layers_in_order,
)
from app.unlearning.verification.evaluation import BATCH_SIZE
from app.unlearning.verification.measurements import RowSets


def without_shared_layers(
    before: nn.Module, after: nn.Module, sets: RowSets
) -> tuple[nn.Module, nn.Module, RowSets]:
    """Return the last layers of two networks and, as rows, what the first ones make of the rows.

    Args:
        before: A network in eval mode.
        after: Another one of the same architecture, in eval mode.
        sets: The rows to measure on.

    Returns:
        Two networks and rows that give the same outputs; the arguments themselves when nothing
        would be saved: the networks are not plain sequences, their first layers differ or have no
        parameters, or the features would not fit into memory.
    """
    if not (is_plain_sequence(before) and is_plain_sequence(after)):
        return before, after, sets
    shared = _shared_children(before, after)
    first = nn.Sequential(OrderedDict(layers_in_order(before)[:shared])).eval()
    rows = {id(found): found for found in sets.present().values()}
    count = sum(len(found) for found in rows.values())
    is_worth_it = any(True for _ in first.parameters())
    if not is_worth_it or feature_bytes(first, rows.values()) * count > FEATURE_BYTES_LIMIT:
        return before, after, sets
    # One object for one set: what is observed once stays observed once.
    seen: dict[int, Rows] = {
        key: FeatureRows(first, found, BATCH_SIZE) for key, found in rows.items()
    }
    named = {field.name: getattr(sets, field.name) for field in fields(sets)}
    features = replace(sets, **{name: seen.get(id(found), found) for name, found in named.items()})
    return _from(before, shared), _from(after, shared), features


def _shared_children(before: nn.Module, after: nn.Module) -> int:
    """Count the first children that have the same parameters and buffers in both networks."""
    count = 0
    pairs = zip(layers_in_order(before), layers_in_order(after), strict=True)
    for (_, one), (_, other) in pairs:
        tensors = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        if not all(torch.equal(a, b) for a, b in tensors):
            break
        count += 1
    return count


def _from(network: nn.Module, start: int) -> nn.Module:
    return nn.Sequential(OrderedDict(layers_in_order(network)[start:])).eval()
