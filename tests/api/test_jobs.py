"""Jobs over HTTP: live progress that can be resumed, cancellation."""

import threading

import httpx
import pytest

from app.client import ApiProblem, Lethe
from app.domain.actions import running
from app.infra import db
from tests.api.conftest import Service
from tests.api.registered import claim, live_version

DATABASES = ("sqlite", "postgresql")


@pytest.fixture
def job_id(client: Lethe) -> str:
    live = live_version(client)
    shown = client.submit_deletion(live.dataset_id, sample_ids=["s0"])
    return str(shown["targets"][0]["job_id"])


def step(job_id: str, fence: int, phase: str, fraction: float) -> None:
    """Report progress, as a worker would."""
    with db.writing() as tx:
        running.progress(tx, job_id, fence, phase, fraction)


def test_progress_is_followed_to_the_end(client: Lethe, job_id: str) -> None:
    seen: list[dict] = []
    heard = threading.Condition()

    def follow() -> None:
        for event in client.follow_job(job_id):
            with heard:
                seen.append(event)
                heard.notify()

    def wait_for(count: int) -> None:
        with heard:
            assert heard.wait_for(lambda: len(seen) >= count, 20)

    follower = threading.Thread(target=follow)
    follower.start()
    wait_for(1)
    with db.writing() as tx:
        claimed, fence = claim(tx, "unlearn")
    assert claimed == job_id
    wait_for(2)
    step(job_id, fence, "updating", 0.5)
    wait_for(3)
    with db.writing() as tx:
        running.fail(tx, job_id, fence, {"code": "test", "title": "t", "detail": "d"})
    follower.join(20)
    assert not follower.is_alive()

    assert [event["state"] for event in seen] == ["queued", "running", "running", "failed"]
    assert seen[2]["progress"] == {"phase": "updating", "fraction": 0.5}
    assert seen[-1]["done"]
    numbers = [tuple(map(int, event["event_id"].split("-"))) for event in seen]
    assert numbers == sorted(set(numbers))


def test_progress_resumes_after_the_last_event(
    service: Service, client: Lethe, job_id: str
) -> None:
    path = f"/v1/jobs/{job_id}/progress"
    with service.http() as http, http.stream("GET", path) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        first = [next(lines) for _ in range(3)]
    assert first[1] == "event: progress"
    last = first[0].removeprefix("id: ")

    client.cancel_job(job_id)
    with service.http() as http:
        rest = http.get(path, headers={"Last-Event-ID": last})
        assert rest.text.count("event: progress") == 1
        newest = rest.text.splitlines()[0].removeprefix("id: ")
        assert http.get(path, headers={"Last-Event-ID": newest}).status_code == 204
        assert http.get(path, headers={"Last-Event-ID": "nonsense"}).status_code == 200


def test_a_queued_job_is_cancelled_at_once(client: Lethe, job_id: str) -> None:
    assert client.cancel_job(job_id)["state"] == "cancelled"
    assert client.wait_for_job(job_id, 5)["done"]
    with pytest.raises(ApiProblem, match="409"):
        client.cancel_job(job_id)


def test_a_running_job_is_asked_to_stop(client: Lethe, job_id: str) -> None:
    with db.writing() as tx:
        claim(tx, "unlearn")
    shown = client.cancel_job(job_id)
    assert (shown["state"], shown["cancel_requested"]) == ("running", True)


def test_internal_jobs_are_not_shown(client: Lethe, http: httpx.Client) -> None:
    live = live_version(client)  # has left import, validation and curvature jobs behind
    assert [job for job in client.jobs() if job["version_id"] == live.version_id] == []
    for query in ("state=odd", "version_id=x", "request_id=%00"):
        assert http.get(f"/v1/jobs?{query}").status_code == 422
