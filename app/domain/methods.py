"""The methods a policy may name, read from the committed list.

``methods.json`` is generated from the registry of ``app.unlearning``, so that this side checks
parameters without torch.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

AUTO = "auto"
RETRAIN = "retrain"


@cache
def _read() -> tuple[dict[str, Any], ...]:
    document: Any = json.loads((Path(__file__).parent / "methods.json").read_text())
    found = document["items"] if isinstance(document, dict) else document
    return tuple(found)


def items() -> list[dict[str, Any]]:
    """Return the methods as the HTTP contract shows them."""
    return list(_read())


def names() -> list[str]:
    """Return the names a policy may use."""
    return [str(item["name"]) for item in _read()]


def schema_of(name: str) -> dict[str, Any] | None:
    """Return the JSON Schema of a method's parameters; None for an unknown method."""
    for item in _read():
        if item["name"] == name:
            schema: dict[str, Any] = item["parameters"]
            return schema
    return None
