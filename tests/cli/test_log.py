"""``lethe log keys`` prints what a witness has to trust."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import log
from app.infra import clock, signing
from app.infra.settings import settings
from app.ledger.notes import ED25519, VerifierKey
from tests.domain.conftest import forget_settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    forget_settings()
    yield
    forget_settings()


def test_keys_that_still_sign_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log.keys()
    first = capsys.readouterr().out
    key = VerifierKey.parse(first.strip())
    assert (key.type, key.name) == (ED25519, signing.keyring().origin)
    signing.rotate(settings())
    log.keys()
    both = capsys.readouterr().out
    assert both.startswith(first)
    assert both.count("\n") == 2
    changed_at = signing.keyring().keys[1].trusted.valid_from
    assert changed_at is not None
    monkeypatch.setattr(clock, "now", lambda: changed_at)
    log.keys()
    assert first + capsys.readouterr().out == both
