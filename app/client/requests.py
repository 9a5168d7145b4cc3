"""Requests, jobs and the audit trail, as the client sees them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from app.client.connection import Connection, Document, raise_for_problem
from app.client.errors import Unreachable

PATIENCE_SECONDS = 600.0


class Requests(Connection):
    """Files requests and follows them."""

    def submit_deletion(
        self,
        dataset_id: str,
        *,
        sample_ids: Sequence[str] = (),
        subject_ids: Sequence[str] = (),
        labels: Sequence[int | float | str] = (),
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Document:
        """Ask for samples to be forgotten; ``more``: regulation, submitted_at, reference."""
        body = _deletion(dataset_id, sample_ids, subject_ids, labels) | more
        return self.post("/v1/deletion-requests", body, idempotency_key=idempotency_key)

    def preview_deletion(
        self,
        dataset_id: str,
        *,
        sample_ids: Sequence[str] = (),
        subject_ids: Sequence[str] = (),
        labels: Sequence[int | float | str] = (),
    ) -> Document:
        """Show what a deletion would reach."""
        body = _deletion(dataset_id, sample_ids, subject_ids, labels)
        return self.post("/v1/deletion-requests/preview", body)

    def submit_correction(
        self,
        dataset_id: str,
        *,
        corrections: Sequence[Mapping[str, Any]] = (),
        feature_removal: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Document:
        """Ask for values to be put right; ``more``: regulation, submitted_at, reference."""
        body = _correction(dataset_id, corrections, feature_removal) | more
        return self.post("/v1/corrections", body, idempotency_key=idempotency_key)

    def preview_correction(
        self,
        dataset_id: str,
        *,
        corrections: Sequence[Mapping[str, Any]] = (),
        feature_removal: Mapping[str, Any] | None = None,
    ) -> Document:
        """Show what a correction would reach."""
        body = _correction(dataset_id, corrections, feature_removal)
        return self.post("/v1/corrections/preview", body)

    def request(self, request_id: str) -> Document:
        """Read a request."""
        return self.get(f"/v1/requests/{request_id}")

    def requests(self, **filters: Any) -> Iterator[Document]:
        """Yield requests; filters: state, kind, regulation, due_before, model_id."""
        return self.pages("/v1/requests", **filters)

    def search_requests(self, **filters: Any) -> Iterator[Document]:
        """Yield requests, also by ``reference``."""
        cursor: str | None = None
        while True:
            path = "/v1/requests/search?limit=500" + (f"&cursor={cursor}" if cursor else "")
            page = self.post(path, filters)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def wait_for_request(self, request_id: str, timeout: float = PATIENCE_SECONDS) -> Document:
        """Wait until a request is done."""
        return self.until_done(f"/v1/requests/{request_id}", timeout)

    def events(self, request_id: str) -> Iterator[Document]:
        """Yield a request's audit entries, oldest first."""
        return self.pages(f"/v1/requests/{request_id}/events")

    def cancel_request(self, request_id: str, *, if_match: str | None = None) -> Document:
        """Cancel a request of which no job has started."""
        return self.post(f"/v1/requests/{request_id}/cancellation", if_match=if_match)

    def retry_request(self, request_id: str, *, if_match: str | None = None) -> Document:
        """Try again what has failed."""
        return self.post(f"/v1/requests/{request_id}/retry", if_match=if_match)

    def job(self, job_id: str) -> Document:
        """Read a job."""
        return self.get(f"/v1/jobs/{job_id}")

    def jobs(self, **filters: Any) -> Iterator[Document]:
        """Yield jobs; filters: state, version_id, request_id."""
        return self.pages("/v1/jobs", **filters)

    def wait_for_job(self, job_id: str, timeout: float = PATIENCE_SECONDS) -> Document:
        """Wait until a job is done."""
        return self.until_done(f"/v1/jobs/{job_id}", timeout)

    def cancel_job(self, job_id: str, *, if_match: str | None = None) -> Document:
        """Cancel a job."""
        return self.post(f"/v1/jobs/{job_id}/cancellation", if_match=if_match)

    def follow_job(self, job_id: str, *, last_event_id: str = "") -> Iterator[Document]:
        """Yield a job's document whenever it changes, until it is done.

        A broken connection is resumed after the last event that came through. Each document
        carries its event's id as ``event_id``.

        Raises:
            Unreachable: The service does not answer at all.
        """
        done = False
        while not done:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": last_event_id}
            heard = False
            try:
                with self._http.stream(
                    "GET", f"/v1/jobs/{job_id}/progress", headers=headers
                ) as response:
                    if response.status_code == 204:
                        return
                    if not response.is_success:
                        response.read()
                        raise_for_problem(response)
                    for event in _events(response.iter_lines()):
                        heard = True
                        last_event_id = event["event_id"]
                        done = event["done"]
                        yield event
            except httpx.TransportError as error:
                if not heard:
                    raise Unreachable(f"job {job_id}: {error}") from error

    def audit_entries(self, **filters: Any) -> Iterator[Document]:
        """Yield audit entries; filters: request_id, job_id, version_id, type, after."""
        return self.pages("/v1/audit/entries", **filters)


def _events(lines: Iterator[str]) -> Iterator[Document]:
    """Read server-sent events (HTML standard, section 9.2) whose data is one JSON line."""
    event_id, data = "", ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            event_id = value
        elif name == "data":
            data += value
        elif not line and data:
            document: Document = json.loads(data)
            yield {**document, "event_id": event_id}
            data = ""


def _deletion(
    dataset_id: str,
    sample_ids: Sequence[str],
    subject_ids: Sequence[str],
    labels: Sequence[int | float | str],
) -> Document:
    return {
        "dataset_id": dataset_id,
        "sample_ids": list(sample_ids),
        "subject_ids": list(subject_ids),
        "labels": list(labels),
    }


def _correction(
    dataset_id: str,
    corrections: Sequence[Mapping[str, Any]],
    feature_removal: Mapping[str, Any] | None,
) -> Document:
    body: Document = {"dataset_id": dataset_id, "corrections": [dict(c) for c in corrections]}
    if feature_removal is not None:
        body["feature_removal"] = dict(feature_removal)
    return body
