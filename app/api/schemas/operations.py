"""Health, readiness and version of the service."""

from app.api.schemas.base import Output


class HealthOut(Output):
    """The process answers."""

    status: str


class ReadyOut(Output):
    """Whether the doors are open, each by name: ``ok`` or what is wrong."""

    status: str
    checks: dict[str, str]


class ReleaseOut(Output):
    """Which release this is."""

    name: str
    version: str
    api: str
