"""What went wrong with a revision, a version or a job, as the document clients read."""

from typing import Any

TITLES = {
    "attempts-exhausted": "The work was tried too often",
    "budget-spent": "What may be done before the network is trained again is used up",
    "cancelled": "The work was stopped on request",
    "gates-failed": "The result did not pass its gates",
    "suppressed-samples": "The content brings back what was deleted or corrected",
    "trained-on-erased-rows": "The weights were trained on rows that are erased",
}


def failure(code: str, detail: str = "", **facts: object) -> dict[str, Any]:
    """Make the document of a failure.

    Args:
        code: Stable name, such as ``missing-columns``.
        detail: A sentence without any id, label or cell of the data.
        **facts: Counts, limits, column names.

    Returns:
        ``{"code", "title", "detail", **facts}``.
    """
    title = TITLES.get(code, code.replace("-", " ").capitalize())
    return {"code": code, "title": title, "detail": detail or title, **facts}
