"""What each run depended on, so that it can be run again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "run_records",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("lasting_key", sa.LargeBinary(), nullable=True),
        sa.Column("passing_key", sa.LargeBinary(), nullable=True),
        sa.Column("replaced", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_run_records_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_run_records")),
    )
    op.create_index(op.f("ix_run_records_tenant_id"), "run_records", ["tenant_id"])


def downgrade() -> None:
    op.drop_table("run_records")
