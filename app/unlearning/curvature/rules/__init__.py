"""Rules: how each operation that consumes parameters yields per-row parameter gradients.

To support another operation, write its rule and enter it here. An operation without a rule is
never skipped: its parameters stay visible in the graph, which the tape checks.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional

from app.unlearning.curvature.rules.convolution import convolution
from app.unlearning.curvature.rules.embedding import embedding
from app.unlearning.curvature.rules.linear import addmm, linear
from app.unlearning.curvature.rules.normalisation import batch_norm, group_norm, layer_norm
from app.unlearning.curvature.rules.recorder import Operation, Rule

RULES: Mapping[Operation, Rule] = {
    functional.linear: linear,
    torch.addmm: addmm,
    torch.conv1d: convolution,
    torch.conv2d: convolution,
    functional.conv1d: convolution,
    functional.conv2d: convolution,
    functional.embedding: embedding,
    functional.layer_norm: layer_norm,
    functional.group_norm: group_norm,
    functional.batch_norm: batch_norm,
}
