"""What went wrong with a revision, a version or a job, as a problem document (RFC 9457)."""

from collections.abc import Mapping
from typing import Any

TYPE_PREFIX = "urn:lethe:problem:"
UNUSABLE = 422
STATUSES = {"attempts-exhausted": 500, "unexpected-error": 500, "cancelled": 409}
"""Where it was not what the client sent that could not be used."""


def problem_of(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the problem document of a failure.

    Args:
        error: As ``app.domain.failures.failure`` makes it; None for no failure.

    Returns:
        ``type, title, status, detail, code`` and the failure's own facts, or None.
    """
    if error is None:
        return None
    code = str(error["code"])
    return {
        "type": f"{TYPE_PREFIX}{code}",
        "title": error["title"],
        "status": STATUSES.get(code, UNUSABLE),
        **error,
    }
