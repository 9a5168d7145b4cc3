"""What the sweeper finds and what it leaves alone."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.domain.actions import importing, upkeep
from app.domain.catalog import Revision, Version
from app.domain.jobs import Job
from app.domain.requests import Request
from app.infra import clock, ids
from app.infra.db import writing
from tests import builders as make


def test_a_finished_upload_is_listed_until_it_is_forgotten(tenant: str, dataset: str) -> None:
    done = make.begin_import(tenant, dataset)
    revision = make.run_import(done, make.table(), is_destroyed=False)
    with writing() as tx:
        assert upkeep.finished_uploads(tx) == [(revision, f"uploads/{tenant}/{revision}")]
    pending = make.begin_import(tenant, dataset)
    with writing() as tx:
        assert [found for found, _ in upkeep.finished_uploads(tx)] == [revision]
        importing.forget_upload(tx, revision)
        assert upkeep.finished_uploads(tx) == []
    assert make.state(Job, pending) == "queued"


def test_only_old_objects_that_nothing_refers_to_are_orphans(
    tenant: str, dataset: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(request)
    new = make.publish(job)
    make.work_off()
    model = make.read(Version, new).model_id
    published = make.read(Version, new).weights_key
    curvature = make.read(Version, new).curvature["key"]
    fresh = ids.new_id("rev")
    make.begin_import(tenant, dataset)
    with writing() as tx:
        referred = select(Revision.upload_key).where(Revision.upload_key.is_not(None))
        upload = str(tx.scalars(referred).one())
    lost = [
        f"uploads/{tenant}/{fresh}",
        f"weights/{tenant}/{model}/{version}/upload-{fresh}.safetensors",
        f"weights/{tenant}/{model}/{job}/99.safetensors",
        f"curvature/{tenant}/{new}/99.safetensors",
    ]
    kept = [published, curvature, upload, "anything/else", "uploads/x", f"uploads/{tenant}/odd"]
    with writing() as tx:
        assert upkeep.orphans(tx, [*lost, *kept]) == []
    monkeypatch.setattr(upkeep, "ORPHAN_AGE", timedelta(0))
    with writing() as tx:
        assert upkeep.orphans(tx, [*lost, *kept]) == lost


def test_overdue_requests_are_counted_until_they_are_done(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0", regulation="gdpr")
    with writing() as tx:
        assert upkeep.overdue_requests(tx) == 0
        past = clock.now() - timedelta(days=1)
        tx.execute(update(Request).where(Request.id == request).values(due_at=past))
    with writing() as tx:
        assert upkeep.overdue_requests(tx) == 1
    make.work_off()
    with writing() as tx:
        assert upkeep.overdue_requests(tx) == 0


def test_ids_tell_when_they_were_made(tmp_path: Path) -> None:
    before = clock.now()
    made = ids.made_at(ids.new_id("job"))
    assert abs(made - before) < timedelta(seconds=2)
