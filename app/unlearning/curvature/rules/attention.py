"""Multi-head attention, whose projections hide inside one function of torch.

Attention itself has no parameters: ``scaled_dot_product_attention`` needs no rule. But
``nn.MultiheadAttention`` hands its projections to a function that calls ``linear`` where no tape
looks. The rule spells that function out, with the projections on the tape.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from app.unlearning.curvature.rules.recorder import Arguments, Operation, Recorder

_NAMES = (
    *("query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight"),
    *("in_proj_bias", "bias_k", "bias_v", "add_zero_attn", "dropout_p", "out_proj_weight"),
    *("out_proj_bias", "training", "key_padding_mask", "need_weights", "attn_mask"),
    *("use_separate_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    *("static_k", "static_v", "average_attn_weights", "is_causal"),
)
_UNUSUAL = ("bias_k", "bias_v", "static_k", "static_v")


def multi_head_attention(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Tensor, Tensor | None] | None:
    """Record ``torch.nn.functional.multi_head_attention_forward`` in eval mode.

    Returns:
        Output, (positions, rows, features), and attention weights if they are asked for; None if
        the operation is not for this rule.
    """
    call = Arguments.bind(_NAMES, args, kwargs)
    query: Tensor = call["query"]
    if query.dim() != 3 or query.shape[1] != recorder.rows:
        return None
    if call.get("add_zero_attn") or any(call.get(name) is not None for name in _UNUSUAL):
        return None
    if call.get("training", True) and call["dropout_p"]:
        return None
    query, key, value = (_split(p, call["num_heads"]) for p in _projections(recorder, call))
    weigh = call.get("need_weights", True)
    mixed, weights = _attend(query, key, value, _mask(call, query), weigh=weigh)
    joined = mixed.transpose(1, 2).flatten(2)
    projection = call["out_proj_weight"], call.get("out_proj_bias")
    output: Tensor = recorder.run(functional.linear, (joined, *projection), {})
    if weights is not None and call.get("average_attn_weights", True):
        weights = weights.mean(1)
    return output.transpose(0, 1), weights


def _projections(recorder: Recorder, call: Arguments) -> tuple[Tensor, ...]:
    """Return queries, keys and values, (rows, positions, features) each."""
    given = [call[name] for name in ("query", "key", "value")]
    weight, bias = call["in_proj_weight"], call.get("in_proj_bias")
    if call.get("use_separate_proj_weight"):
        weights = [call[f"{letter}_proj_weight"] for letter in "qkv"]
    elif given[0] is given[1] is given[2]:
        joined = given[0].transpose(0, 1), weight, bias
        together: Tensor = recorder.run(functional.linear, joined, {})
        return together.chunk(3, 2)
    else:
        weights = recorder.run(torch.chunk, (weight, 3), {})
    biases = (None,) * 3 if bias is None else recorder.run(torch.chunk, (bias, 3), {})
    return tuple(
        recorder.run(functional.linear, (part.transpose(0, 1), own, offset), {})
        for part, own, offset in zip(given, weights, biases, strict=True)
    )


def _split(features: Tensor, heads: int) -> Tensor:
    """Return (rows, heads, positions, features of a head)."""
    split: Tensor = features.unflatten(2, (heads, -1))
    return split.transpose(1, 2)


def _mask(call: Arguments, query: Tensor) -> Tensor | None:
    """Return what is added to the scores, broadcasting to (rows, heads, queries, keys)."""
    attention: Tensor | None = call.get("attn_mask")
    padding: Tensor | None = call.get("key_padding_mask")
    if attention is not None:
        attention = _added(attention, query)
        if attention.dim() == 3:
            attention = attention.unflatten(0, query.shape[:2])
    if padding is None:
        return attention
    padding = _added(padding, query)[:, None, None]
    return padding if attention is None else attention + padding


def _added(mask: Tensor, query: Tensor) -> Tensor:
    if mask.is_floating_point():
        return mask
    added: Tensor = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask, -math.inf)
    return added


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, weigh: bool
) -> tuple[Tensor, Tensor | None]:
    if not weigh:
        return functional.scaled_dot_product_attention(query, key, value, mask), None
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
    weights = torch.softmax(scores if mask is None else scores + mask, -1)
    return weights @ value, weights
