"""One connection to the service: requests, problems, retries, pages."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Self
from uuid import uuid4

import httpx

from app.client.errors import ApiProblem, NotDone, Unreachable

Document = dict[str, Any]

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.2
LONGEST_POLL_SECONDS = 20.0


class Connection:
    """Speaks HTTP with the service; thread-safe as far as httpx is.

    Args:
        address: Such as ``http://127.0.0.1:8080``.
        key: API key; None for the endpoints that need none.
        timeout: Seconds without a byte after which a request counts as lost.
    """

    def __init__(self, address: str, key: str | None = None, *, timeout: float = 60.0) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(
            base_url=address, headers=headers, timeout=timeout, trust_env=False
        )

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **parameters: Any) -> Document:
        """Read a document; parameters that are None are left out."""
        return self._document(self._retried("GET", path, params=_given(parameters)))

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        if_match: str | None = None,
    ) -> Document:
        """Post a document; safe to repeat, because it carries an idempotency key."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        if if_match is not None:
            headers["If-Match"] = if_match
        return self._document(self._retried("POST", path, json=body, headers=headers))

    def put(self, path: str, body: Mapping[str, Any], *, if_match: str | None = None) -> Document:
        """Replace a document."""
        headers = {} if if_match is None else {"If-Match": if_match}
        return self._document(self._retried("PUT", path, json=body, headers=headers))

    def delete(self, path: str, *, if_match: str | None = None) -> None:
        """Delete a thing."""
        headers = {} if if_match is None else {"If-Match": if_match}
        self._retried("DELETE", path, headers=headers)

    def pages(self, path: str, *, limit: int = 500, **parameters: Any) -> Iterator[Document]:
        """Yield the items of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.get(path, limit=limit, cursor=cursor, **parameters)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def until_done(self, path: str, timeout: float) -> Document:
        """Long-poll a request or a job until it is done.

        Raises:
            NotDone: It is not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            document = self.get(path, wait=round(max(0.0, min(left, LONGEST_POLL_SECONDS)), 3))
            if document["done"]:
                return document
            if left <= 0:
                raise NotDone(path, timeout, document)

    def until_state_leaves(self, path: str, states: tuple[str, ...], timeout: float) -> Document:
        """Poll a document until its state is none of ``states``.

        Raises:
            NotDone: It still is after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        pause = 0.05
        while (document := self.get(path))["state"] in states:
            if time.monotonic() > deadline:
                raise NotDone(path, timeout, document)
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        return document

    def _retried(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send, again if the network or a part of the service failed.

        Raises:
            Unreachable: It did not answer in the end.
        """
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._http.request(method, path, **arguments)
            except httpx.TransportError as error:
                if attempt == ATTEMPTS:
                    raise Unreachable(f"{method} {path}: {error}") from error
            else:
                is_worth_repeating = (
                    response.status_code == 503 or _code(response) == "idempotency-key-in-flight"
                )
                if not is_worth_repeating or attempt == ATTEMPTS:
                    raise_for_problem(response)
                    return response
            time.sleep(pause)
            pause *= 2
        raise Unreachable(f"{method} {path}")

    def _document(self, response: httpx.Response) -> Document:
        document: Document = response.json()
        if "ETag" in response.headers:
            document["etag"] = response.headers["ETag"]
        return document


def raise_for_problem(response: httpx.Response) -> None:
    """Raise the problem that an answer carries, if it is one.

    Raises:
        ApiProblem: It is.
    """
    if response.is_success or response.status_code == 304:
        return
    document: Any = None
    with suppress(ValueError):
        document = response.json()
    raise ApiProblem(response.status_code, document if isinstance(document, dict) else {})


def _code(response: httpx.Response) -> str:
    if response.status_code != 409:
        return ""
    with suppress(ValueError, AttributeError):
        return str(response.json().get("code"))
    return ""


def _given(parameters: Mapping[str, Any]) -> Document:
    return {name: value for name, value in parameters.items() if value is not None}
