"""A witness in a process of its own, and a log that may be dishonest."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app.ledger.checkpoints import Checkpoint
from app.ledger.merkle import MemoryTree, prove_consistency
from app.ledger.notes import Note, NoteSignature, VerifierKey
from app.ledger.signers import Signer
from app.ledger.tree_hash import hash_leaf
from app.ledger.witnessing import Submission
from tests.ledger.case import LOG
from tests.servers import free_port


@dataclass
class Branch:
    """One history that a log tells: the first leaves are the same in all of them."""

    number: int
    signer: Signer = LOG
    common: int = 3
    tree: MemoryTree = field(default_factory=MemoryTree)

    def grow(self, size: int) -> None:
        leaves = range(self.tree.size, size)
        self.tree.extend(
            hash_leaf(b"%d" % n if n < self.common else b"%d %d" % (n, self.number)) for n in leaves
        )

    def checkpoint(self, size: int) -> Checkpoint:
        self.grow(size)
        return Checkpoint(self.signer.name, size, self.tree.root(size))

    def submission(self, size: int, old_size: int) -> Submission:
        note = self.signer.sign_checkpoint(self.checkpoint(size))
        proof = prove_consistency(old_size, size, self.tree.read) if 0 < old_size <= size else []
        return Submission(old_size, tuple(proof), note)


@dataclass
class RunningWitness:
    """A witness that listens."""

    address: str
    home: Path
    key: VerifierKey
    process: "subprocess.Popen[bytes]"

    def add(self, submission: Submission | bytes) -> httpx.Response:
        return httpx.post(
            f"{self.address}/add-checkpoint", content=bytes(submission), trust_env=False, timeout=30
        )

    def cosigned(self, submission: Submission) -> Note:
        """Return the checkpoint with the cosignature that was given."""
        answer = self.add(submission)
        assert answer.status_code == 200, answer.text
        return with_line(submission.note, answer.text)


def with_line(note: Note, text: str) -> Note:
    """Add the one signature line of an answer to a note, as the specification suggests."""
    lines: tuple[NoteSignature, ...] = Note.parse(bytes(note) + text.encode()).signatures
    assert len(lines) == len(note.signatures) + 1
    return Note(note.text, lines)


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli.main", "witness", *arguments, "--home", str(home)]


def say(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        command(home, *arguments), capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


@contextmanager
def running(home: Path, *logs: VerifierKey, name: str | None = None) -> Iterator[RunningWitness]:
    """Run a witness over a folder; a second time it goes on where it was."""
    home.mkdir(exist_ok=True)
    for key in logs:
        say(home, "trust", str(key))
    port = str(free_port())
    options = ["--port", port, *(["--name", name] if name else [])]
    # Whatever the service's settings are, a witness does not read them.
    environment = {**os.environ, "LETHE_PRODUCTION": "true", "LETHE_DATABASE_URL": "nonsense"}
    with (
        (home / "log").open("ab") as log,
        subprocess.Popen(
            command(home, *options), stdout=subprocess.PIPE, stderr=log, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        try:
            first = process.stdout.readline().decode().split()
            assert first[:1] == ["witness"], (home / "log").read_text()
            address = f"http://127.0.0.1:{port}"
            with httpx.Client(trust_env=False, transport=httpx.HTTPTransport(retries=0)) as http:
                wait_for(http, f"{address}/healthz", process)
            yield RunningWitness(address, home, VerifierKey.parse(first[1]), process)
        finally:
            process.terminate()
            process.wait(30)


def wait_for(http: httpx.Client, url: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            if http.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
    raise RuntimeError("the witness ended")
