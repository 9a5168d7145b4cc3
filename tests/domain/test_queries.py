"""Lists are read by pages, and filters match what they say."""

from pathlib import Path

import pytest
from sqlalchemy import select

from app.domain.audit import AuditEntry
from app.domain.catalog import Model
from app.domain.errors import Refused
from app.domain.jobs import Job
from app.domain.queries import audit, catalog, jobs, requests
from app.domain.queries.paging import PageOrder
from app.infra.db import reading, writing
from tests import builders as make


def test_pages_join_to_the_whole_list(home: Path) -> None:
    tenant = make.make_tenant()
    made = [make.make_model(tenant) for _ in range(7)]
    found: list[str] = []
    cursor = None
    with reading() as tx:
        while True:
            page = catalog.models(tx, tenant, PageOrder(3, cursor))
            found += [model.id for model in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert found == made[::-1]


@pytest.mark.parametrize("cursor", ["", "%%%", "aGk\0", "w6k=", "=====", "日本"])
def test_a_cursor_that_is_none_of_ours_is_refused(sqlite_home: Path, cursor: str) -> None:
    with pytest.raises(Refused) as refused, reading() as tx:
        catalog.models(tx, "ten_x", PageOrder(3, cursor))
    assert refused.value.code == "invalid-cursor"


def test_filters_of_requests_and_jobs(tenant: str, dataset: str, model: str, version: str) -> None:
    gdpr = make.delete(tenant, dataset, "s0", regulation="gdpr", reference="case-1")
    none = make.delete(tenant, dataset, "s19")
    everything = PageOrder()

    with reading() as tx:

        def found(**filters: object) -> list[str]:
            page = requests.requests(tx, tenant, everything, **filters)  # type: ignore[arg-type]
            return [request.id for request in page.items]

        assert found() == [none, gdpr]
        assert found(regulation="gdpr") == [gdpr]
        assert found(state="withdrawing") == [none]
        assert found(kind="correction") == []
        assert found(model_id=model) == [gdpr]
        assert found(reference="case-1") == [gdpr]
        assert found(state="\0") == found(reference="\ud800") == []
        [due] = [item.due_at for item in requests.requests(tx, tenant, everything).items[1:]]
        assert due is not None
        assert found(due_before=due) == []
        [job] = jobs.jobs(tx, tenant, everything, request_id=gdpr).items
        assert jobs.jobs(tx, tenant, everything, version_id=version).items == [job]
        assert jobs.jobs(tx, tenant, everything, state="running").items == []
        assert jobs.jobs(tx, tenant, everything, state="\0").items == []
        assert jobs.request_ids(tx, [job.id]) == {job.id: [gdpr]}
        [view] = requests.targets(tx, [gdpr, none])[gdpr]
        assert view.job_ids == [job.id]
        assert catalog.live_version_ids(tx, [model]) == {model: version}


def test_entries_of_a_request_include_those_of_its_jobs(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(request)
    new = make.publish(job)
    make.withdraw(request)
    with reading() as tx:
        entries = audit.entries(tx, tenant, PageOrder(500), request_id=request).items
        types = [entry.type for entry in entries]
        assert [entry.id for entry in entries] == sorted(entry.id for entry in entries)
        assert types[:2] == ["request.created", "request.accepted"]
        assert types[-2:] == ["request.fulfilled", "job.succeeded"]
        assert {"job.running", "target.fulfilled", "version.withdrawn", "rows.erased"} <= set(types)
        page = audit.entries(tx, tenant, PageOrder(2), request_id=request)
        rest = audit.entries(
            tx, tenant, PageOrder(500), request_id=request, after=page.items[-1].id
        )
        assert [entry.type for entry in (*page.items, *rest.items)] == types
        published = audit.entries(tx, tenant, PageOrder(), version_id=new, type="version.live")
        assert [entry.job_id for entry in published.items] == [job]
        assert audit.entries(tx, tenant, PageOrder(), type="\0").items == []
        assert jobs.report_of_job(tx, job) is not None
        report = catalog.report_of_version(tx, new)
        assert report is not None
        assert report.document == make.REPORT


def test_the_report_s_measurements_and_gates_are_rows(
    tenant: str, dataset: str, version: str
) -> None:
    from app.domain.reports import Gate, Measurement

    [job] = make.jobs_of(make.delete(tenant, dataset, "s0"))
    make.publish(job)
    with writing() as tx:
        measured = tx.scalars(select(Measurement)).one()
        assert (measured.name, measured.before, measured.after) == ("forget_accuracy", 1.0, 0.5)
        assert (measured.low, measured.high, measured.control) == (0.2, 0.8, None)
        gate = tx.scalars(select(Gate)).one()
        assert (gate.name, gate.verdict) == ("holdout_accuracy_drop", "passed")
        assert tx.scalars(select(AuditEntry)).first() is not None
        assert tx.scalars(select(Model)).one().state == "active"
        assert tx.get_one(Job, job).method == "sparse_newton"
