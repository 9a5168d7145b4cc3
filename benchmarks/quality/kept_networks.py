"""Trained networks in a folder, so that a study can be repeated without training them again."""

from collections.abc import Callable
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn


def trained_or_kept(
    folder: Path | None,
    name: str,
    build: Callable[[], nn.Module],
    train: Callable[[], nn.Module],
) -> nn.Module:
    """The network of the folder, or one trained now.

    Args:
        folder: Networks trained earlier are read from here, others are written; None: neither.
        name: Of the network in the folder; should tell everything that its values depend on.
        build: Makes a network of the same architecture.
        train: Makes the trained network.

    Returns:
        The network, in eval mode.
    """
    file = None if folder is None else folder / f"{name}.safetensors"
    if file is not None and file.exists():
        model = build().eval()
        with safe_open(file, "pt") as kept:
            model.load_state_dict({key: kept.get_tensor(key) for key in kept.keys()})  # noqa: SIM118 - no mapping
            return model
    model = train()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), file)
    return model
