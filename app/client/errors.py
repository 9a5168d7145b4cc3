"""What can go wrong between a client and the service.

ClientError
├── ApiProblem     the service answered with a problem document
├── Unreachable    the service did not answer, tried several times
├── NotDone        something was not done within the time allowed
└── DigestWrong    the bytes received are not those announced
"""

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Base of all."""


class ApiProblem(ClientError):
    """The service answered with a problem document (RFC 9457).

    Attributes:
        status: HTTP status.
        code: Stable code, such as ``not-found``.
        title: One line.
        detail: What exactly.
        errors: Fields at fault: ``pointer``, ``code``, ``detail``.
        document: The whole document.
    """

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(document.get("code", "unknown"))
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", ""))
        self.errors: list[dict[str, str]] = list(document.get("errors", ()))
        self.document = dict(document)
        fields = "".join(f"; {e.get('pointer')}: {e.get('detail')}" for e in self.errors[:5])
        super().__init__(f"{status} {self.code}: {self.detail}{fields}")


class Unreachable(ClientError):
    """The service did not answer."""


class NotDone(ClientError):
    """Something was not done within the time allowed.

    Attributes:
        document: What it looked like at last.
    """

    def __init__(self, what: str, seconds: float, document: Mapping[str, Any]) -> None:
        state = document.get("state")
        super().__init__(f"{what} is still {state} after {seconds:.0f} seconds")
        self.document = dict(document)


class DigestWrong(ClientError):
    """The bytes received are not those announced."""
