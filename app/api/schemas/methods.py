"""Methods a policy may name."""

from typing import Any

from pydantic import ConfigDict

from app.api.schemas.base import Output


class MethodOut(Output):
    """A method: what it does, needs and promises, and the JSON Schema of its parameters."""

    model_config = ConfigDict(extra="allow")

    name: str
    title: str
    reference: str
    kinds: list[str]
    needs: list[str]
    assurance: str
    parameters: dict[str, Any]


class MethodsOut(Output):
    """All methods."""

    items: list[MethodOut]
