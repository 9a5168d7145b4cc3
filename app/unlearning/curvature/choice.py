"""Choose between the exact GGN diagonal and its one-pass estimate."""

from typing import Literal

from torch import nn

from app.unlearning.objective import Objective

MOST_COLUMNS = 10
"""Root columns, hence backward passes, up to which the exact diagonal is worth its price."""

SMALL_PARAMETERS = 200_000
"""Parameters up to which a network with shared weights still counts as small."""


def choose_estimator(
    model: nn.Module, objective: Objective, outputs: int | None = None
) -> Literal["ggn", "sketch"]:
    """Say which diagonal to compute: exact where that is cheap, otherwise the sketch.

    Exact for at most ten root columns on a network that is dense (its weight products are shared by
    all backward passes) or small; otherwise random signs, at about the cost of one training pass.

    Args:
        model: The network.
        objective: Its loss.
        outputs: Output columns; None reads them off the last linear or convolutional layer.

    Returns:
        ``ggn`` or ``sketch``.
    """
    if outputs is None:
        outputs = _output_columns(model)
    if objective.name == "binary_cross_entropy":
        columns: float = 1
    elif outputs is None:
        columns = float("inf")
    else:
        columns = outputs - 1 if objective.name == "cross_entropy" else outputs
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)
    dense = not any(isinstance(module, kinds) for module in model.modules())
    size = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    affordable = columns <= MOST_COLUMNS and (dense or size <= SMALL_PARAMETERS)
    return "ggn" if affordable else "sketch"


def _output_columns(model: nn.Module) -> int | None:
    columns = None
    for module in model.modules():
        if isinstance(module, nn.Linear):
            columns = module.out_features
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            columns = module.out_channels
    return columns
