"""What a route may ask for, in one place to import from."""

from app.api.auth import (
    Admin,
    Auditor,
    Caller,
    Client,
    DatasetReader,
    DatasetWriter,
    Decider,
    Discloser,
    Downloader,
    ModelReader,
    ModelWriter,
    Requester,
    RequestReader,
)
from app.api.conditional import IfMatch, IfNoneMatch
from app.api.cursors import Page, Paging
from app.api.idempotency import Once
from app.api.transactions import Look, Tx, read, write
from app.api.waiting import Wait

__all__ = [
    "Admin",
    "Auditor",
    "Caller",
    "Client",
    "DatasetReader",
    "DatasetWriter",
    "Decider",
    "Discloser",
    "Downloader",
    "IfMatch",
    "IfNoneMatch",
    "Look",
    "ModelReader",
    "ModelWriter",
    "Once",
    "Page",
    "Paging",
    "RequestReader",
    "Requester",
    "Tx",
    "Wait",
    "read",
    "write",
]
