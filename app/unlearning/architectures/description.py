"""The allow-list as JSON, for processes without torch."""

from dataclasses import fields
from typing import Any

from app.unlearning.architectures import layers
from app.unlearning.architectures.layers import LAYERS, Argument, Layer, TensorSpec


def describe() -> dict[str, Any]:
    """Return limits, layers, their arguments, rules and tensors as plain JSON.

    Fields that hold their default are left out; the dataclasses of ``layers`` say what the
    others mean.

    Returns:
        ``{"limits": {...}, "layers": {name: {"arguments", "tensors", "rules"}}}``.
    """
    return {
        "limits": {
            "layers": layers.MAX_LAYERS,
            "depth": layers.MAX_DEPTH,
            "elements": layers.MAX_ELEMENTS,
            "size": layers.MAX_SIZE,
            "dimensions": layers.MAX_DIMENSIONS,
        },
        "layers": {name: _layer(layer) for name, layer in LAYERS.items()},
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "arguments": {name: _stated(argument) for name, argument in layer.arguments.items()},
        "tensors": [_stated(tensor) for tensor in layer.tensors],
        "rules": [list(rule) for rule in layer.rules],
    }


def _stated(value: Argument | TensorSpec) -> dict[str, Any]:
    stated = {f.name: getattr(value, f.name) for f in fields(value)}
    defaults = {f.name: f.default for f in fields(value)}
    return {
        name: list(item) if isinstance(item, tuple) else item
        for name, item in stated.items()
        if item != defaults[name] or type(item) is not type(defaults[name])
    }
