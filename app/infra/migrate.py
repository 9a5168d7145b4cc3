"""The database is brought to the newest schema; one set of migrations for both databases."""

from pathlib import Path

from alembic import command
from alembic.config import Config

FOLDER = "migrations"


def alembic_config(url: str) -> Config:
    """Return Alembic's configuration for our migrations and a database.

    The migrations are a folder beside the package, in a checkout and when installed alike.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / FOLDER))
    # Alembic's configuration interpolates percent signs, which a password may hold.
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade_to_head(url: str) -> None:
    """Apply the migrations that a database has not seen, all of them or none.

    Several processes may call this at once: one works, the others wait and find nothing left.

    Args:
        url: ``sqlite:///...`` or ``postgresql://...``.
    """
    command.upgrade(alembic_config(url), "head")
