"""``lethe log keys`` prints what a witness has to trust."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import log
from app.infra import signing
from app.infra.settings import settings
from app.ledger.notes import ED25519, VerifierKey
from tests.domain.conftest import forget_settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    forget_settings()
    yield
    forget_settings()


def test_keys_that_still_sign_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    log.keys()
    first = capsys.readouterr().out
    key = VerifierKey.parse(first.strip())
    assert (key.type, key.name) == (ED25519, signing.keyring().origin)
    signing.rotate(settings())
    signing.keyring.cache_clear()
    log.keys()
    second = capsys.readouterr().out
    assert second.count("\n") == 1
    assert second != first
