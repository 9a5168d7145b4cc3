"""Entries appended and sealed as the supervisor does it, and the keys to verify them with."""

import json
from typing import Any

from app.domain import audit, tree
from app.domain.actions import sealing
from app.infra import signing
from app.infra.db import reading, writing
from app.ledger.disclosures import DisclosedDetail, DisclosedMember
from app.ledger.encoding import encode
from app.ledger.records import write_record
from app.ledger.verify import Key, read_keys


def append(count: int, facts: dict[str, Any] | None = None, tenant_id: str = "ten_a") -> list[str]:
    """Append entries in one transaction; return their ids."""
    with writing() as tx:
        made = [
            audit.append(
                tx,
                tenant_id=tenant_id,
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


def handed_out(shown: DisclosedMember | DisclosedDetail) -> bytes:
    """Return a disclosure as the API answers with it."""
    return encode(write_record(shown))


def trusted() -> tuple[Key, ...]:
    """Return the keys as the service publishes them."""
    return read_keys(json.dumps(signing.keyring().document()).encode())


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
