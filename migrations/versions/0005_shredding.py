"""Keys that can be destroyed: tenants' epochs, and a data key for each request.

Commitments made before had their key under one that follows from the master key, and nobody
kept what they are to: their keys are destroyed. A request may have several certificates due.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEPT: dict[str, sa.types.TypeEngine[Any]] = {
    "detail_commitment": sa.LargeBinary(length=32),
    "key_epoch": sa.Integer(),
    "wrapped_key": sa.LargeBinary(),
    "shredded_at": sa.DateTime(timezone=True),
    "detail": sa.LargeBinary(),
    "members": sa.LargeBinary(),
}


def upgrade() -> None:
    op.create_table(
        "tenant_keys",
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=30), nullable=False),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant_keys")),
        sa.UniqueConstraint("tenant_id", "epoch", name=op.f("uq_tenant_keys_tenant_id_epoch")),
    )
    op.create_index(op.f("ix_tenant_keys_state"), "tenant_keys", ["state"])
    op.create_index(op.f("ix_tenant_keys_tenant_id"), "tenant_keys", ["tenant_id"])
    # Not in batch mode: it copies the table, and the copy would lack the triggers.
    op.add_column("audit_entries", sa.Column("detail_commitment", sa.String(64), nullable=True))
    for name, kind in KEPT.items():
        op.add_column("request_commitments", sa.Column(name, kind, nullable=True))
    op.drop_column("request_commitments", "sealed_key")
    _remake_due(sa.Column("kind", sa.String(length=30), nullable=False), kind="completed")


def downgrade() -> None:
    _remake_due()
    op.add_column("request_commitments", sa.Column("sealed_key", sa.LargeBinary(), nullable=True))
    for name in KEPT:
        op.drop_column("request_commitments", name)
    op.drop_column("audit_entries", "detail_commitment")
    op.drop_table("tenant_keys")


def _remake_due(*more: sa.Column[str], **values: str) -> None:
    """Make the table of what is due anew, with other columns in its key."""
    connection = op.get_bind()
    query = "SELECT DISTINCT request_id, tenant_id, failure FROM certificates_due"
    query += "" if more else " WHERE kind = 'completed'"
    waiting = connection.execute(sa.text(query)).mappings().all()
    op.drop_table("certificates_due")
    table = op.create_table(
        "certificates_due",
        sa.Column("request_id", sa.String(length=40), nullable=False),
        *more,
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("failure", sa.String(length=80), nullable=True),
        sa.PrimaryKeyConstraint(
            "request_id", *(column.name for column in more), name=op.f("pk_certificates_due")
        ),
    )
    op.bulk_insert(table, [{**row, **values} for row in waiting])
