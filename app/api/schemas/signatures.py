"""Signatures of model files and the keys that verify them."""

from app.api.schemas.base import Output


class ModelKeyOut(Output):
    """A public key that verifies signatures of models, as PEM, and when they count."""

    public_key: str
    valid_from: str | None
    valid_until: str | None


class ModelKeysOut(Output):
    """All keys, oldest first, retired ones included."""

    items: list[ModelKeyOut]
