"""The log: leaves, nodes and checkpoints, certificates, and what waits to be sealed.

A trigger queues every new audit entry for sealing, so that none can be forgotten. The log's
own tables and the certificates refuse UPDATE, DELETE, replacement and TRUNCATE.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MESSAGE = "the log is never changed"
KEYS = {
    "log_leaves": '"index" = NEW."index" OR entry_id = NEW.entry_id',
    "log_nodes": "level = NEW.level AND position = NEW.position",
    "log_checkpoints": "size = NEW.size",
    "certificates": "id = NEW.id OR (request_id = NEW.request_id AND number = NEW.number)",
}
"""Append-only tables, and which rows a new one would take the place of."""


def protect() -> None:
    """Let the database itself refuse every change of the log."""
    if op.get_bind().dialect.name == "sqlite":
        for table, same in KEYS.items():
            events = {
                "no_update": f"BEFORE UPDATE ON {table}",
                "no_delete": f"BEFORE DELETE ON {table}",
                # INSERT OR REPLACE deletes without firing a DELETE trigger.
                "no_replace": (
                    f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 - names of our own
                ),
            }
            for name, event in events.items():
                op.execute(
                    f"CREATE TRIGGER {table}_{name} {event} "
                    f"BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"
                )
        op.execute(
            "CREATE TRIGGER audit_entries_unsealed AFTER INSERT ON audit_entries BEGIN "
            "INSERT INTO log_unsealed (entry_id, tenant_id) VALUES (NEW.id, NEW.tenant_id); END"
        )
        return
    op.execute(
        "CREATE FUNCTION refuse_log_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{MESSAGE}'; END $$"
    )
    for table in KEYS:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_log_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_log_change()"
        )
    op.execute(
        "CREATE FUNCTION queue_for_sealing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO log_unsealed (entry_id, tenant_id) VALUES (NEW.id, NEW.tenant_id); "
        "RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_entries_unsealed AFTER INSERT ON audit_entries "
        "FOR EACH ROW EXECUTE FUNCTION queue_for_sealing()"
    )


def upgrade() -> None:
    op.create_table(
        "log_unsealed",
        sa.Column("position", SERIAL, autoincrement=True, nullable=False),
        sa.Column("entry_id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_log_unsealed")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_log_unsealed_entry_id")),
    )
    op.create_table(
        "log_leaves",
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry_id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["audit_entries.id"], name=op.f("fk_log_leaves_entry_id_audit_entries")
        ),
        sa.PrimaryKeyConstraint("index", name=op.f("pk_log_leaves")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_log_leaves_entry_id")),
    )
    op.create_table(
        "log_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_log_nodes")),
    )
    op.create_table(
        "log_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_log_checkpoints")),
    )
    op.create_table(
        "request_commitments",
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_request_commitments_request_id_requests")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_request_commitments")),
    )
    op.create_index(op.f("ix_request_commitments_tenant_id"), "request_commitments", ["tenant_id"])
    op.create_table(
        "certificates",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("entry_id", sa.String(length=40), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_certificates_request_id_requests")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
        sa.UniqueConstraint("request_id", "number", name=op.f("uq_certificates_request_id_number")),
    )
    op.create_index(op.f("ix_certificates_tenant_id"), "certificates", ["tenant_id"])
    op.create_table(
        "certificates_due",
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("failure", sa.String(length=80), nullable=True),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_certificates_due")),
    )
    op.add_column("reports", sa.Column("canonical", sa.LargeBinary(), nullable=True))
    op.execute(
        "INSERT INTO log_unsealed (entry_id, tenant_id) "
        "SELECT id, tenant_id FROM audit_entries ORDER BY id"
    )
    protect()


def downgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.execute("DROP TRIGGER audit_entries_unsealed" + ("" if is_sqlite else " ON audit_entries"))
    op.drop_column("reports", "canonical")
    for table in (
        "certificates_due",
        "certificates",
        "request_commitments",
        "log_checkpoints",
        "log_nodes",
        "log_leaves",
        "log_unsealed",
    ):
        op.drop_table(table)
    if not is_sqlite:
        op.execute("DROP FUNCTION refuse_log_change()")
        op.execute("DROP FUNCTION queue_for_sealing()")
