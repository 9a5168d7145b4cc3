"""After shredding nothing of what was named can be guessed from a dump, and every proof holds.

The thief has the database with its free pages and logs, the object store, row files, logs,
messages and all evidence that was handed out, and tries every id that there could be.
"""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.client import ApiProblem
from app.domain.log import RequestCommitment
from app.infra.db import make_engine
from app.ledger.verify import Expectations, read_evidence, read_keys, verify_evidence
from app.ledger.verify_disclosed import verify_disclosed
from tests.e2e.controller import Controller
from tests.e2e.dumps import Dump, taken_from
from tests.e2e.guessing import Guesser, derived, opened
from tests.e2e.material import make_material
from tests.e2e.service import Service, eventually

MARK = "guess"
SPACE = [
    *(f"{MARK}-sample-{number:04}" for number in range(300)),
    *(f"{MARK}-subject-{number:02}" for number in range(40)),
]
LENIENT: dict[str, Any] = {"gates": {}, "method": "sparse_newton"}


@dataclass(frozen=True)
class Case:
    """Two requests that have ended, with all that was handed out about them."""

    tenant_id: str
    dataset_id: str
    shredded: str
    kept: str
    named: set[str]
    kept_named: set[str]


def record(service: Service, request_id: str) -> dict[str, Any]:
    """Return what the database holds beside a request."""
    engine = make_engine(service.config.database_url)
    table = RequestCommitment.__table__
    with engine.connect() as connection:
        query = select(table).where(table.c.request_id == request_id)
        found = dict(connection.execute(query).mappings().one())
    engine.dispose()
    return found


def trusted(controller: Controller) -> Expectations:
    return Expectations(keys=read_keys(json.dumps({"items": controller.log_keys()}).encode()))


def keys_of_the_service(service: Service, case: Case) -> list[bytes]:
    """Return every key that the service can still make out of its master key and its files."""
    master = (service.home / "secret.key").read_text().strip().encode()
    wrapping = derived(master, "", "tenant-keys")
    purposes = ("suppression", "rows", "commitments", "idempotency")
    found = [wrapping, *(derived(master, case.tenant_id, purpose) for purpose in purposes)]
    for path in (service.home / "keys").iterdir():
        epoch = path.name.split(".")[1]
        found.append(opened([wrapping], path.read_bytes(), [f"{case.tenant_id}/{epoch}"]))
    return found


def attack(case: Case, dump: Dump) -> Guesser:
    return Guesser(dump, SPACE, [case.tenant_id, case.dataset_id, case.shredded])


@pytest.fixture
def case(service: Service, controller: Controller, folder: Path) -> Case:
    material = make_material(MARK, seed=31)
    ours = controller.register(material, folder, LENIENT)
    samples = [*(material.ids[row] for row in (3, 50, 150)), f"{MARK}-sample-0299"]
    subject = f"{MARK}-subject-07"
    shredded = controller.submit_deletion(
        ours.dataset_id,
        sample_ids=samples,
        subject_ids=[subject],
        regulation="gdpr",
        idempotency_key="once",
        reference="case 31",
    )["id"]
    kept = controller.submit_deletion(ours.dataset_id, sample_ids=[material.ids[60]])["id"]
    for request in (shredded, kept):
        assert controller.finished(request)["state"] == "fulfilled"
        controller.wait_for_certificate(request)
    [tenant] = controller.tenants()
    named = {*samples, subject, *(material.ids[row] for row in material.rows_of(7))}
    return Case(tenant["id"], ours.dataset_id, shredded, kept, named, {material.ids[60]})


def test_a_dump_after_shredding_betrays_nobody_and_all_proofs_hold(
    service: Service, controller: Controller, folder: Path, case: Case
) -> None:
    old_checkpoint = controller.checkpoint()
    early = [folder / f"early-{number}.zip" for number in range(2)]
    late = [folder / f"late-{number}.zip" for number in range(2)]
    for request, path in zip((case.shredded, case.kept), early, strict=True):
        controller.download_evidence(request, path)
    member = controller.prove_membership(case.shredded, subject_id=f"{MARK}-subject-07")
    detail = controller.disclose(case.shredded)
    before = record(service, case.shredded)
    data_key = opened(keys_of_the_service(service, case), before["wrapped_key"], [case.shredded])
    contexts = [case.shredded, f"{case.shredded}/detail", f"{case.shredded}/members"]
    assert b"guess-sample-0003" in opened([data_key], before["detail"], contexts)

    controller.shred(case.shredded)
    with pytest.raises(ApiProblem) as gone:
        controller.disclose(case.shredded)
    assert (gone.value.status, gone.value.code) == (410, "shredded")
    old_file = service.home / "keys" / f"{case.tenant_id}.1.key"
    eventually(lambda: not old_file.exists(), what="the end of the tenant's old key")

    is_copied = service.config.database_url.startswith("postgresql")
    # SQLite's write-ahead log is emptied as soon as no reader is in the way.
    files = [service.home / name for name in ("lethe.db", "lethe.db-wal") if not is_copied]
    eventually(lambda: all(before["wrapped_key"] not in file.read_bytes() for file in files))

    # Without the keys, nothing of either request comes out.
    dump = taken_from(service, *early)
    plain = attack(case, dump).named(MARK)
    assert f"{MARK}-sample-0000" in plain
    assert not plain & (case.named | case.kept_named)
    assert attack(case, dump).hashed() == set()
    assert attack(case, dump).keyed(dump.tokens()) == set()

    # With them the same attack works: on all of the request that was not shredded, and on the
    # list against the return of what was deleted, which is why its key is not where it is.
    keys = keys_of_the_service(service, case)
    assert attack(case, dump).keyed(keys) == case.named | case.kept_named
    kept = record(service, case.kept)
    kept_key = opened(keys, kept["wrapped_key"], [case.kept])
    assert b"guess-sample-0060" in opened([kept_key], kept["detail"], [f"{case.kept}/detail"])

    # What was shredded is gone, and copies open nothing, as PostgreSQL has in its free pages.
    after = record(service, case.shredded)
    boxes = {name: before[name] for name in ("wrapped_key", "detail", "members")}
    assert {after[name] for name in boxes} == {None}
    assert bool(dump.holding(boxes["wrapped_key"])) == is_copied
    for box in boxes.values():
        assert not opened([*keys, *dump.tokens()], box, contexts)
    assert not dump.holding(data_key)

    # All that was handed out still verifies, and so does what comes now, against it.
    for request, path in zip((case.shredded, case.kept), late, strict=True):
        controller.download_evidence(request, path)
    expected = trusted(controller)
    shown, opening = json.dumps(member).encode(), json.dumps(detail).encode()
    for path in (early[0], late[0]):
        verify_disclosed(read_evidence(path), expected, members=[shown], details=[opening])
    for path in (*early, *late):
        verify_evidence(read_evidence(path), expected)
    for path in late:
        verify_evidence(read_evidence(path), replace(expected, pinned=old_checkpoint))
    fsck = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "log", "fsck"],
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert fsck.returncode == 0, fsck.stdout


@pytest.mark.parametrize("offset", [0, 1, 6, 1003])
def test_the_attack_finds_whatever_can_be_guessed(offset: int) -> None:
    key = bytes(range(32))
    digest = hashlib.sha256(b"sample:guess-sample-0017").digest()
    files = {
        "raw": digest,
        "hexadecimal": digest.hex().encode(),
        "base64": base64.b64encode(digest),
        "keyed": hmac.digest(key, b"guess-sample-0017", "sha256"),
        "named": b"guess-sample-0017",
        "named in base64": base64.b64encode(b"x" * offset + b"guess-sample-0017 "),
        "named in hexadecimal": b"guess-sample-0017".hex().encode(),
    }
    found = {}
    for name, content in files.items():
        dump = Dump({name: b"x" * offset + content + b"y" * 5, "key": key.hex().encode()}, [])
        guesser = Guesser(dump, SPACE, ["ten_1"])
        found[name] = guesser.named(MARK) | guesser.hashed() | guesser.keyed(dump.tokens())
    assert found == {name: {"guess-sample-0017"} for name in files}
