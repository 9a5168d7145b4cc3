"""A witness over HTTP, as C2SP tlog-witness describes it, from the log's side of the wire."""

import socket
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from threading import Barrier, Thread
from urllib.parse import urlsplit

import httpx
import pytest

from app.cli.witness import trust
from app.ledger.checkpoints import Checkpoint, cosigned_at
from app.ledger.errors import BadSignature
from app.ledger.notes import COSIGNATURE, Note, verify_note
from app.ledger.signers import Signer, Witness
from app.ledger.tree_hash import EMPTY_ROOT
from app.ledger.witnessing import LARGEST_SUBMISSION, Submission
from tests.ledger.case import STRANGER, private_key
from tests.witness.witnesses import Branch, RunningWitness, running

NUMBERS = count(100)


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWitness]:
    with running(tmp_path_factory.mktemp("witness"), name="witness.example/north") as started:
        yield started


@pytest.fixture
def log(witness: RunningWitness) -> Signer:
    """A log that the witness hears of while it runs."""
    number = next(NUMBERS)
    signer = Signer(f"log{number}.example", private_key(number))
    trust(witness.home, str(signer.key))
    return signer


@pytest.fixture
def branch(log: Signer) -> Branch:
    return Branch(0, log)


def fork_of(branch: Branch) -> Branch:
    return Branch(1, branch.signer)


def sizes(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.headers["content-type"], answer.text


def test_what_continues_is_cosigned_now(witness: RunningWitness, branch: Branch) -> None:
    assert (witness.key.name, witness.key.type) == ("witness.example/north", COSIGNATURE)
    for old_size, size in ((0, 1), (1, 7), (7, 8), (8, 300), (300, 300)):
        before = datetime.now(UTC).replace(microsecond=0)
        note = witness.cosigned(branch.submission(size, old_size))
        time = cosigned_at(note, witness.key)
        assert time is not None
        assert before <= time <= datetime.now(UTC)
        assert len(note.signatures[-1].blob) == 72


def test_a_log_that_forgot_what_was_cosigned_is_told_and_goes_on(
    witness: RunningWitness, branch: Branch
) -> None:
    witness.cosigned(branch.submission(5, 0))
    for old_size in (0, 4, 6):
        answer = witness.add(branch.submission(9, old_size))
        assert sizes(answer) == (409, "text/x.tlog.size", "5\n")
    witness.cosigned(branch.submission(9, 5))


def test_a_smaller_tree_is_refused(witness: RunningWitness, branch: Branch) -> None:
    witness.cosigned(branch.submission(5, 0))

    # The log knows the witness's size, and then does not.
    assert witness.add(replace(branch.submission(4, 0), old_size=5)).status_code == 400
    assert sizes(witness.add(branch.submission(4, 4))) == (409, "text/x.tlog.size", "5\n")
    assert sizes(witness.add(branch.submission(4, 0))) == (409, "text/x.tlog.size", "5\n")


def test_another_root_at_the_same_size_is_refused(witness: RunningWitness, branch: Branch) -> None:
    witness.cosigned(branch.submission(5, 0))

    answer = witness.add(fork_of(branch).submission(5, 5))

    assert sizes(answer) == (409, "text/x.tlog.size", "5\n")
    assert "log.forked" in (witness.home / "log").read_text()
    witness.cosigned(branch.submission(5, 5))


def test_a_fork_that_has_grown_is_refused(witness: RunningWitness, branch: Branch) -> None:
    witness.cosigned(branch.submission(5, 0))
    fork, size = fork_of(branch), 9
    fork.grow(size)
    forged = branch.submission(size, 5).proof

    assert witness.add(fork.submission(size, 5)).status_code == 422
    assert witness.add(replace(fork.submission(size, 5), proof=forged)).status_code == 422
    assert witness.add(replace(fork.submission(size, 5), proof=())).status_code == 422
    assert sizes(witness.add(fork.submission(size, 0)))[::2] == (409, "5\n")


def test_a_bad_proof_is_refused(witness: RunningWitness, branch: Branch) -> None:
    assert witness.add(replace(branch.submission(5, 0), proof=(bytes(32),))).status_code == 422
    witness.cosigned(branch.submission(5, 0))
    good = branch.submission(12, 5)
    for proof in (good.proof[1:], (*good.proof, bytes(32)), good.proof[::-1], ()):
        answer = witness.add(replace(good, proof=proof))
        assert answer.status_code == 422
        assert answer.text.startswith("BadConsistency: ")


def test_an_empty_log_is_cosigned_and_then_grows(witness: RunningWitness, branch: Branch) -> None:
    empty = Checkpoint(branch.signer.name, 0, EMPTY_ROOT)
    witness.cosigned(Submission(0, (), branch.signer.sign_checkpoint(empty)))
    witness.cosigned(branch.submission(3, 0))


def test_only_the_log_speaks_for_itself(witness: RunningWitness, branch: Branch) -> None:
    sent = branch.submission(5, 0)
    impostor = replace(STRANGER, name=branch.signer.name)
    unknown = replace(STRANGER, name="unknown.example")
    assert witness.add(Branch(0, impostor).submission(5, 0)).status_code == 403
    assert witness.add(Branch(0, unknown).submission(5, 0)).status_code == 404
    forged = Note(sent.note.text.replace("\n5\n", "\n6\n"), sent.note.signatures)
    assert witness.add(replace(sent, note=forged)).status_code == 403
    # Other signatures are not looked at, and not kept.
    more = (*sent.note.signatures, unknown.sign_note(sent.note.text).signatures[0])
    witness.cosigned(replace(sent, note=Note(sent.note.text, more)))
    shown = Note.parse(monitored(witness, branch.signer.name).content)
    assert [line.name for line in shown.signatures] == [branch.signer.name, witness.key.name]


def monitored(witness: RunningWitness, origin: str) -> httpx.Response:
    digest = sha256(origin.encode()).hexdigest()
    return httpx.get(f"{witness.address}/{digest}/checkpoint", trust_env=False)


def test_monitors_see_what_was_cosigned_last(witness: RunningWitness, branch: Branch) -> None:
    assert monitored(witness, branch.signer.name).status_code == 404
    witness.cosigned(branch.submission(5, 0))
    given = witness.cosigned(branch.submission(9, 5))

    shown = Note.parse(monitored(witness, branch.signer.name).content)

    assert shown == given
    verify_note(shown, [branch.signer.key])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/add-checkpoint", b"", 405),
        ("PUT", "/add-checkpoint", b"", 405),
        ("POST", "/add-checkpoint", b"", 400),
        ("POST", "/add-checkpoint", b"old 0\n\nnonsense", 400),
        ("POST", "/add-checkpoint", b"old 0\n\norigin\n0\n\n\xff", 400),
        ("POST", "/add-checkpoint", b"x" * (LARGEST_SUBMISSION + 1), 413),
        ("GET", "/", b"", 404),
        ("GET", "/checkpoint", b"", 404),
        ("GET", "/" + "A" * 64 + "/checkpoint", b"", 404),
        ("GET", "/../witness.json", b"", 404),
        ("POST", "/" + "a" * 64 + "/checkpoint", b"", 405),
    ],
)
def test_other_calls_are_refused(
    witness: RunningWitness, method: str, path: str, body: bytes, status: int
) -> None:
    answer = httpx.request(method, witness.address + path, content=body, trust_env=False)

    assert answer.status_code == status
    assert ("allow" in answer.headers) == (status == 405)


def test_half_a_body_is_no_submission(witness: RunningWitness, branch: Branch) -> None:
    body = bytes(branch.submission(5, 0))
    place = urlsplit(witness.address)
    with socket.create_connection((place.hostname, place.port)) as half:
        head = (
            f"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 9}\r\n\r\n"
        )
        half.sendall(head.encode() + body)

    assert monitored(witness, branch.signer.name).status_code == 404


def test_of_two_trees_at_once_one_is_cosigned(witness: RunningWitness, branch: Branch) -> None:
    """Sixteen submissions of the same size and of two histories, all at the same moment."""
    fork = fork_of(branch)
    submissions = [(fork if n % 2 else branch).submission(9, 0) for n in range(16)]
    barrier, statuses = Barrier(len(submissions)), [0] * len(submissions)

    def send(number: int) -> None:
        barrier.wait()
        statuses[number] = witness.add(submissions[number]).status_code

    threads = [Thread(target=send, args=(n,)) for n in range(len(submissions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(set(statuses)) == [200, 409]
    assert statuses.count(200) == 1


def test_the_log_key_can_be_rotated_while_the_witness_runs(
    witness: RunningWitness, branch: Branch
) -> None:
    witness.cosigned(branch.submission(5, 0))
    renewed = Branch(0, replace(branch.signer, private=private_key(next(NUMBERS))))
    assert witness.add(renewed.submission(6, 5)).status_code == 403
    trust(witness.home, str(renewed.signer.key))
    witness.cosigned(renewed.submission(6, 5))
    witness.cosigned(branch.submission(7, 6))


def test_without_its_record_nothing_is_cosigned(witness: RunningWitness, branch: Branch) -> None:
    witness.cosigned(branch.submission(5, 0))
    digest = sha256(branch.signer.name.encode()).hexdigest()
    record = witness.home / "records" / f"{digest}.checkpoint"
    right = record.read_bytes()
    text = right.decode()
    for wrong in ("", text[:60], text.replace("\n5\n", "\n4\n"), "x\n\n— y AAAAAAA=\n"):
        record.write_text(wrong)
        assert witness.add(branch.submission(6, 5)).status_code == 500
        assert witness.add(branch.submission(6, 0)).status_code == 500
    record.write_bytes(right)
    witness.cosigned(branch.submission(6, 5))


def test_a_list_of_logs_that_is_none_stops_everything(
    witness: RunningWitness, branch: Branch
) -> None:
    logs = witness.home / "logs.txt"
    right = logs.read_bytes()
    logs.write_bytes(right + b"log nonsense\n")
    try:
        assert witness.add(branch.submission(5, 0)).status_code == 500
    finally:
        logs.write_bytes(right)


def test_the_clock_going_back_does_not_make_cosignatures_older(
    witness: RunningWitness, branch: Branch
) -> None:
    note = witness.cosigned(branch.submission(5, 0))
    record = (
        witness.home / "records" / f"{sha256(branch.signer.name.encode()).hexdigest()}.checkpoint"
    )
    key = private_of(witness)
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    line = key.cosign(Checkpoint.parse(note.text), later)
    record.write_bytes(bytes(Note(note.text, (note.signatures[0], line))))

    assert cosigned_at(witness.cosigned(branch.submission(6, 5)), witness.key) == later


def private_of(witness: RunningWitness) -> Witness:
    from app.witness.keys import own_key

    return own_key(witness.home)


def test_its_files_are_its_own(witness: RunningWitness, branch: Branch) -> None:
    witness.cosigned(branch.submission(5, 0))

    for path in [witness.home / "witness.json", *(witness.home / "records").glob("*.checkpoint")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    seed = (witness.home / "witness.json").read_text().split('"')[-2]
    assert seed not in (witness.home / "log").read_text()


def test_a_cosignature_is_of_this_witness_and_checkpoint(
    witness: RunningWitness, branch: Branch
) -> None:
    note = witness.cosigned(branch.submission(5, 0))
    other = Note(str(branch.checkpoint(6)), note.signatures)

    with pytest.raises(BadSignature):
        cosigned_at(other, witness.key)
