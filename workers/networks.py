"""A version's network, with its weights mapped from the object store."""

import torch
from torch import nn

from app.domain.catalog import Version
from app.infra.settings import settings
from app.infra.storage import open_store
from app.unlearning import architectures
from workers.weights import load_weights


class WeightsGone(Exception):
    """The version has no weights any more; it was withdrawn meanwhile."""


def open_network(version: Version, device: torch.device) -> nn.Module:
    """Build a version's network and give it its weights.

    Args:
        version: The version.
        device: Where the tensors go; on the CPU they stay mapped from the file.

    Returns:
        The network in eval mode.

    Raises:
        WeightsGone: The weights were destroyed.
        ArchitectureError: The architecture cannot be built.
        WeightsFileError: The file is not a sound safetensors file.
        WeightsMismatch: The weights do not fit the architecture.
    """
    if version.weights_key is None:
        raise WeightsGone
    module = architectures.build(version.architecture)
    with open_store(settings().store_url).local_copy(version.weights_key) as path:
        # The mapping outlives a temporary copy that is removed.
        return load_weights(path, module).to(device).eval()
