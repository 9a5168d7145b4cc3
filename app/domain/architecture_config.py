"""Architectures checked without torch, when a version is registered.

What is allowed comes from ``architectures.json``, generated from the builders themselves.
Besides saying what is wrong and where, the check tells the name, shape and dtype of every
tensor the weights must hold.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from app.domain.layer_arguments import InvalidArchitecture, checked_arguments, escape

SEQUENTIAL = "sequential"
ENTRY_POINT_GROUP = "lethe.architectures"


@dataclass(frozen=True)
class TensorShape:
    """One tensor of an architecture's weights.

    Attributes:
        name: State-dict key.
        shape: Sizes.
        dtype: ``float32`` or ``int64``.
        is_trained: A parameter, not a buffer.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_trained: bool


@dataclass(frozen=True)
class CheckedArchitecture:
    """What is known of an architecture before any weights arrive.

    Attributes:
        tensors: In state-dict order; None where only an installed builder knows them.
    """

    tensors: tuple[TensorShape, ...] | None

    @property
    def parameters(self) -> int | None:
        """Number of trained scalars, or None where only the builder knows it."""
        if self.tensors is None:
            return None
        return sum(math.prod(t.shape) for t in self.tensors if t.is_trained)


def check_architecture(architecture: object, pointer: str = "") -> CheckedArchitecture:
    """Check ``{"builder": ..., "config": {...}}``.

    The configuration of a builder other than ``sequential`` is left to the worker: only the
    builder itself can judge it.

    Args:
        architecture: The parsed JSON.
        pointer: JSON Pointer of the architecture in the request, for the errors.

    Returns:
        What the weights must hold.

    Raises:
        InvalidArchitecture: With the pointer of the first fault.
    """
    if not isinstance(architecture, Mapping):
        raise InvalidArchitecture(pointer, "must be an object")
    _refuse_unknown(architecture, {"builder", "config"}, pointer, "unknown field")
    builder = architecture.get("builder")
    if not isinstance(builder, str):
        raise InvalidArchitecture(f"{pointer}/builder", "must be a string")
    if builder != SEQUENTIAL and builder not in installed_builders():
        raise InvalidArchitecture(f"{pointer}/builder", "unknown builder")
    config = architecture.get("config")
    if not isinstance(config, Mapping):
        raise InvalidArchitecture(f"{pointer}/config", "must be an object")
    if builder != SEQUENTIAL:
        return CheckedArchitecture(None)
    _refuse_unknown(config, {"layers"}, f"{pointer}/config", "unknown field")
    if "layers" not in config:
        raise InvalidArchitecture(f"{pointer}/config/layers", "missing")
    walk = _Walk()
    walk.path(config["layers"], f"{pointer}/config/layers", "", depth=0)
    return CheckedArchitecture(tuple(walk.tensors))


def installed_builders() -> frozenset[str]:
    """Return the names under the entry-point group, without importing any of them."""
    return frozenset(point.name for point in entry_points(group=ENTRY_POINT_GROUP))


def _refuse_unknown(
    described: Mapping[str, Any], known: set[str], pointer: str, reason: str
) -> None:
    for name in described:
        if name not in known:
            raise InvalidArchitecture(f"{pointer}/{escape(name)}", reason)


@cache
def _table() -> dict[str, Any]:
    text = Path(__file__).with_name("architectures.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


class _Walk:
    """One pass over a configuration; collects the tensors met."""

    def __init__(self) -> None:
        self.limits: dict[str, int] = _table()["limits"]
        self.known: dict[str, Any] = _table()["layers"]
        self.layers = 0
        self.elements = 0
        self.tensors: list[TensorShape] = []

    def path(self, described: object, pointer: str, prefix: str, depth: int) -> None:
        if not isinstance(described, list) or not described:
            raise InvalidArchitecture(pointer, "must be a list of at least one layer")
        for i, layer in enumerate(described):
            self.layer(layer, f"{pointer}/{i}", f"{prefix}{i}.", depth)

    def layer(self, described: object, pointer: str, prefix: str, depth: int) -> None:
        if not isinstance(described, dict):
            raise InvalidArchitecture(pointer, "must be an object")
        self.layers += 1
        if self.layers > self.limits["layers"]:
            raise InvalidArchitecture(pointer, f"more than {self.limits['layers']} layers")
        kind = described.get("type")
        if kind == "residual":
            self.block(described, pointer, prefix, depth + 1)
            return
        if not isinstance(kind, str) or kind not in self.known:
            raise InvalidArchitecture(f"{pointer}/type", "unknown layer type")
        given = {name: value for name, value in described.items() if name != "type"}
        values = checked_arguments(self.known[kind], given, pointer, self.limits)
        self.collect(self.known[kind], values, pointer, prefix)

    def block(self, described: dict[str, Any], pointer: str, prefix: str, depth: int) -> None:
        if depth > self.limits["depth"]:
            raise InvalidArchitecture(
                pointer, f"residual blocks nested deeper than {self.limits['depth']}"
            )
        _refuse_unknown(described, {"type", "layers", "shortcut"}, pointer, "unknown argument")
        if "layers" not in described:
            raise InvalidArchitecture(f"{pointer}/layers", "missing")
        self.path(described["layers"], f"{pointer}/layers", f"{prefix}layers.", depth)
        shortcut = described.get("shortcut")
        if shortcut is not None and shortcut != []:
            self.path(shortcut, f"{pointer}/shortcut", f"{prefix}shortcut.", depth)

    def collect(
        self, layer: dict[str, Any], values: dict[str, Any], pointer: str, prefix: str
    ) -> None:
        for tensor in layer["tensors"]:
            if not all(values[flag] for flag in tensor.get("when", ())):
                continue
            sizes: list[int] = []
            for dimension in tensor["shape"]:
                sizes += _sizes(dimension, values, layer["arguments"])
            self.tensors.append(
                TensorShape(
                    prefix + tensor["name"],
                    tuple(sizes),
                    tensor.get("dtype", "float32"),
                    tensor.get("is_trained", True),
                )
            )
            self.elements += math.prod(sizes)
        if self.elements > self.limits["elements"]:
            raise InvalidArchitecture(
                pointer, f"more than {self.limits['elements']} scalars in all tensors"
            )


def _sizes(
    dimension: int | str, values: dict[str, Any], arguments: dict[str, dict[str, Any]]
) -> list[int]:
    """Turn one entry of a tensor's shape into sizes; see ``TensorSpec.shape``."""
    if isinstance(dimension, int):
        return [dimension]
    if dimension.startswith("*"):
        value = values[dimension[1:]]
        if isinstance(value, list):
            return list(value)
        return [value] * (arguments[dimension[1:]].get("rank") or 1)
    whole, _, divisor = dimension.partition("/")
    return [values[whole] // values[divisor] if divisor else values[whole]]
