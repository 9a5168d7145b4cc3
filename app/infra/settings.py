"""One typed settings object, read from the environment.

Every variable is named ``LETHE_<FIELD>``. A value that names a secret may also be given as a
file through ``LETHE_<FIELD>_FILE`` (Docker and Kubernetes secrets); so may the witnesses.
"""

from functools import lru_cache
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.ledger.errors import MalformedPolicy
from app.ledger.policies import Policy

SECRETS = (
    "bootstrap_key",
    "secret_key",
    "signing_keys",
    "model_keys",
    "database_url",
    "broker_url",
    "store_url",
    "witnesses",
    "announce_url",
)
WITNESSES = "witnesses.txt"
LONGEST_VKEY = 300


class Settings(BaseSettings):
    """What the operator may decide. Defaults give the embedded service under ``home``."""

    model_config = SettingsConfigDict(env_prefix="LETHE_", extra="ignore")

    home: Path = Field(default=Path(".lethe"), description="Data folder, shared by all processes.")
    database_url: str = ""
    broker_url: str = ""
    store_url: str = ""
    bootstrap_key: SecretStr | None = None
    secret_key: SecretStr | None = Field(
        default=None, description="Master secret, at least 32 characters; made on first use."
    )
    signing_keys: SecretStr | None = Field(
        default=None, description="Keys of the log; see app/infra/signing. Made on first use."
    )
    model_keys: SecretStr | None = Field(
        default=None, description="Keys that sign models, on P-256 or P-384. Made on first use."
    )
    log_origin: str | None = Field(
        default=None, description="Name of the log where its keys do not say it."
    )
    checkpoint_file: Path | None = Field(
        default=None, description="Where the last signed checkpoint is kept; below home if unset."
    )
    witnesses: str = Field(
        default="",
        description="Whom to ask for cosignatures: a policy of C2SP tlog-policy with a URL for"
        " each witness. By default the file witnesses.txt below home, if there is one.",
    )
    recosign_seconds: float = Field(
        default=3600.0, gt=0, description="How old a cosignature may get while the log rests."
    )
    announce_file: Path | None = Field(
        default=None, description="A file that always holds the newest checkpoint."
    )
    announce_url: SecretStr | None = Field(
        default=None, description="Where every new checkpoint is posted to."
    )
    keys_folder: Path | None = Field(
        default=None, description="Where the tenants' wrapped keys are; below home if unset."
    )
    detail_days: float = Field(
        default=90.0, ge=0, description="How long what a request named can be shown after its end."
    )
    production: bool = Field(
        default=False, description="Refuse SQLite, made-up secrets and the filesystem broker."
    )
    host: str = "127.0.0.1"
    port: int = 8080
    threads: int = Field(default=1, ge=1, description="Torch threads of a worker.")
    device: str = Field(default="auto", description="auto, cpu or cuda.")
    lease_seconds: float = Field(default=30.0, gt=0)
    sweep_seconds: float = Field(default=0.25, gt=0, description="Pause of the dispatcher.")
    ring_again_seconds: float = Field(default=10.0, gt=0)
    max_attempts: int = Field(default=5, ge=1)
    max_body_bytes: int = Field(default=32 * 2**20, description="Limit of a JSON body.")
    max_upload_bytes: int = Field(default=64 * 2**30, description="Limit of a file upload.")
    max_parameters: int = Field(default=2_000_000_000, description="Largest model accepted.")
    log_level: str = "INFO"
    test_pause: str = Field(
        default="", description="Name of a pipeline point to pause at; for fault injection only."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, object]) -> dict[str, object]:
        import os

        for name in SECRETS:
            path = os.environ.get(f"LETHE_{name.upper()}_FILE")
            if path and not values.get(name):
                values[name] = Path(path).read_text().strip()
        return values

    @model_validator(mode="after")
    def _fill_embedded_defaults(self) -> Self:
        self.home = self.home.expanduser().absolute()
        self.database_url = self.database_url or f"sqlite:///{self.home / 'lethe.db'}"
        if self.database_url.startswith("postgresql://"):
            self.database_url = "postgresql+psycopg://" + self.database_url[13:]
        self.broker_url = self.broker_url or "filesystem://"
        self.store_url = self.store_url or f"file://{self.home / 'store'}"
        if not self.witnesses and (self.home / WITNESSES).exists():
            self.witnesses = (self.home / WITNESSES).read_text(errors="surrogateescape")
        self._require_witnesses()
        if self.production:
            self._refuse_embedded()
        return self

    def _require_witnesses(self) -> None:
        try:
            asked = self.witness_policy.witnesses
        except MalformedPolicy as error:
            raise ValueError(f"the witnesses cannot be read: {error}") from error
        for name, witness in asked.items():
            if urlsplit(witness.url or "").scheme not in {"http", "https"}:
                raise ValueError(f"the witness {name} has no URL to ask it at")
            if len(str(witness.key)) > LONGEST_VKEY:
                raise ValueError(f"the key of the witness {name} is too long")

    def _refuse_embedded(self) -> None:
        if self.database_url.startswith("sqlite"):
            raise ValueError("production needs PostgreSQL: set LETHE_DATABASE_URL")
        if self.broker_url.startswith("filesystem"):
            raise ValueError("production needs Redis: set LETHE_BROKER_URL")
        if self.secret_key is None:
            raise ValueError("production needs LETHE_SECRET_KEY or LETHE_SECRET_KEY_FILE")
        if self.signing_keys is None:
            raise ValueError("production needs LETHE_SIGNING_KEYS or LETHE_SIGNING_KEYS_FILE")

    @property
    def witness_policy(self) -> Policy:
        """Whom to ask for cosignatures, and which of them make a quorum."""
        text = self.witnesses or "quorum none\n"
        return Policy.parse(text.encode(errors="surrogateescape"))

    @property
    def kept_checkpoint(self) -> Path:
        """The last checkpoint of the log, outside the database."""
        return self.checkpoint_file or self.home / "log.checkpoint"

    @property
    def tenant_keys_folder(self) -> Path:
        """Wrapped keys of the tenants, outside the database so that they can be destroyed."""
        return self.keys_folder or self.home / "keys"

    @property
    def rows_folder(self) -> Path:
        """Row files and id indexes, one folder per dataset revision."""
        return self.home / "rows"

    @property
    def staging_folder(self) -> Path:
        """Temporary files of uploads and jobs."""
        return self.home / "staging"

    @property
    def broker_folder(self) -> Path:
        """Messages of the filesystem broker."""
        return self.home / "broker"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the process's settings, read once."""
    return Settings()
