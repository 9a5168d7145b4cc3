"""Uploads that lie, stop half-way or come at the wrong time leave nothing behind."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.client import ApiProblem
from app.client.transfers import repr_digest
from tests.e2e.controller import Controller
from tests.e2e.material import COLUMNS, make_material, version_order
from tests.e2e.service import KEY, PATIENCE_SECONDS, Service, eventually
from tests.e2e.traces import Traces

MATERIAL = make_material("lines", seed=35)
WEIGHTS = MATERIAL.weights()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return MATERIAL.parquet(tmp_path_factory.mktemp("content")).read_bytes()


@pytest.fixture(scope="module")
def ready(service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    with Controller(service) as controller:
        return controller.dataset_of(MATERIAL, tmp_path_factory.mktemp("ready"))


@pytest.fixture(scope="module")
def traces(service: Service) -> Iterator[Traces]:
    looking = Traces(service)
    yield looking
    looking.close()


@pytest.fixture(params=["content", "weights"])
def upload(
    request: pytest.FixtureRequest, controller: Controller, ready: str, content: bytes
) -> tuple[str, bytes]:
    """Where a sound file could be put, and the file."""
    if request.param == "content":
        dataset_id = controller.create_dataset("waiting", **COLUMNS)["id"]
        return f"/v1/datasets/{dataset_id}/content", content
    model_id = controller.create_model("waiting")["id"]
    version_id = controller.create_version(model_id, version_order(ready))["id"]
    return f"/v1/models/{model_id}/versions/{version_id}/weights", WEIGHTS


def raw(service: Service, path: str, lines: list[str], body: bytes, *, hang_up: bool) -> bytes:
    """Send a PUT as it stands; return the answer, or nothing after hanging up."""
    head = [f"PUT {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {KEY}", *lines, "", ""]
    with socket.create_connection(("127.0.0.1", service.config.port), timeout=30) as line:
        line.sendall("\r\n".join(head).encode() + body)
        if hang_up:
            time.sleep(0.3)  # the service has begun to store what came
            return b""
        line.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := line.recv(65536):
            answer += piece
        return answer


def state_of(controller: Controller, path: str) -> str:
    return str(controller.get(path.rsplit("/", 1)[0])["state"])


def require_untouched(controller: Controller, path: str) -> None:
    assert state_of(controller, path).startswith("awaiting_")


def test_a_sender_that_hangs_up(
    service: Service, controller: Controller, traces: Traces, upload: tuple[str, bytes]
) -> None:
    path, file = upload
    before = traces.now()
    raw(service, path, [f"Content-Length: {len(file)}"], file[:-1], hang_up=True)
    half = f"{len(file) - 5:x}\r\n".encode() + file[:-5] + b"\r\n"
    raw(service, path, ["Transfer-Encoding: chunked"], half, hang_up=True)
    raw(service, path, [f"Content-Length: {1 << 30}"], file + bytes(8 << 20), hang_up=True)
    traces.require_only(before)
    require_untouched(controller, path)


def test_a_length_that_is_too_long(
    service: Service, controller: Controller, traces: Traces, upload: tuple[str, bytes]
) -> None:
    path, file = upload
    before = traces.now()
    raw(service, path, [f"Content-Length: {len(file) + 1}"], file, hang_up=False)
    traces.require_only(before)
    answer = raw(service, path, ["Content-Length: 99999999999999999"], file, hang_up=False)
    assert answer.startswith(b"HTTP/1.1 413") or answer == b""
    for nonsense in ("-1", "1e3", "0x10", "9" * 5000, "7, 8"):
        answer = raw(service, path, [f"Content-Length: {nonsense}"], file, hang_up=False)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")) or answer == b""
    traces.require_only(before)
    require_untouched(controller, path)


def test_two_lengths_at_once(
    service: Service, controller: Controller, traces: Traces, upload: tuple[str, bytes]
) -> None:
    path, _ = upload
    before = traces.now()
    smuggled = b"0\r\n\r\nDELETE " + path.rsplit("/", 1)[0].encode() + b" HTTP/1.1\r\nHost: x\r\n"
    smuggled += f"Authorization: Bearer {KEY}\r\n\r\n".encode()
    both = ["Transfer-Encoding: chunked", "Content-Length: 3"]
    answer = raw(service, path, both, smuggled, hang_up=False)
    assert b"HTTP/1.1 20" not in answer
    assert state_of(controller, path) != "deleted"
    traces.require_refusal(before, **({"revisions": 1} if path.endswith("content") else {}))


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Repr-Digest": repr_digest(b"another file")}, 422, "digest-mismatch"),
        ({"Repr-Digest": "sha-256=:AAAA:"}, 400, "malformed-digest"),
        ({"Repr-Digest": "sha-256=nonsense"}, 400, "malformed-digest"),
        ({"Content-Encoding": "gzip"}, 400, "compressed-upload"),
        ({"If-Match": '"old.1"'}, 412, "stale-etag"),
        ({"If-Match": "old"}, 400, "malformed-etag"),
        ({"Authorization": "Bearer lethe_" + "x" * 43}, 401, "unauthenticated"),
        ({"Authorization": "Basic eDp4"}, 401, "unauthenticated"),
    ],
)
def test_headers_that_do_not_fit(
    service: Service,
    controller: Controller,
    traces: Traces,
    upload: tuple[str, bytes],
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    path, file = upload
    before = traces.now()
    whole = {"Authorization": f"Bearer {KEY}"} | headers
    answer = httpx.put(service.url + path, content=file, headers=whole, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    traces.require_only(before)
    require_untouched(controller, path)


def test_content_while_the_last_is_being_imported(
    service: Service, controller: Controller, traces: Traces, folder: Path
) -> None:
    dataset_id = controller.create_dataset("busy", **COLUMNS)["id"]
    file = MATERIAL.parquet(folder)
    service.hold("after-claim")
    try:
        controller.upload_content(dataset_id, file)
        eventually(service.paused_at("after-claim").exists)
        before = traces.now()
        for attempt in (
            lambda: controller.upload_content(dataset_id, file),
            lambda: controller.upload_content(dataset_id, b"no Parquet"),
            lambda: controller.delete_dataset(dataset_id),
        ):
            with pytest.raises(ApiProblem) as problem:
                attempt()
            assert (problem.value.status, problem.value.code) == (409, "indexing")
        with pytest.raises(ApiProblem) as problem:
            controller.submit_deletion(dataset_id, sample_ids=MATERIAL.ids[:1])
        assert (problem.value.status, problem.value.code) == (409, "dataset-not-ready")
        traces.require_only(before)
    finally:
        service.release("after-claim")
    assert controller.wait_for_dataset(dataset_id, PATIENCE_SECONDS)["state"] == "ready"
    assert len(list(controller.revisions(dataset_id))) == 1


def test_contents_at_once_are_numbered_or_refused(
    service: Service, controller: Controller, traces: Traces, content: bytes
) -> None:
    dataset_id = controller.create_dataset("crowd", **COLUMNS)["id"]
    before = traces.now()

    def send(_: int) -> str:
        with Controller(service) as other:
            try:
                return str(other.upload_content(dataset_id, content)["state"])
            except ApiProblem as problem:
                return problem.code

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    taken = answers.count("indexing")
    assert controller.wait_for_dataset(dataset_id, PATIENCE_SECONDS)["state"] == "ready"
    # A refusal and an acceptance have one name here; revisions tell how many were accepted.
    revisions = list(controller.revisions(dataset_id))
    assert taken == 6
    assert 1 <= len(revisions) <= 6
    assert {revision["state"] for revision in revisions} == {"ready"}
    files = {name for name in traces.now().files - before.files if "uploads" in name}
    assert files == set()
