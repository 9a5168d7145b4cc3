"""Rules: how each operation that consumes parameters yields per-row parameter gradients.

To support another operation, write its rule and enter it here. An operation without a rule is
never skipped: its parameters stay visible in the graph, which the tape checks. Operations without
parameters, such as activations, pooling and scaled-dot-product attention, need no rule.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional

from app.unlearning.curvature.rules.attention import multi_head_attention
from app.unlearning.curvature.rules.convolution import convolution
from app.unlearning.curvature.rules.embedding import embedding
from app.unlearning.curvature.rules.free import elementwise, expand
from app.unlearning.curvature.rules.linear import addmm, linear, matmul
from app.unlearning.curvature.rules.normalisation import (
    batch_norm,
    group_norm,
    layer_norm,
    rms_norm,
)
from app.unlearning.curvature.rules.recorder import Operation, Rule

_ELEMENTWISE = ("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_")

RULES: Mapping[Operation, Rule] = {
    functional.linear: linear,
    torch.addmm: addmm,
    torch.matmul: matmul,
    torch.mm: matmul,
    torch.Tensor.matmul: matmul,
    torch.Tensor.mm: matmul,
    torch.conv1d: convolution,
    torch.conv2d: convolution,
    torch.conv3d: convolution,
    functional.conv1d: convolution,
    functional.conv2d: convolution,
    functional.conv3d: convolution,
    functional.embedding: embedding,
    functional.layer_norm: layer_norm,
    functional.rms_norm: rms_norm,
    functional.group_norm: group_norm,
    functional.batch_norm: batch_norm,
    functional.multi_head_attention_forward: multi_head_attention,
    torch.Tensor.expand: expand,
    torch.Tensor.expand_as: expand,
    **{getattr(torch.Tensor, name): elementwise for name in _ELEMENTWISE},
    **{getattr(torch, name): elementwise for name in ("add", "sub", "mul", "div")},
}
