"""Entries appended and sealed as the supervisor does it."""

from typing import Any

from app.domain import audit, tree
from app.domain.actions import sealing
from app.infra.db import reading, writing


def append(count: int, facts: dict[str, Any] | None = None) -> list[str]:
    """Append entries in one transaction; return their ids."""
    with writing() as tx:
        made = [
            audit.append(
                tx,
                tenant_id="ten_a",
                type="thing.made",
                actor=audit.SYSTEM,
                entity_kind="thing",
                entity_id=f"thing_{number}",
                to_state="made",
                links=audit.Links(facts=facts or {"number": number}),
            )
            for number in range(count)
        ]
        tx.flush()
        return [entry.id for entry in made]


def seal(most: int = sealing.MOST_ENTRIES) -> int:
    """Seal and sign everything; return the size of the log."""
    sealed = most
    while sealed == most:
        with writing() as tx:
            sealed = sealing.seal(tx, most)
    with writing() as tx:
        sealing.sign(tx)
    with reading() as tx:
        return tree.size_of(tx)
