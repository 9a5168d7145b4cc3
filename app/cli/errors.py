"""What can go wrong when a command uses the service as a client.

CommandFailed
├── NotStarted      the service did not come up
├── NotAccepted     the service refused what was registered
└── NotFulfilled    a request did not end as it should
"""

from collections.abc import Mapping
from typing import Any


class CommandFailed(Exception):
    """Base of all."""


class NotStarted(CommandFailed):
    """The service did not come up."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the service did not start: {reason}")


class NotAccepted(CommandFailed):
    """The service refused what was registered."""

    def __init__(self, what: str, document: Mapping[str, Any]) -> None:
        super().__init__(f"{what} is {document.get('state')}: {document.get('error')}")


class NotFulfilled(CommandFailed):
    """A request did not end as it should."""

    def __init__(self, document: Mapping[str, Any], errors: object) -> None:
        super().__init__(f"the {document.get('kind')} is {document.get('state')}: {errors}")
