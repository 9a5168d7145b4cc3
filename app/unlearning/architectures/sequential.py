"""The ``sequential`` builder: a list of allowed layers, with residual blocks.

    {"layers": [{"type": "linear", "in_features": 4, "out_features": 8}, {"type": "relu"},
                {"type": "residual", "layers": [...], "shortcut": [...]}]}

State-dict keys are those of ``torch.nn.Sequential``: ``0.weight``; inside a residual block
``<i>.layers.<j>.weight`` and ``<i>.shortcut.<j>.weight``.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from app.unlearning.architectures.arguments import check_arguments, escape
from app.unlearning.architectures.blocks import Residual
from app.unlearning.architectures.layers import LAYERS, MAX_DEPTH, MAX_ELEMENTS, MAX_LAYERS
from app.unlearning.architectures.registry import register
from app.unlearning.errors import ArchitectureError


@register("sequential")
def build_sequential(config: Mapping[str, Any]) -> nn.Module:
    """Build the network a configuration describes, on the current default device.

    Layers are made in the order of the list, a block's ``layers`` before its ``shortcut``, so
    that a seeded initialisation draws what the same ``torch.nn.Sequential`` would draw.

    Args:
        config: ``{"layers": [...]}``.

    Returns:
        A ``torch.nn.Sequential``.

    Raises:
        ArchitectureError: The configuration is not allowed; the pointer starts at ``/config``.
    """
    for name in config:
        if name != "layers":
            raise ArchitectureError(f"/config/{escape(name)}", "unknown field")
    if "layers" not in config:
        raise ArchitectureError("/config/layers", "missing")
    return _Construction().path(config["layers"], "/config/layers", depth=0)


class _Construction:
    """One walk over a configuration; counts what has been made so far."""

    def __init__(self) -> None:
        self.layers = 0
        self.elements = 0

    def path(self, described: object, pointer: str, depth: int) -> nn.Sequential:
        if not isinstance(described, list) or not described:
            raise ArchitectureError(pointer, "must be a list of at least one layer")
        return nn.Sequential(*[
            self.layer(one, f"{pointer}/{i}", depth) for i, one in enumerate(described)
        ])

    def layer(self, described: object, pointer: str, depth: int) -> nn.Module:
        if not isinstance(described, dict):
            raise ArchitectureError(pointer, "must be an object")
        self.layers += 1
        if self.layers > MAX_LAYERS:
            raise ArchitectureError(pointer, f"more than {MAX_LAYERS} layers")
        kind = described.get("type")
        if kind == "residual":
            return self.block(described, pointer, depth + 1)
        if not isinstance(kind, str) or kind not in LAYERS:
            raise ArchitectureError(f"{pointer}/type", "unknown layer type")
        given = {name: value for name, value in described.items() if name != "type"}
        check_arguments(LAYERS[kind], given, pointer)
        module = LAYERS[kind].module(**given)
        self.count(module, pointer)
        return module

    def block(self, described: Mapping[str, Any], pointer: str, depth: int) -> nn.Module:
        if depth > MAX_DEPTH:
            raise ArchitectureError(pointer, f"residual blocks nested deeper than {MAX_DEPTH}")
        for name in described:
            if name not in {"type", "layers", "shortcut"}:
                raise ArchitectureError(f"{pointer}/{escape(name)}", "unknown argument")
        if "layers" not in described:
            raise ArchitectureError(f"{pointer}/layers", "missing")
        layers = self.path(described["layers"], f"{pointer}/layers", depth)
        shortcut = described.get("shortcut")
        if shortcut is None or shortcut == []:
            return Residual(layers)
        return Residual(layers, self.path(shortcut, f"{pointer}/shortcut", depth))

    def count(self, module: nn.Module, pointer: str) -> None:
        # On the meta device, where this runs first, tensors of any size cost nothing.
        self.elements += sum(tensor.numel() for tensor in module.state_dict().values())
        if self.elements > MAX_ELEMENTS:
            raise ArchitectureError(pointer, f"more than {MAX_ELEMENTS} scalars in all tensors")
