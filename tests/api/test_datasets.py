"""Datasets: documents, uploads in bounded memory, refusals that leave nothing."""

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from app.client import ApiProblem, Lethe
from app.client.transfers import repr_digest
from app.domain.catalog import Revision
from app.infra import db
from tests.api.conftest import Service
from tests.api.registered import ready_dataset
from tests.api.test_conventions import problem

PARQUET = b"PAR1" + b"\x00" * 1000


def stored(service: Service) -> set[str]:
    """List the files of the object store, unfinished ones too."""
    root = service.home / "store"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def revisions() -> int:
    """Count the revisions of all datasets."""
    with db.reading() as tx:
        return tx.scalar(select(func.count()).select_from(Revision)) or 0


def test_a_dataset_is_registered_uploaded_and_imported(service: Service, client: Lethe) -> None:
    made = client.create_dataset("clothes", id="id", label="label")
    assert made["state"] == "awaiting_content"
    assert made["columns"] == {"id": "id", "subject": None, "split": None, "label": "label"}
    assert made["created_at"].endswith("Z")

    sent = client.upload_content(made["id"], PARQUET)
    assert sent["state"] == "indexing"
    revision = client.revision(made["id"], 1)
    assert revision["state"] == "indexing"
    assert revision["digest"] == f"sha256:{hashlib.sha256(PARQUET).hexdigest()}"

    dataset = client.dataset(ready_dataset(client))
    assert (dataset["state"], dataset["revision"]) == ("ready", 1)
    revision = client.revision(dataset["id"], 1)
    assert (revision["rows"], revision["splits"]) == (20, {"train": 15, "test": 5})
    assert [item["revision"] for item in client.revisions(dataset["id"])] == [1]


def test_the_answer_to_an_upload_says_where_to_look(http: httpx.Client, client: Lethe) -> None:
    dataset_id = client.create_dataset("x", id="id")["id"]
    response = http.put(f"/v1/datasets/{dataset_id}/content", content=PARQUET)
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/datasets/{dataset_id}/revisions/1"
    assert response.headers["retry-after"]
    problem(http.put(f"/v1/datasets/{dataset_id}/content", content=PARQUET), 409, "indexing")


def test_the_place_to_look_says_when_it_is_done_and_what_the_problem_is(
    http: httpx.Client, client: Lethe
) -> None:
    dataset_id = client.create_dataset("x", id="id")["id"]
    place = f"/v1/datasets/{dataset_id}/content"
    refused = http.get(http.put(place, content=b"no Parquet").headers["location"]).json()
    assert (refused["state"], refused["done"]) == ("invalid", True)
    assert refused["error"] == {
        "type": "urn:lethe:problem:not-parquet",
        "title": "Not parquet",
        "status": 422,
        "detail": "the content is not Parquet",
        "code": "not-parquet",
    }
    pending = http.get(http.put(place, content=PARQUET).headers["location"]).json()
    assert (pending["state"], pending["done"], pending["error"]) == ("indexing", False, None)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Repr-Digest": repr_digest(b"something else")}, 422, "digest-mismatch"),
        ({"Repr-Digest": "sha-256=:AAAA:"}, 400, "malformed-digest"),
        ({"Repr-Digest": "sha-256=abc"}, 400, "malformed-digest"),
        ({"Content-Encoding": "gzip"}, 400, "compressed-upload"),
        ({"If-Match": '"stale.1"'}, 412, "stale-etag"),
        ({"If-Match": "stale"}, 400, "malformed-etag"),
    ],
)
def test_a_refused_upload_leaves_nothing(
    service: Service,
    client: Lethe,
    http: httpx.Client,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    dataset_id = client.create_dataset("refused", id="id")["id"]
    before = stored(service), revisions()
    response = http.put(f"/v1/datasets/{dataset_id}/content", content=PARQUET, headers=headers)
    problem(response, status, code)
    assert (stored(service), revisions()) == before
    assert client.dataset(dataset_id)["state"] == "awaiting_content"


def test_a_right_digest_and_tag_pass(client: Lethe, http: httpx.Client) -> None:
    made = client.create_dataset("right", id="id")
    headers = {"Repr-Digest": f"sha-512=:xxxx:, {repr_digest(PARQUET)}", "If-Match": made["etag"]}
    path = f"/v1/datasets/{made['id']}/content"
    assert http.put(path, content=PARQUET, headers=headers).status_code == 202


def test_an_upload_to_nowhere_is_heard_out(service: Service, http: httpx.Client) -> None:
    before = stored(service)
    pieces = (b"x" * 65536 for _ in range(400))
    path = "/v1/datasets/ds_" + "0" * 26 + "/content"
    problem(http.put(path, content=pieces), 404, "not-found")
    assert stored(service) == before


def test_a_client_that_goes_away_leaves_nothing(service: Service, client: Lethe) -> None:
    dataset_id = client.create_dataset("gone", id="id")["id"]
    before = stored(service)

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * (1 << 20)
        raise ConnectionAbortedError

    with service.http() as http, pytest.raises(ConnectionAbortedError):
        http.put(f"/v1/datasets/{dataset_id}/content", content=pieces())
    deadline = time.monotonic() + 20
    while stored(service) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert stored(service) == before
    assert client.dataset(dataset_id)["state"] == "awaiting_content"


def test_a_large_upload_grows_the_process_little(
    service: Service, client: Lethe, tmp_path: Path
) -> None:
    megabytes = 200
    file = tmp_path / "large"
    with file.open("wb") as opened:
        opened.truncate(megabytes << 20)
    dataset_id = client.create_dataset("large", id="id")["id"]
    seen: list[tuple[int, int]] = []
    before = service.memory()["RssAnon"]
    highest = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            highest.append(service.memory()["RssAnon"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        client.upload_content(dataset_id, file, progress=lambda *step: seen.append(step))
    finally:
        done.set()
        watcher.join()
    assert seen[-1] == (megabytes << 20, megabytes << 20)
    assert len(seen) == megabytes
    # A tenth of the file: pieces of a megabyte, a few of them on their way.
    assert max(highest) - before < megabytes * 1024 // 10


def test_reading_again_costs_no_body(http: httpx.Client, client: Lethe) -> None:
    made = client.create_dataset("cached", id="id")
    path = f"/v1/datasets/{made['id']}"
    response = http.get(path, headers={"If-None-Match": f'"other", W/{made["etag"]}'})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == made["etag"]
    assert http.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    problem(http.get(path, headers={"If-None-Match": "other"}), 400, "malformed-etag")


def test_a_deleted_dataset_is_gone(client: Lethe) -> None:
    made = client.create_dataset("deleted", id="id")
    with pytest.raises(ApiProblem, match="412"):
        client.delete_dataset(made["id"], if_match='"x.9"')
    client.delete_dataset(made["id"], if_match=made["etag"])
    with pytest.raises(ApiProblem, match="404"):
        client.dataset(made["id"])
    assert made["id"] not in [item["id"] for item in client.datasets()]


@pytest.mark.parametrize("number", ["0", "x", "-1", "99999999999999999999"])
def test_revision_numbers_are_checked(client: Lethe, http: httpx.Client, number: str) -> None:
    dataset_id = client.create_dataset("numbers", id="id")["id"]
    problem(http.get(f"/v1/datasets/{dataset_id}/revisions/{number}"), 422, "invalid-request")
    problem(http.get(f"/v1/datasets/{dataset_id}/revisions/7"), 404, "not-found")
