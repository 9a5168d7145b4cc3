"""The sealer of the supervision: what was committed is sealed, signed and certified."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.domain import tree
from app.domain.actions import sealing
from app.domain.fsck import Fault, inspect
from app.domain.log import SignedCheckpoint
from app.domain.queries import evidence
from app.domain.requests import Request
from app.infra import clock
from app.infra.db import reading
from app.infra.migrate import upgrade_to_head
from app.infra.settings import settings
from app.infra.signing import KeptDamaged, KeptLost, SmallerTree, keyring, rotate
from app.ledger.checkpoints import Checkpoint
from app.ledger.verify import ENVELOPE, Expectations, open_envelope, verify_evidence
from tests import builders as make
from tests.domain.conftest import forget_settings
from tests.sealed import append, trusted
from workers.supervision import Sealer


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    forget_settings()
    upgrade_to_head(f"sqlite:///{tmp_path / 'lethe.db'}")
    yield tmp_path
    forget_settings()


def test_one_tick_after_the_end_of_a_request_its_evidence_is_there(home: Path) -> None:
    sealer = Sealer()
    sealer.tick()
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    make.make_version(tenant, make.make_model(tenant), dataset)
    request = make.delete(tenant, dataset, "s0")
    sealer.tick()
    make.work_off()
    sealer.tick()
    with reading() as tx:
        files = evidence.files(tx, tx.get_one(Request, request))
        assert not sealing.is_behind(tx)
        sizes = list(tx.scalars(select(SignedCheckpoint.size)))
    verify_evidence(files, Expectations(keys=trusted(), request_id=request))
    sealer.tick()
    with reading() as tx:
        assert list(tx.scalars(select(SignedCheckpoint.size))) == sizes


def test_more_entries_than_one_batch_are_sealed_in_one_tick(home: Path) -> None:
    append(sealing.MOST_ENTRIES + 10)
    Sealer().tick()
    with reading() as tx:
        assert list(tx.scalars(select(SignedCheckpoint.size))) == [sealing.MOST_ENTRIES + 10]


def test_nothing_is_signed_over_a_database_that_was_rolled_back(home: Path) -> None:
    append(1)
    Sealer().tick()
    append(1)
    Sealer().tick()
    forget_settings()
    for name in ("lethe.db", "lethe.db-wal", "lethe.db-shm"):
        (home / name).unlink(missing_ok=True)
    upgrade_to_head(f"sqlite:///{home / 'lethe.db'}")
    append(1)
    with pytest.raises(SmallerTree):
        Sealer().tick()


@pytest.mark.parametrize(
    ("content", "error"),
    [(None, KeptLost), (b"", KeptDamaged), (b"\0" * 200, KeptDamaged), (b"log\n", KeptDamaged)],
    ids=["gone", "empty", "zeros", "cut short"],
)
def test_nothing_is_signed_while_it_is_not_known_what_was_signed(
    home: Path, content: bytes | None, error: type[Exception]
) -> None:
    append(1)
    Sealer().tick()
    kept = (home / "log.checkpoint").read_bytes()
    if content is None:
        (home / "log.checkpoint").unlink()
    else:
        (home / "log.checkpoint").write_bytes(content)
    append(1)
    with pytest.raises(error):
        Sealer().tick()
    assert sizes() == [1]
    assert faults() == {f"kept-{error.__name__.removeprefix('Kept').lower()}"}

    # What anybody has kept of the log's checkpoints is put back, and it goes on.
    (home / "log.checkpoint").write_bytes(kept)
    Sealer().tick()
    assert sizes() == [1, 2]
    assert faults() == set()


def test_nothing_is_signed_below_a_checkpoint_from_the_future(home: Path) -> None:
    append(1)
    Sealer().tick()
    ring = keyring()
    checkpoint = Checkpoint(ring.origin, 10**15, bytes(32))
    note = ring.signer(clock.now()).sign_checkpoint(checkpoint)
    (home / "log.checkpoint").write_bytes(bytes(note))
    append(1)
    with pytest.raises(SmallerTree):
        Sealer().tick()
    assert sizes() == [1]


def test_a_new_key_takes_over_while_the_service_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is restarted, and everything that either key has signed verifies."""
    monkeypatch.setattr("app.infra.signing.keys.HANDOVER", timedelta(hours=1))
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    before = make.delete(tenant, dataset, "nobody")
    Sealer().tick()
    assert len(rotate(settings()).keys) == 2
    between = make.delete(tenant, dataset, "nobody")
    Sealer().tick()
    later = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    after = make.delete(tenant, dataset, "nobody")
    Sealer().tick()
    old, new = trusted()
    for request, keys in ((before, [old]), (between, [old]), (after, [new])):
        verify_evidence(evidence_of(request), Expectations(keys=(old, new)))
        payload, signers = open_envelope(evidence_of(request)[ENVELOPE], (old, new))
        assert (signers, request in payload.decode()) == (keys, True)


def test_what_happened_while_the_clock_went_back_is_certified(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    start, calls = datetime.now(UTC) + timedelta(hours=1), itertools.count()
    assert keyring().keys
    # Every look at the clock finds it a second earlier.
    monkeypatch.setattr(clock, "now", lambda: start - timedelta(seconds=next(calls)))
    request = make.delete(tenant, dataset, "nobody")
    Sealer().tick()
    Sealer().tick()
    assert next(calls) > 5
    verify_evidence(evidence_of(request), Expectations(keys=trusted()))


DISK_FULL = """
import resource, sys
from pathlib import Path
from app.infra.settings import settings
from tests.sealed import append
from workers.supervision import Sealer
home = settings().home
before = max(path.stat().st_size for path in home.glob("lethe.db*"))
refused = []
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for room in (int(text) for text in sys.argv[1:]):
    append(40)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        Sealer().tick()
    except Exception as error:
        refused.append(type(error).__name__)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(*refused)
"""


def test_a_disk_that_is_full_while_sealing_costs_nothing(home: Path) -> None:
    """Files may not grow beyond so many bytes: whatever fails then is made good afterwards."""
    append(40)
    Sealer().tick()
    large = (home / "lethe.db-wal").stat().st_size
    rooms = [0, 100, large // 2, large, large + 30_000, large + 60_000, large + 90_000, 1 << 30]
    program = [sys.executable, "-c", DISK_FULL, *map(str, rooms)]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    refused = done.stdout.split()
    assert 3 < len(refused) < len(rooms)
    assert set(refused) <= {"OperationalError", "OSError"}
    Sealer().tick()
    assert faults() == set()
    with reading() as tx:
        assert tree.size_of(tx) == 40 * (1 + len(rooms))
        assert not sealing.is_behind(tx)


def sizes() -> list[int]:
    with reading() as tx:
        return list(tx.scalars(select(SignedCheckpoint.size).order_by(SignedCheckpoint.size)))


def faults() -> set[str]:
    """Read the whole log again; return the names of what is wrong."""
    found: list[Fault] = []
    with reading() as tx:
        inspect(tx, found)
    return {fault.name for fault in found}


def evidence_of(request: str) -> dict[str, bytes]:
    with reading() as tx:
        return evidence.files(tx, tx.get_one(Request, request))
