"""``lethe log``: the log is derived again from the entries, and its keys are renewed."""

from app.domain.fsck import Fault, inspect
from app.infra import clock, db
from app.infra.settings import settings
from app.infra.signing import keyring
from app.infra.signing import rotate as renew

MOST_SHOWN = 20


def fsck() -> int:
    """Compare the stored log with its entries; print what differs.

    Returns:
        0 if nothing does, else 1.
    """
    faults: list[Fault] = []
    with db.reading() as tx:
        if tx.get_bind().dialect.name == "postgresql":
            # SQLite's readers see one state of the database anyway.
            tx.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        found = inspect(tx, faults)
    for fault in faults[:MOST_SHOWN]:
        print(f"{fault.name}: {fault.detail}")
    print(
        f"{found.leaves} leaves, {found.nodes} nodes, {found.checkpoints} checkpoints,"
        f" {found.waiting} entries not sealed yet; {len(faults)} faults"
    )
    return 1 if faults else 0


def keys() -> None:
    """Print the keys of the log that are not retired, one a line."""
    now = clock.now()
    for key in keyring().keys:
        if key.trusted.valid_until is None or now < key.trusted.valid_until:
            print(key.trusted.key)


def rotate() -> None:
    """Make a new signing key and print all keys."""
    renew(settings())
    for item in keyring().document()["items"]:
        print(f"{item['vkey']} from {item['valid_from']} until {item['valid_until'] or 'further'}")
    print("the service needs no restart")
