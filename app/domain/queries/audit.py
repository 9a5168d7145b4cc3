"""Reads of the audit trail."""

from sqlalchemy import false, or_, select
from sqlalchemy.orm import Session

from app.domain.audit import AuditEntry
from app.domain.queries.jobs import of_request
from app.domain.queries.paging import PageOrder, Slice, fetch
from app.domain.texts import is_plain


def entries(
    tx: Session,
    tenant_id: str,
    page: PageOrder,
    *,
    request_id: str | None = None,
    job_id: str | None = None,
    version_id: str | None = None,
    type: str | None = None,
    after: str | None = None,
) -> Slice[AuditEntry]:
    """List entries, oldest first.

    Args:
        tx: The transaction.
        tenant_id: Whose entries.
        page: Which page.
        request_id: Those about this request, its targets, its rows and the jobs that served it.
        job_id: Those about this job.
        version_id: Those about this version.
        type: Only of this type, such as ``version.superseded``.
        after: Only behind the entry with this id.

    Returns:
        One page.
    """
    query = select(AuditEntry).where(AuditEntry.tenant_id == tenant_id)
    given = [text for text in (request_id, job_id, version_id, type, after) if text is not None]
    if not all(is_plain(text) for text in given):
        return fetch(tx, query.where(false()), AuditEntry.id, page, newest_first=False)
    if request_id is not None:
        about = AuditEntry.request_id == request_id
        query = query.where(or_(about, AuditEntry.job_id.in_(of_request(request_id))))
    if job_id is not None:
        query = query.where(AuditEntry.job_id == job_id)
    if version_id is not None:
        query = query.where(AuditEntry.version_id == version_id)
    if type is not None:
        query = query.where(AuditEntry.type == type)
    if after is not None:
        query = query.where(AuditEntry.id > after)
    return fetch(tx, query, AuditEntry.id, page, newest_first=False)
