"""All tables in one metadata, for migrations and for tests that make a schema."""

from app.domain import (
    access,
    audit,
    catalog,
    jobs,
    log,
    reports,
    requests,
    runs,
    suppression,
    tenant_keys,
)
from app.infra.db import Base

MODULES = (access, audit, catalog, jobs, log, reports, requests, runs, suppression, tenant_keys)
metadata = Base.metadata
