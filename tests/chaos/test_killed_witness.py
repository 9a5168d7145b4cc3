"""A witness killed at any moment signs one tree of each size, and forgets nothing it signed."""

import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread

import httpx
import pytest

from app.cli.witness import trust
from app.ledger.checkpoints import Checkpoint, cosigned_at
from app.ledger.notes import Note, VerifierKey
from app.ledger.witnessing import Submission
from app.witness.keys import own_key
from app.witness.records import Records
from tests.ledger.case import LOG, ORIGIN
from tests.witness.witnesses import Branch, running, with_line

ROUNDS = 12
MOST_ROUNDS = 8 * ROUNDS
LEAST_ROOTS = 50
CLIENTS = 4

# One witness without a network; it kills itself at the named point of its first write.
CHILD = """
import os, pathlib, signal, sys
from app.infra import durable
from app.ledger.errors import LedgerError
from app.ledger.witnessing import Submission
from app.witness.desk import Desk
from app.witness.keys import own_key

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

home, point = pathlib.Path(sys.argv[1]), sys.argv[2]
desk = Desk(home, own_key(home))
if point == "before the write":
    durable.replace = die
elif point == "half written":
    os.fsync = die
elif point == "before the rename":
    pathlib.Path.replace = die
elif point == "before the folder is synced":
    durable.sync_folder = die
elif point == "before the answer":
    class Record(type(desk.records.of(""))):
        def replace(self, note):
            super().replace(note)
            die()
    import app.witness.records
    app.witness.records.Record = Record
for line in sys.stdin:
    try:
        print("signed", str(desk.cosign(Submission.parse(bytes.fromhex(line)))).encode().hex())
    except LedgerError as error:
        print("refused", type(error).__name__)
    sys.stdout.flush()
"""
POINTS = (
    "before the write",
    "half written",
    "before the rename",
    "before the folder is synced",
    "before the answer",
)


@dataclass
class Seen:
    """Everything that anybody was ever given by the witness."""

    key: VerifierKey
    roots: dict[int, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    largest: int = 0
    lock: Lock = field(default_factory=Lock)

    def take(self, submission: Submission, line: str) -> None:
        note = with_line(submission.note, line)
        assert cosigned_at(note, self.key) is not None
        checkpoint = Checkpoint.parse(note.text)
        with self.lock:
            self.roots[checkpoint.size].add(checkpoint.root)
            self.largest = max(self.largest, checkpoint.size)

    def check(self, home: Path) -> None:
        assert all(len(roots) == 1 for roots in self.roots.values())
        kept = Records(home / "records").of(ORIGIN).read()
        size = 0 if kept is None else Checkpoint.parse(kept.text).size
        assert size >= self.largest


@contextmanager
def child(home: Path, point: str = "") -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home), point],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def ask(process: "subprocess.Popen[str]", submission: Submission) -> list[str]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(bytes(submission).hex() + "\n")
    process.stdin.flush()
    return process.stdout.readline().split()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("known", [0, 5])
def test_killed_at_each_point_it_signs_one_tree_of_a_size(
    tmp_path: Path, point: str, known: int
) -> None:
    trust(tmp_path, str(LOG.key))
    honest, fork = Branch(0), Branch(1)
    seen = Seen(own_key(tmp_path).key)
    if known:
        with child(tmp_path) as process:
            assert ask(process, honest.submission(known, 0))[0] == "signed"
    with child(tmp_path, point) as process:
        assert ask(process, honest.submission(9, known)) == []
        assert process.wait(30) == -9
    with child(tmp_path) as process:
        # The fork comes first, from where both had common leaves and as the witness knows it.
        for submission in (
            fork.submission(9, 0),
            fork.submission(9, known),
            fork.submission(9, 9),
            honest.submission(9, known),
            honest.submission(9, 9),
        ):
            kind, said = ask(process, submission)
            if kind == "signed":
                seen.take(submission, bytes.fromhex(said).decode())
    assert set(seen.roots) == {9}
    seen.check(tmp_path)


@pytest.mark.slow
def test_killed_at_random_between_two_histories_it_follows_one(tmp_path: Path) -> None:
    """Clients push two histories at once, as fast as they can, while the witness is killed."""
    generator = random.Random(20261121)
    trust(tmp_path, str(LOG.key))
    branches = [Branch(0), Branch(1)]
    for branch in branches:
        branch.grow(4000)
    seen, stop, refused = Seen(own_key(tmp_path).key), Event(), []

    def push(number: int, address: list[str]) -> None:
        branch, size, old_size = branches[number % 2], 1, 0
        own = random.Random(number)
        with httpx.Client(trust_env=False, timeout=5) as http:
            while not stop.is_set():
                size = max(size, old_size)
                submission = branch.submission(min(size, 4000), min(old_size, size))
                try:
                    answer = http.post(f"{address[0]}/add-checkpoint", content=bytes(submission))
                except httpx.TransportError:
                    time.sleep(0.02)
                    continue
                if answer.status_code == 200:
                    seen.take(submission, answer.text)
                    old_size, size = size, min(4000, size + own.randint(0, 2))
                elif answer.headers["content-type"] == "text/x.tlog.size":
                    old_size = int(answer.text)
                    size = min(4000, old_size + own.randint(0, 2))
                else:
                    refused.append(answer.status_code)
                    size = min(4000, size + 1)

    address = ["http://127.0.0.1:9"]
    clients = [Thread(target=push, args=(number, address)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        rounds = 0
        # A slow machine gets further in more rounds.
        while rounds < ROUNDS or (len(seen.roots) <= LEAST_ROOTS and rounds < MOST_ROUNDS):
            rounds += 1
            with running(tmp_path) as witness:
                address[0] = witness.address
                time.sleep(generator.uniform(0.0, 0.4))
                witness.process.kill()
                witness.process.wait()
            seen.check(tmp_path)
    finally:
        stop.set()
        for client in clients:
            client.join()
    seen.check(tmp_path)
    assert len(seen.roots) > LEAST_ROOTS
    assert set(refused) <= {422, 503}
    # Beyond what both histories have in common, one of them got no cosignature at all.
    followed = {
        number
        for number, branch in enumerate(branches)
        for size, roots in seen.roots.items()
        if size > branch.common and roots == {branch.tree.root(size)}
    }
    assert len(followed) == 1
    last = Records(tmp_path / "records").of(ORIGIN).read()
    assert isinstance(last, Note)
