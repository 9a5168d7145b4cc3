"""Builders by name, and networks from ``{"builder": ..., "config": {...}}``.

A builder takes the configuration and returns a module, made on the current default device.
Other distributions add theirs under the entry-point group ``lethe.architectures``; a builder
is imported when it is first asked for.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import nn

from app.unlearning.errors import ArchitectureError

ENTRY_POINT_GROUP = "lethe.architectures"

Builder = Callable[[Mapping[str, Any]], nn.Module]

_BUILDERS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Register a builder of this package under a name.

    Args:
        name: The ``builder`` of an architecture.

    Returns:
        A decorator that leaves the builder as it is.

    Raises:
        ValueError: The name is taken.
    """

    def add(builder: Builder) -> Builder:
        if name in _BUILDERS:
            raise ValueError(f"two builders are called {name!r}")
        _BUILDERS[name] = builder
        return builder

    return add


def builder_names() -> tuple[str, ...]:
    """Return the names of all builders, built in and installed, in alphabetical order."""
    return tuple(sorted({*_BUILDERS, *(point.name for point in _installed())}))


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """Build a network without memory for its tensors: on the meta device, in eval mode.

    Give it weights with ``load_state_dict(..., assign=True)``.

    Args:
        architecture: ``{"builder": name, "config": {...}}``.

    Returns:
        The module; every parameter and buffer has its name, shape and dtype, but no values.

    Raises:
        ArchitectureError: The description cannot be built.
    """
    with torch.device("meta"):
        return _build(architecture).eval()


def initialise(architecture: Mapping[str, Any], seed: int) -> nn.Module:
    """Build a network with fresh weights, on the CPU, in train mode.

    The values are those torch gives after ``torch.manual_seed(seed)`` when the same layers are
    made one after the other. The state of the global generator is put back.

    Args:
        architecture: ``{"builder": name, "config": {...}}``.
        seed: Seed of the initialisation.

    Returns:
        The module.

    Raises:
        ArchitectureError: The description cannot be built.
    """
    build(architecture)  # Refuses one that is too large before any memory is asked for.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return _build(architecture).train()


def _build(architecture: Mapping[str, Any]) -> nn.Module:
    for name in architecture:
        if name not in {"builder", "config"}:
            raise ArchitectureError(f"/{name}", "unknown field")
    builder = _find(architecture.get("builder"))
    config = architecture.get("config")
    if not isinstance(config, dict):
        raise ArchitectureError("/config", "must be an object")
    try:
        return builder(config)
    except ArchitectureError:
        raise
    except Exception as error:
        # A builder from elsewhere may raise anything; the fault lies in the description.
        raise ArchitectureError("/config", f"the builder failed: {type(error).__name__}") from error


def _find(name: object) -> Builder:
    if not isinstance(name, str):
        raise ArchitectureError("/builder", "must be a string")
    if name in _BUILDERS:
        return _BUILDERS[name]
    for point in _installed():
        if point.name == name:
            found: Builder = point.load()
            return found
    raise ArchitectureError("/builder", "unknown builder")


def _installed() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=ENTRY_POINT_GROUP))
