"""``lethe migrate``: bring the database to the newest schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from app.infra.settings import settings


def alembic_config(url: str) -> Config:
    """Return Alembic's configuration for our migrations and this database."""
    # A namespace package has no __file__: the folder stands beside `app`.
    folder = Path(__file__).parents[2] / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder))
    # Alembic's configuration interpolates percent signs, which a password may hold.
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def migrate() -> None:
    """Apply the migrations that the configured database has not seen."""
    config = settings()
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    command.upgrade(alembic_config(config.database_url), "head")
