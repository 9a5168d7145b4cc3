"""The sealer of the supervision: what was committed is sealed, signed and certified."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from app.domain.actions import sealing
from app.domain.log import SignedCheckpoint
from app.domain.queries import evidence
from app.domain.requests import Request
from app.infra.db import reading
from app.infra.migrate import upgrade_to_head
from app.infra.signing import SmallerTree
from app.ledger.verify import Expectations, verify_evidence
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
