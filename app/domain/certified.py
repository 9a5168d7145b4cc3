"""The certificate of a request, put together from entries of the log and nothing else.

What the database says of a target, a version or a report is only used where a cited entry
states its digest or its change of state; ``build`` refuses to state a digest that none does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.domain import policy, provenance
from app.domain.audit import AuditEntry
from app.domain.catalog import Version
from app.domain.log import Leaf, RequestCommitment
from app.domain.reports import Report
from app.domain.requests import Request, Target
from app.infra import clock
from app.ledger import certificates as states
from app.ledger.certificates import Certificate, limits_for
from app.ledger.encoding import parse
from app.ledger.errors import UnloggedFact
from app.ledger.records import moment, write_record
from app.ledger.verify import stated_digests

OF_REQUEST = ("request.", "target.", "rows.", "version.", "withdrawal.")
OF_RESULT = ("job.succeeded", "version.created")
OF_PARENT = ("version.superseded", "version.withdrawn")
ROWS = {"rows.erased": "erased", "rows.corrected": "overwritten"}


@dataclass(frozen=True)
class _Logged:
    """An entry and its place."""

    entry: AuditEntry
    leaf: Leaf


@dataclass(frozen=True)
class _Part:
    """One target with what its statement is made of."""

    target: Target
    parent: Version
    result: Version | None
    report: Report | None


def build(tx: Session, request: Request, origin: str) -> Certificate:
    """Put a certificate of a request together, as the first one.

    Args:
        tx: The transaction.
        request: A request that has ended; its entries are sealed.
        origin: Of the log.

    Returns:
        The certificate, issued now.

    Raises:
        UnloggedFact: Something it would state is not in the log, such as what was done before
            there was one.
    """
    commitment = tx.get(RequestCommitment, request.id)
    if commitment is None or request.completed_at is None:
        raise UnloggedFact("the log does not say what the request named")
    parts = _parts(tx, request)
    logged = _cited(tx, request, parts)
    targets = tuple(_target(tx, part) for part in parts)
    rows = _rows(logged)
    made = Certificate(
        kind="completed",
        issued_at=_issued_at(tx, request, targets, rows),
        request=states.Asked(
            id=request.id,
            kind="deletion" if request.kind == "deletion" else "correction",
            regulation=request.regulation,
            received_at=clock.rfc3339(request.received_at),
            completed_at=clock.rfc3339(request.completed_at),
            counts=request.counts,
            commitment=states.Commitment(commitment.root.hex(), commitment.size),
        ),
        targets=targets,
        log=states.Log(
            origin,
            tuple(
                states.Cited(item.leaf.index, item.entry.type, item.leaf.leaf_hash.hex())
                for item in logged
            ),
        ),
        limits=limits_for(targets),
        rows=rows,
    )
    leaves = b"\n".join(item.leaf.leaf for item in logged).decode()
    if not all(digest in leaves for digest in stated_digests(write_record(made))):
        raise UnloggedFact("no entry states a digest that the certificate would")
    return made


def _parts(tx: Session, request: Request) -> list[_Part]:
    found = []
    query = select(Target).where(Target.request_id == request.id).order_by(Target.id)
    for target in tx.scalars(query):
        parent = tx.get_one(Version, target.first_version_id)
        result = report = None
        if target.state == "fulfilled" and target.result_version_id not in {None, parent.id}:
            result = tx.get_one(Version, target.result_version_id)
            report = tx.scalar(select(Report).where(Report.job_id == result.produced_by_job_id))
        found.append(_Part(target, parent, result, report))
    return found


def _cited(tx: Session, request: Request, parts: Sequence[_Part]) -> list[_Logged]:
    """Return the sealed entries that the certificate rests on, in the order of the log."""
    parents = [part.parent.id for part in parts]
    results = [part.result.id for part in parts if part.result is not None]
    jobs = [part.report.job_id for part in parts if part.report is not None]
    about = or_(
        AuditEntry.request_id == request.id,
        AuditEntry.version_id.in_(parents) & AuditEntry.type.in_(OF_PARENT),
        AuditEntry.version_id.in_(results) & AuditEntry.type.in_(OF_RESULT),
        AuditEntry.job_id.in_(jobs) & AuditEntry.type.in_(OF_RESULT),
    )
    query = (
        select(AuditEntry, Leaf)
        .join(Leaf, Leaf.entry_id == AuditEntry.id)
        .where(AuditEntry.tenant_id == request.tenant_id, about)
        .order_by(Leaf.index)
    )
    wanted = (*OF_REQUEST, *OF_RESULT)
    return [
        _Logged(entry, leaf) for entry, leaf in tx.execute(query) if entry.type.startswith(wanted)
    ]


def _target(tx: Session, part: _Part) -> states.Target:
    parent = states.Parent(part.parent.id, _hexadecimal(part.parent.digest), *_end_of(part.parent))
    if part.result is None:
        return states.Target(part.target.model_id, parent, reason=_reason(part))
    if part.report is None:
        raise UnloggedFact("the log does not say how a result was made")
    result = states.Result(part.result.id, _hexadecimal(part.result.digest))
    run = _run(tx, part.report, part.result)
    return states.Target(part.target.model_id, parent, result, run)


def _reason(part: _Part) -> Any:  # one of the reasons that a certificate knows
    if part.target.state == "cancelled":
        return "cancelled"
    return "withdrawn" if part.target.result_version_id is None else "nothing_left"


def _end_of(version: Version) -> tuple[Any, str | None]:  # as Parent takes them
    if version.withdrawn_at is None:
        return ("pending" if version.state == "superseded" else "none"), None
    if version.weights_key is not None or version.curvature is not None:
        return "pending", None
    return "withdrawn", clock.rfc3339(version.withdrawn_at)


def _run(tx: Session, report: Report, result: Version) -> states.Run:
    succeeded = tx.scalars(
        select(AuditEntry).where(
            AuditEntry.job_id == report.job_id,
            AuditEntry.type == "job.succeeded",
            AuditEntry.version_id == report.version_id,
        )
    ).one_or_none()
    facts = {} if succeeded is None else succeeded.facts
    if report.canonical is None or not {"inputs", "report_sha256"} <= facts.keys():
        raise UnloggedFact("the log does not say how a result was made")
    document = cast("dict[str, Any]", parse(report.canonical))
    parameters = document.get("parameters", {})
    cost = document.get("cost", {})
    changed, total = report.parameters_changed, report.parameters_total
    is_partial = 0 < changed < total
    return states.Run(
        job_id=report.job_id,
        method=report.method,
        parameters=parameters,
        seeds=facts.get("seeds", provenance.seeds_of(result, report.method, parameters)),
        inputs=states.Inputs(**facts["inputs"]),
        assurance=document["assurance"],
        verdict=document["verdict"],
        measurements=tuple(_measurements(document)),
        gates=tuple(_gate(item) for item in document.get("gates", ())),
        report_sha256=facts["report_sha256"],
        selection=states.Selection(report.method, changed, int(cost["parameters_total"]))
        if is_partial
        else None,
        guarantee=document.get("guarantee"),
    )


def _measurements(document: Mapping[str, Any]) -> Iterable[states.Measurement]:
    series = [(None, document.get("measurements", ()))]
    series += [(item["name"], item["measurements"]) for item in document.get("controls", ())]
    for control, measurements in series:
        for item in measurements:
            yield states.Measurement(
                name=item["name"],
                samples=int(item.get("samples", 0)),
                before=_decimal(item.get("before")),
                after=_decimal(item.get("after")),
                reference=_decimal(item.get("reference")),
                interval=_interval(item.get("interval")),
                control=control,
            )


def _gate(item: Mapping[str, Any]) -> states.Gate:
    limit = _decimal(item["limit"])
    if limit is None:
        raise UnloggedFact("a gate has no limit")
    return states.Gate(
        name=item["name"],
        bound="at_least" if item["name"] in policy.LOWER_GATES else "at_most",
        limit=limit,
        verdict=item["verdict"],
        value=_decimal(item.get("value")),
        interval=_interval(item.get("interval")),
    )


def _decimal(value: object) -> str | None:
    """Return a number as the report's canonical form writes it; None if it is none."""
    return None if value is None or value in {"nan", "inf", "-inf", "none"} else str(value)


def _interval(value: Sequence[object] | None) -> tuple[str, ...] | None:
    ends = tuple(_decimal(end) for end in value or ())
    return tuple(end for end in ends if end is not None) if ends and None not in ends else None


def _rows(logged: Iterable[_Logged]) -> states.Rows | None:
    entries = [item.entry for item in logged if item.entry.type in ROWS]
    if not entries:
        return None
    return states.Rows(
        action=cast("Any", ROWS[entries[0].type]),
        rows=sum(int(entry.facts["rows"]) for entry in entries),
        revisions=len(entries),
        done_at=clock.rfc3339(max(entry.time for entry in entries)),
    )


def _issued_at(
    tx: Session, request: Request, targets: Iterable[states.Target], rows: states.Rows | None
) -> str:
    """Return now, but nothing that is stated as done before: clocks differ a little."""
    times = [clock.database_now(tx), clock.now(), request.received_at]
    times += [] if request.completed_at is None else [request.completed_at]
    times += [moment(t.parent.withdrawn_at) for t in targets if t.parent.withdrawn_at is not None]
    times += [] if rows is None else [moment(rows.done_at)]
    return clock.rfc3339(max(times))


def _hexadecimal(digest: str | None) -> str:
    if digest is None:
        raise UnloggedFact("a version has no digest")
    return digest.removeprefix("sha256:")
