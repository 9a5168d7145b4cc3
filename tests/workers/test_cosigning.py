"""What the log signs is cosigned by witnesses, and goes on when they do not answer."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.cli.witness import trust
from app.domain.fsck import Fault, inspect
from app.domain.log import Cosignature
from app.domain.queries import evidence
from app.domain.queries import log as reads
from app.domain.requests import Request
from app.infra import clock, signing
from app.infra.db import reading, writing
from app.infra.migrate import upgrade_to_head
from app.infra.settings import Settings, settings
from app.ledger.checkpoints import Checkpoint, verify_quorum
from app.ledger.notes import Note, verify_note
from app.ledger.signers import Witness
from app.ledger.trust import Quorum
from app.ledger.verify import Expectations, Key, Refused, verify_evidence
from app.ledger.witnessing import Submission
from tests import builders as make
from tests.domain.conftest import forget_settings
from tests.ledger.case import WITNESSES
from tests.sealed import append, seal, trusted
from tests.servers import free_port
from tests.witness.witnesses import RunningWitness, running
from workers.cosigning import Announcing, Cosigning, loops
from workers.supervision import Sealer

HOUR = timedelta(hours=1)
Answer = Callable[[bytes], tuple[int, bytes]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path / "home"))
    forget_settings()
    upgrade_to_head(f"sqlite:///{tmp_path / 'home' / 'lethe.db'}")
    yield tmp_path / "home"
    forget_settings()


@contextmanager
def witnesses(folder: Path, count: int) -> Iterator[list[RunningWitness]]:
    """Run witnesses that know our log, and tell the service about them."""
    if not count:
        yield []
        return
    with witnesses(folder, count - 1) as others, running(folder / f"w{count}") as started:
        trust(started.home, str(signing.keyring().keys[0].trusted.key))
        yield [*others, started]


def configure(home: Path, running: list[RunningWitness], quorum: str) -> None:
    lines = [f"witness w{n} {w.key} {w.address}" for n, w in enumerate(running, 1)]
    names = " ".join(f"w{n}" for n in range(1, len(running) + 1))
    (home / "witnesses.txt").write_text(
        "\n".join([*lines, f"group g {quorum} {names}", "quorum g"])
    )
    forget_settings()


def tick(running: list[RunningWitness]) -> None:
    for n, witness in enumerate(running, 1):
        Cosigning(f"w{n}", witness.key, witness.address, HOUR).tick()


def shown() -> Note:
    with reading() as tx:
        return Note.parse(reads.note_of(tx, reads.checkpoint(tx)))


def cosigners(note: Note, running: list[RunningWitness]) -> list[int]:
    return [n for n, witness in enumerate(running, 1) if note.by(witness.key)]


def test_every_checkpoint_is_cosigned_by_every_witness(home: Path, tmp_path: Path) -> None:
    with witnesses(tmp_path, 2) as running:
        configure(home, running, "all")
        for entries in (1, 3, 300):
            append(entries)
            size = seal()
            assert cosigners(shown(), running) == []
            tick(running)
            note = shown()
            keys = [witness.key for witness in running]
            verify_quorum(note, keys, Quorum.of(2, keys))
            verify_note(note, [key.trusted.key for key in signing.keyring().keys])
            assert Checkpoint.parse(note.text).size == size
        with capture_logs() as logs:
            tick(running)
        assert logs == []


def test_evidence_leads_to_a_cosigned_checkpoint(home: Path, tmp_path: Path) -> None:
    with witnesses(tmp_path, 2) as running:
        configure(home, running, "2")
        request = fulfilled()
        with reading() as tx:
            early = evidence.files(tx, tx.get_one(Request, request))
        expected = expectations(request, running)
        with pytest.raises(Refused, match="QuorumMissed"):
            verify_evidence(early, expected)
        tick(running)
        with reading() as tx:
            cosigned = reads.checkpoint(tx)
        append(5)
        seal()
        tick(running[:1])
        with reading() as tx:
            newer = reads.checkpoint(tx)
            files = evidence.files(tx, tx.get_one(Request, request))
        # The newest checkpoint lacks a witness; that before it has both and holds everything.
        assert Checkpoint.parse(Note.parse(files["checkpoint.txt"]).text).size == cosigned.size
        verify_evidence(files, expected)
        for pin in (cosigned.note, newer.note):
            verify_evidence(files, expectations(request, running, pin))


def fulfilled() -> str:
    """A deletion that is done, certified and sealed."""
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    make.make_version(tenant, make.make_model(tenant), dataset)
    request = make.delete(tenant, dataset, "s0")
    make.work_off()
    Sealer().tick()
    return request


def expectations(
    request: str, running: list[RunningWitness], pinned: bytes | None = None
) -> Expectations:
    """What a reader wants who trusts the log and these witnesses, all of which must cosign."""
    return Expectations(
        keys=trusted(),
        witnesses=tuple(Key.parse(str(witness.key)) for witness in running),
        is_quorum=lambda cosigners: len(cosigners) == len(running),
        request_id=request,
        pinned=pinned,
    )


def test_a_witness_that_is_down_holds_nothing_up(home: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    down = Cosigning("down", WITNESSES[0].key, address, HOUR)
    (home / "witnesses.txt").write_text(f"witness down {down.key} {address}\nquorum down\n")
    forget_settings()
    with capture_logs() as logs:
        request = fulfilled()
        for _ in range(3):
            down.tick()
            append(1)
            Sealer().tick()
    [failed] = [entry for entry in logs if entry["event"] == "outward.failed"]
    assert (failed["log_level"], failed["name"]) == ("warning", "witness down")
    assert address not in str(logs)
    with reading() as tx:
        files = evidence.files(tx, tx.get_one(Request, request))
        newest = reads.checkpoint(tx)
    assert files["checkpoint.txt"] == newest.note
    verify_evidence(files, expectations(request, []))


def test_a_witness_that_comes_back_cosigns_what_it_missed(home: Path, tmp_path: Path) -> None:
    with witnesses(tmp_path, 1) as [witness]:
        configure(home, [witness], "1")
        loop = Cosigning("w1", witness.key, witness.address, HOUR)
        append(2)
        seal()
        loop.tick()
        kept = witness
    append(2)
    seal()
    loop.tick()
    with running(kept.home) as again, capture_logs() as logs:
        loop.url, loop._patience._wait_until = again.address, 0.0
        append(2)
        size = seal()
        loop.tick()
        assert Checkpoint.parse(shown().text).size == size
        assert shown().by(again.key)
    assert [entry["event"] for entry in logs] == ["outward.recovered"]


def test_a_cosignature_is_renewed_while_the_log_rests(home: Path, tmp_path: Path) -> None:
    append(1)
    seal()
    with witnesses(tmp_path, 1) as [witness]:
        tick([witness])
        first = shown()
        tick([witness])
        assert shown() == first
        with writing() as tx:
            [row] = tx.query(Cosignature)
            row.cosigned_at = clock.now() - 2 * HOUR
        tick([witness])
        with reading() as tx:
            [row] = tx.query(Cosignature)
        assert clock.now() - row.cosigned_at < HOUR
        assert shown().text == first.text


def test_what_the_service_forgot_about_a_witness_it_learns(home: Path, tmp_path: Path) -> None:
    append(4)
    seal()
    with witnesses(tmp_path, 1) as [witness]:
        tick([witness])
        with writing() as tx:
            tx.query(Cosignature).delete()
        append(4)
        seal()
        loop = Cosigning("w1", witness.key, witness.address, HOUR)
        with capture_logs() as logs:
            loop.tick()
            assert cosigners(shown(), [witness]) == []
            loop.tick()
        assert cosigners(shown(), [witness]) == [1]
        assert logs == []


def test_a_database_that_was_rolled_back_is_noticed_by_the_witness(
    home: Path, tmp_path: Path
) -> None:
    """Even where the checkpoint that the signer keeps was lost with the database."""
    append(3)
    seal()
    with witnesses(tmp_path, 1) as [witness]:
        append(4)
        seal()
        tick([witness])
        forget_settings()
        for name in ("lethe.db", "lethe.db-wal", "lethe.db-shm", "log.checkpoint"):
            (home / name).unlink(missing_ok=True)
        upgrade_to_head(f"sqlite:///{home / 'lethe.db'}")
        loop = Cosigning("w1", witness.key, witness.address, HOUR)
        for entries, events in ((3, ["witness.ahead", "outward.failed"]), (4, ["witness.refused"])):
            append(entries, {"other": "history"})
            seal()
            with capture_logs() as logs:
                for _ in range(2):
                    loop._patience._wait_until = 0.0
                    loop.tick()
            found = [entry["event"] for entry in logs]
            assert set(events) <= set(found)
            assert {e["log_level"] for e in logs if e["event"] == events[0]} == {"critical"}
        assert cosigners(shown(), [witness]) == []


class Impostor:
    """Somebody else's server that answers as it likes."""

    def __init__(self, answer: Answer) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken.append(body)
                status, content = answer(body)
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:9/")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        taken = self.taken = list[bytes]()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self) -> "Impostor":
        threading.Thread(target=self.server.serve_forever).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def signed_by(witness: Witness, size: int | None = None) -> Answer:
    def answer(body: bytes) -> tuple[int, bytes]:
        checkpoint = Checkpoint.parse(Submission.parse(body).note.text)
        if size is not None:
            checkpoint = Checkpoint(checkpoint.origin, size, checkpoint.root)
        return 200, str(witness.cosign(checkpoint, clock.now())).encode()

    return answer


def always(status: int, content: bytes) -> Answer:
    return lambda _: (status, content)


TRUE, FALSE = WITNESSES[0], WITNESSES[1]


@pytest.mark.parametrize(
    "answer",
    [
        signed_by(FALSE),
        signed_by(Witness(TRUE.name, FALSE.private)),
        signed_by(TRUE, size=1000),
        always(200, b""),
        always(200, b"\xff\xfe"),
        always(200, b"x" * 100_000),
        always(302, b""),
        always(404, b""),
        always(409, b"a lot\n"),
        always(409, b"999999\n"),
        always(409, b"-1\n"),
        always(422, b""),
        always(500, b""),
    ],
)
def test_no_answer_of_a_witness_does_harm(home: Path, answer: Answer) -> None:
    append(3)
    seal()
    with Impostor(answer) as impostor, capture_logs() as logs:
        loop = Cosigning("w1", TRUE.key, impostor.address, HOUR)
        for _ in range(3):
            loop._patience._wait_until = 0.0
            loop.tick()
        append(1)
        seal()
    assert len(impostor.taken) in {1, 3}
    with reading() as tx:
        assert tx.query(Cosignature).count() == 0
    assert any(entry["event"] == "outward.failed" for entry in logs)
    assert len(shown().signatures) == 1


def test_lines_of_others_beside_that_of_the_witness_are_ignored(home: Path) -> None:
    append(3)
    seal()

    def answer(body: bytes) -> tuple[int, bytes]:
        return 200, signed_by(FALSE)(body)[1] + signed_by(TRUE)(body)[1]

    with Impostor(answer) as impostor:
        Cosigning("w1", TRUE.key, impostor.address, HOUR).tick()
    assert [line.name for line in shown().signatures[1:]] == [TRUE.name]


def test_every_checkpoint_goes_to_the_file_and_the_webhook(home: Path, tmp_path: Path) -> None:
    with Impostor(always(204, b"")) as hook:
        config = settings().model_copy(update={"announce_file": tmp_path / "newest"})
        url = Settings(home=home, announce_url=hook.address).announce_url  # type: ignore[arg-type]  # pydantic wraps it
        made = loops(config.model_copy(update={"announce_url": url}))
        for entries in (1, 4):
            append(entries)
            seal()
            for _ in range(2):
                for loop in made:
                    loop.tick()
            assert (tmp_path / "newest").read_bytes() == bytes(shown())
        assert [Checkpoint.parse(Note.parse(note).text).size for note in hook.taken] == [1, 5]
        assert hook.taken[-1] == bytes(shown())
    assert (tmp_path / "newest").stat().st_mode & 0o777 == 0o644


def test_a_webhook_that_fails_gets_the_newest_later(home: Path) -> None:
    status = [500]
    with Impostor(lambda _: (status[0], b"")) as hook, capture_logs() as logs:
        url = Settings(home=home, announce_url=hook.address).announce_url  # type: ignore[arg-type]  # pydantic wraps it
        [loop] = loops(settings().model_copy(update={"announce_url": url}))
        assert isinstance(loop, Announcing)
        append(1)
        seal()
        loop.tick()
        loop.tick()
        status[0] = 200
        append(1)
        seal()
        loop._patience._wait_until = 0.0
        loop.tick()
    sizes = [Checkpoint.parse(Note.parse(note).text).size for note in hook.taken]
    assert sizes == [1, 2]
    assert [entry["event"] for entry in logs] == ["outward.failed", "outward.recovered"]


def test_an_announcement_waits_for_the_witnesses_a_while(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bytes] = []
    loop = Announcing("test", given.append, Quorum.of(1, [TRUE.key]))
    append(1)
    seal()
    loop.tick()
    assert given == []
    with Impostor(signed_by(TRUE)) as witness:
        Cosigning("w1", TRUE.key, witness.address, HOUR).tick()
    loop.tick()
    assert given == [bytes(shown())]
    append(1)
    seal()
    loop.tick()
    assert len(given) == 1
    monkeypatch.setattr("workers.cosigning.UNCOSIGNED_SECONDS", 0.0)
    loop.tick()
    assert given[1:] == [bytes(shown())]


def test_a_changed_cosignature_is_found(home: Path) -> None:
    append(2)
    seal()
    with Impostor(signed_by(TRUE)) as witness:
        Cosigning("w1", TRUE.key, witness.address, HOUR).tick()
    assert faults() == []
    for change in (
        {"line": str(FALSE.cosign(Checkpoint.parse(shown().text), clock.now()))},
        {"cosigned_at": clock.now() + HOUR},
        {"witness": str(FALSE.key)},
    ):
        with writing() as tx:
            [row] = tx.query(Cosignature)
            for name, value in change.items():
                setattr(row, name, value)
            tx.flush()
            found: list[Fault] = []
            inspect(tx, found)
            tx.rollback()
        assert [fault.name for fault in found] == ["bad-cosignature"]


def faults() -> list[Fault]:
    found: list[Fault] = []
    with reading() as tx:
        inspect(tx, found)
    return found


def test_the_supervision_has_witnesses_cosign_and_stops_although_one_hangs(
    home: Path, tmp_path: Path
) -> None:
    with witnesses(tmp_path, 1) as [witness], socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        (home / "witnesses.txt").write_text(
            f"witness w1 {witness.key} {witness.address}\n"
            f"witness silent {FALSE.key} http://127.0.0.1:{port}\nquorum w1\n"
        )
        append(3)
        environment = {**os.environ, "LETHE_ANNOUNCE_FILE": str(tmp_path / "newest")}
        with subprocess.Popen(
            [sys.executable, "-m", "workers.supervision"], env=environment, stderr=subprocess.PIPE
        ) as process:
            try:
                eventually((tmp_path / "newest").exists)
                note = Note.parse((tmp_path / "newest").read_bytes())
                assert cosigners(note, [witness]) == [1]
                append(1)
                before = time.monotonic()
                eventually(lambda: cosigners(shown(), [witness]) == [1] and size() == 4)
                assert time.monotonic() - before < 20
            finally:
                process.terminate()
                before = time.monotonic()
                _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert time.monotonic() - before < 10
        assert errors.count(b"outward.failed") <= 1
        assert b"Traceback" not in errors


def size() -> int:
    return Checkpoint.parse(shown().text).size


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "text",
    ["nonsense", f"witness w {TRUE.key}\nquorum w\n", f"witness w {TRUE.key} ftp://x\nquorum w\n"],
)
def test_a_wrong_list_of_witnesses_is_refused_at_the_start(home: Path, text: str) -> None:
    with pytest.raises(ValueError, match="witness"):
        Settings(home=home, witnesses=text)
