"""API, worker and sealer as they run in production, looked at from outside while they work.

Several clients import data sets and have rows deleted; between them the API and the worker write
the entries. What the log shows meanwhile is kept, and in the end checked with the evidence
library alone: it has to be one tree, whose leaves tell each change of state once.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.cli.temporary import temporary_service
from app.client import ApiProblem, Lethe
from app.client.connection import Document
from app.ledger.checkpoints import Checkpoint
from app.ledger.consistency import verify_consistency
from app.ledger.entries import Entry
from app.ledger.errors import BadConsistency
from app.ledger.merkle import MemoryTree
from app.ledger.notes import Note, VerifierKey, verify_note

CLIENTS = 4
ROWS = 400
PATIENCE_SECONDS = 900.0
LEAVES_READ = 50


def measure(entries: int) -> dict[str, float]:
    """Work until there are enough entries, then check the log.

    Args:
        entries: At least so many.

    Returns:
        ``entries``; ``checkpoints``: how many were seen; ``rate``: entries a second until all
        are signed; ``gaps``, ``forks`` and ``lost``, see ``wrong``.
    """
    with temporary_service() as client, TemporaryDirectory() as folder:
        started = time.perf_counter()
        trail, notes = exercise(client, Path(folder), entries)
        seconds = time.perf_counter() - started
        return {
            "entries": len(trail),
            "checkpoints": len(notes),
            "rate": len(trail) / seconds,
            **wrong(client, trail, notes),
        }


def exercise(client: Lethe, folder: Path, entries: int) -> tuple[list[Document], list[bytes]]:
    """Keep a service busy until its log has enough entries and has come to rest.

    Args:
        client: Of the service.
        folder: For a file to upload.
        entries: At least so many.

    Returns:
        All audit entries, and every checkpoint that was seen meanwhile.
    """
    file = _rows(folder / "rows.parquet")
    with _watched(client) as seen, ThreadPoolExecutor(CLIENTS) as pool:
        for _ in pool.map(lambda seed: _work(client, file, seed, entries), range(CLIENTS)):
            pass
        trail = _when_signed(client)
    return trail, list(seen.values())


def wrong(client: Lethe, trail: Sequence[Document], notes: Sequence[bytes]) -> dict[str, float]:
    """Count what must not be.

    Args:
        client: Of the service.
        trail: All audit entries.
        notes: All checkpoints that were seen.

    Returns:
        ``gaps``: indexes that are missing or taken twice. ``forks``: checkpoints that are not
        of the tree of these leaves, or that the service cannot prove to be. ``lost``: changes
        of state that the entries do not tell once and in order, or otherwise than the leaf.

    Raises:
        BadSignature: A checkpoint's signature is wrong.
        UnknownKey: The log has not signed a checkpoint.
    """
    placed = sorted(trail, key=lambda entry: entry["index"])
    tree = MemoryTree(bytes.fromhex(entry["leaf_hash"]) for entry in placed)
    keys = [VerifierKey.parse(item["vkey"]) for item in client.log_keys()]
    forks = 0
    for data in notes:
        note = Note.parse(data)
        verify_note(note, keys)
        forks += not _is_continued(client, Checkpoint.parse(note.text), tree)
    gaps = sum(entry["index"] != place for place, entry in enumerate(placed))
    return {"gaps": gaps, "forks": forks, "lost": _lost(client, placed)}


def _is_continued(client: Lethe, seen: Checkpoint, tree: MemoryTree) -> bool:
    """Say whether a checkpoint is of this tree, and the service proves that it is."""
    if seen.size == 0:
        return seen.root == tree.root(0)
    if seen.size > tree.size or seen.root != tree.root(seen.size):
        return False
    proof = client.prove_consistency(seen.size, tree.size)["hashes"]
    try:
        verify_consistency(
            size=seen.size,
            root=seen.root,
            later_size=tree.size,
            later_root=tree.root(),
            proof=[bytes.fromhex(part) for part in proof],
        )
    except BadConsistency:
        return False
    return True


def _lost(client: Lethe, placed: Sequence[Document]) -> int:
    """Count changes that are not told once and in order, or told otherwise than in the leaf."""
    lost: int = 0
    states: dict[tuple[str, str], str] = {}
    for entry in placed:
        if entry["to"] is not None:
            key = (entry["entity"]["kind"], entry["entity"]["id"])
            lost += entry["from"] != states.get(key)
            states[key] = entry["to"]
    now = {("dataset", item["id"]): item["state"] for item in client.datasets()}
    now |= {("request", item["id"]): item["state"] for item in client.requests()}
    now |= {("job", item["id"]): item["state"] for item in client.jobs()}
    lost += sum(states.get(key) != state for key, state in now.items())
    for entry in random.Random(0).sample(placed, min(LEAVES_READ, len(placed))):
        leaf = Entry.parse(client.leaf(entry["index"]))
        lost += (leaf.id, leaf.to_state) != (entry["id"], entry["to"])
        lost += leaf.leaf_hash().hex() != entry["leaf_hash"]
    return int(lost)


def _rows(path: Path) -> Path:
    numbers = range(ROWS)
    columns = {"id": [f"row-{n}" for n in numbers], "label": [n % 10 for n in numbers]}
    pq.write_table(pa.table(columns), path)
    return path


def _work(client: Lethe, file: Path, seed: int, entries: int) -> None:
    """Import rows and have them deleted, again and again, until there are enough entries.

    Raises:
        RuntimeError: The rows were refused.
    """
    while True:
        dataset_id = client.create_dataset(f"rows-{seed}", id="id", label="label")["id"]
        client.upload_content(dataset_id, file)
        if client.wait_for_dataset(dataset_id, PATIENCE_SECONDS)["state"] != "ready":
            raise RuntimeError("the rows were refused")
        for row in range(0, ROWS, 2):
            ids = [f"row-{row}", f"row-{row + 1}", "nobody"]
            request = client.submit_deletion(dataset_id, sample_ids=ids)
            if row % 8 == 0 and _size(client) >= entries:
                client.wait_for_request(request["id"], PATIENCE_SECONDS)
                return


def _size(client: Lethe) -> int:
    """Return how many entries are signed."""
    try:
        return Checkpoint.parse(Note.parse(client.checkpoint()).text).size
    except ApiProblem:
        return 0


@contextmanager
def _watched(client: Lethe) -> Iterator[dict[int, bytes]]:
    """Keep every checkpoint that is seen meanwhile, by size."""
    seen: dict[int, bytes] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            with suppress(ApiProblem):
                note = client.checkpoint()
                seen[Checkpoint.parse(Note.parse(note).text).size] = note

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def _when_signed(client: Lethe) -> list[Document]:
    """Return all entries, once everything has ended, is sealed and signed."""
    _until(lambda: all(request["done"] for request in client.requests()))
    _until(lambda: all(job["done"] for job in client.jobs()))

    def trail() -> list[Document] | None:
        entries = list(client.audit_entries())
        is_sealed = all(entry["index"] is not None for entry in entries)
        return entries if is_sealed and _size(client) == len(entries) else None

    found: list[Document] = _until(trail)
    return found


def _until(look: Callable[[], Any]) -> Any:
    """Return the first true answer.

    Raises:
        TimeoutError: There is none in time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := look()):
        if time.monotonic() > deadline:
            raise TimeoutError("the service does not come to rest")
        time.sleep(0.5)
    return answer
