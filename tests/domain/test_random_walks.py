"""Random acts of clients, workers and fate, and what must hold whatever they were."""

import random
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.domain.actions import cancelling, retrying, upkeep, versions
from app.domain.audit import AuditEntry
from app.domain.base import Entity
from app.domain.catalog import Version, VersionTaint
from app.domain.edits import view
from app.domain.errors import DomainError
from app.domain.jobs import Job
from app.domain.orders import Correction
from app.domain.requests import DONE_STATES, Request, Target
from app.infra.db import writing
from tests import builders as make

STEPS = 30


def entities(tx: Session) -> list[Entity]:
    return [entity for cls in Entity.__subclasses__() for entity in tx.scalars(select(cls)).all()]


def assert_every_change_has_one_entry() -> None:
    """The entries of each entity form a chain of legal moves that ends in its state."""
    with writing() as tx:
        chains: dict[tuple[str, str], list[AuditEntry]] = defaultdict(list)
        for entry in tx.scalars(select(AuditEntry).order_by(AuditEntry.id)):
            if entry.to_state is not None:
                chains[entry.entity_kind, entry.entity_id].append(entry)
        found = entities(tx)
        assert len(chains) == len(found)
        for entity in found:
            chain = chains[entity.KIND, entity.id]
            assert chain[0].from_state is None
            assert chain[0].type == f"{entity.KIND}.created"
            for before, after in pairwise(chain):
                assert after.from_state == before.to_state
                assert after.to_state in entity.MOVES[str(after.from_state)]
            assert chain[-1].to_state == entity.state


def assert_the_picture_is_consistent() -> None:
    """Taints, targets, jobs and requests say the same."""
    with writing() as tx:
        requests = {request.id: request for request in tx.scalars(select(Request))}
        everything = {version.id: version for version in tx.scalars(select(Version))}
        targets = tx.scalars(select(Target)).all()
        unfinished = [t for t in targets if t.state in ("waiting", "running", "failed")]
        marks = {
            (mark.version_id, mark.request_id)
            for mark in tx.scalars(select(VersionTaint))
            if requests[mark.request_id].state not in DONE_STATES
        }
        for version in everything.values():
            if version.state in ("live", "tainted"):
                is_concerned = any(version_id == version.id for version_id, _ in marks)
                assert (version.state == "tainted") == is_concerned
                assert version.weights_key is not None
            if version.state == "superseded":
                assert everything[str(version.superseded_by)].parent_id == version.id
        for target in unfinished:
            assert everything[target.version_id].state in ("tainted", "validating")
            assert (target.version_id, target.request_id) in marks
            assert requests[target.request_id].state not in DONE_STATES
        for request in requests.values():
            open_targets = [t for t in unfinished if t.request_id == request.id]
            if request.state in ("withdrawing", *DONE_STATES):
                assert open_targets == []
            if request.state in ("scheduled", "running"):
                assert open_targets
                assert all(target.state != "failed" for target in open_targets)
    for target in unfinished:
        assert target.state == "failed" or make.jobs_of(target.request_id)


class Walk:
    """A random walk that keeps its own books of which version knows which sample.

    Attributes:
        influence: For each version, the samples it was trained on (by its own split or by its
            ancestors') and was not made to forget.
    """

    def __init__(self, seed: int) -> None:
        self.influence: dict[str, set[str]] = {}
        self.random = random.Random(seed)
        self.tenant = make.make_tenant()
        self.dataset = make.make_dataset(self.tenant)
        self.other = make.make_dataset(self.tenant, make.table(12, prefix="t"))
        self.models = [
            make.make_model(self.tenant, withdraw_after_seconds=3600 * (seed % 2)),
            make.make_model(self.tenant, on_gate_failure=["attention"]),
        ]
        for model in self.models:
            version = make.make_version(self.tenant, model, self.dataset, recipe=make.RECIPE)
            self.influence[version] = self.trained_on(self.dataset)

    def trained_on(self, dataset: str) -> set[str]:
        """Return the samples a tenant would train on now."""
        with make.rows_of(dataset) as store:
            return set(store.ids(store.in_split("train")))

    def step(self) -> None:
        acts: dict[Callable[[], object], int] = {
            self.delete: 5,
            self.correct: 3,
            self.publish: 5,
            self.reject: 2,
            self.die: 2,
            self.stop: 1,
            self.cancel: 2,
            self.retry: 3,
            self.withdraw: 4,
            self.register: 2,
            self.validate: 3,
            self.withdraw_version: 1,
        }
        act = self.random.choices(list(acts), list(acts.values()))[0]
        with suppress(DomainError, LookupError):
            act()

    def one(self, cls: type[Entity], *conditions: ColumnElement[bool]) -> str:
        with writing() as tx:
            found = tx.scalars(select(cls.id).where(*conditions).order_by(cls.id)).all()
        if not found:
            raise LookupError
        return self.random.choice(found)

    def delete(self) -> None:
        dataset, prefix = self.random.choice([(self.dataset, "s")] * 3 + [(self.other, "t")])
        names = [f"{prefix}{self.random.randrange(22)}" for _ in range(self.random.randrange(1, 4))]
        make.delete(self.tenant, dataset, *names)

    def correct(self) -> None:
        name = f"s{self.random.randrange(20)}"
        age = self.random.randrange(90)
        make.correct(self.tenant, self.dataset, Correction(name, features={"age": age}))

    def queued(self, kind: str) -> str:
        return self.one(Job, Job.kind == kind, Job.state == "queued")

    def publish(self) -> None:
        self.publish_job(self.queued("unlearn"))

    def publish_job(self, job: str) -> None:
        """Do a job as its edits say, in the books."""
        fence = make.claim(job)
        with writing() as tx:
            found = view(tx, tx.get_one(Job, job))
        known = set(self.influence[found.version.id])
        for edits in (found.own, *found.inherited):
            with make.rows_of(edits.dataset_id, edits.revision) as store:
                gone = set(store.ids(np.setdiff1d(edits.forget, edits.replaced)))
            known -= gone
        self.influence[make.publish(job, fence)] = known

    def work_off(self) -> None:
        """Let the workers do all they can."""
        make.work_off(most=300, publishing_by=self.publish_job)
        with suppress(LookupError):
            while True:
                self.withdraw()
                make.work_off(most=300, publishing_by=self.publish_job)

    def assert_nobody_knows_what_was_erased(self) -> None:
        """No version that serves was trained on a row that is gone."""
        present: set[str] = set()
        for dataset in (self.dataset, self.other):
            with make.rows_of(dataset) as store:
                present |= set(store.ids(store.in_split(None)))
        with writing() as tx:
            states = {row[0]: row[1] for row in tx.execute(select(Version.id, Version.state))}
        for version, known in self.influence.items():
            if states[version] in ("live", "tainted"):
                assert known <= present

    def reject(self) -> None:
        make.reject(self.queued("unlearn"))

    def die(self) -> None:
        job = self.queued(self.random.choice(["unlearn", "withdraw"]))
        make.claim(job)
        make.lapse(job)
        if self.random.random() < 0.5:
            make.claim(job)
            make.lapse(job)
        with writing() as tx:
            upkeep.requeue_lapsed(tx)

    def stop(self) -> None:
        job = self.queued("unlearn")
        with writing() as tx:
            cancelling.cancel_job(tx, make.ACTOR, self.tenant, job)

    def cancel(self) -> None:
        make.cancel(self.tenant, self.one(Request, Request.state.not_in(DONE_STATES)))

    def retry(self) -> None:
        request = self.one(Request, Request.state == "needs_attention")
        with writing() as tx:
            retrying.retry_request(tx, make.ACTOR, self.tenant, request)

    def withdraw(self) -> None:
        job = self.queued("withdraw")
        make.bring_forward(job)
        make.run_withdrawal(job)

    def register(self) -> None:
        model = self.random.choice(self.models)
        dataset = self.random.choice([self.dataset, self.other])
        parent = self.one(Version) if self.random.random() < 0.5 else None
        version = make.register(self.tenant, model, dataset, parent_id=parent)
        self.influence[version] = self.trained_on(dataset)
        if parent is not None:
            self.influence[version] |= self.influence[parent]

    def validate(self) -> None:
        version = self.one(Version, Version.state == "awaiting_weights")
        model = make.read(Version, version).model_id
        make.validate(make.upload_weights(self.tenant, model, version))

    def withdraw_version(self) -> None:
        version = self.one(Version, Version.state.in_(("live", "tainted", "validating")))
        model = make.read(Version, version).model_id
        with writing() as tx:
            versions.withdraw_version(tx, make.ACTOR, self.tenant, model, version)


@pytest.mark.parametrize("seed", range(6))
def test_any_walk_leaves_one_entry_for_each_change(sqlite_home: Path, seed: int) -> None:
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.step()
        assert_the_picture_is_consistent()
        walk.assert_nobody_knows_what_was_erased()
    assert_every_change_has_one_entry()
    walk.work_off()
    while True:
        try:
            walk.retry()
        except LookupError:
            break
        walk.work_off()
    walk.assert_nobody_knows_what_was_erased()
    assert_every_change_has_one_entry()
    assert_the_picture_is_consistent()
    with writing() as tx:
        left = tx.scalars(select(Request.state).where(Request.state.not_in(DONE_STATES))).all()
        live = tx.scalars(select(Version.state).where(Version.state == "tainted")).all()
    assert (left, live) == ([], [])


def test_a_walk_on_either_database(home: Path) -> None:
    walk = Walk(99)
    for _ in range(STEPS // 2):
        walk.step()
    assert_every_change_has_one_entry()
    assert_the_picture_is_consistent()
