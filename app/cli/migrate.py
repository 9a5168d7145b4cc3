"""``lethe migrate``: bring the database to the newest schema."""

from app.infra.migrate import alembic_config, upgrade_to_head
from app.infra.settings import settings

__all__ = ["alembic_config", "migrate"]


def migrate() -> None:
    """Apply the migrations that the configured database has not seen."""
    config = settings()
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    upgrade_to_head(config.database_url)
