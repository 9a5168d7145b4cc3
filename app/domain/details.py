"""What a request asked for, as the text that the log commits to."""

import json
from typing import Any

from app.domain.orders import UNSET, Correction, CorrectionOrder, DeletionOrder
from app.domain.requests import Request
from app.infra import clock


def detail_of(request: Request, order: DeletionOrder | CorrectionOrder) -> bytes:
    """Write an order as it was accepted: JSON in ASCII, members sorted, without white space.

    Whoever has the order can write the same bytes again.

    Args:
        request: What was made of it.
        order: The order.

    Returns:
        The detail.
    """
    document: dict[str, Any] = {
        "request_id": request.id,
        "dataset_id": order.dataset_id,
        "kind": request.kind,
        "regulation": order.regulation,
        "received_at": clock.rfc3339(request.received_at),
        "submitted_at": None if order.submitted_at is None else clock.rfc3339(order.submitted_at),
        "reference": order.reference,
    }
    if isinstance(order, DeletionOrder):
        document |= {
            "sample_ids": order.sample_ids,
            "subject_ids": order.subject_ids,
            "labels": order.labels,
        }
    else:
        document["corrections"] = [_correction(item) for item in order.corrections]
        if order.feature_removal is not None:
            document["feature_removal"] = {
                "columns": order.feature_removal.columns,
                "sample_ids": order.feature_removal.sample_ids,
                "value": order.feature_removal.value,
            }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _correction(item: Correction) -> dict[str, Any]:
    label = {} if item.label is UNSET else {"label": item.label}
    return {"sample_id": item.sample_id, "features": dict(item.features), **label}
