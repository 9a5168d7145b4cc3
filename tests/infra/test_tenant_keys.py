"""Keys of tenants: wrapped under the master key, in files that can be destroyed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.infra import tenant_keys
from app.infra.keys import BoxDamaged
from app.infra.settings import Settings
from app.infra.tenant_keys import KeyDestroyed
from tests.domain.conftest import forget_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    forget_settings()
    yield tmp_path / "keys"
    forget_settings()


def test_a_key_is_made_once_and_is_another_for_every_tenant_and_epoch(folder: Path) -> None:
    places = [("ten_a", 1), ("ten_a", 2), ("ten_b", 1)]
    for place in places:
        tenant_keys.make(*place)
    keys = [tenant_keys.read(*place) for place in places]
    assert len(set(keys)) == 3
    assert {len(key) for key in keys} == {32}
    tenant_keys.make("ten_a", 1)
    assert tenant_keys.read("ten_a", 1) == keys[0]
    assert len(list(folder.iterdir())) == 3


def test_the_file_is_of_no_use_without_the_master_key_or_in_another_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_keys.make("ten_a", 1)
    box = (folder / "ten_a.1.key").read_bytes()
    (folder / "ten_a.2.key").write_bytes(box)
    (folder / "ten_b.1.key").write_bytes(box)
    for place in (("ten_a", 2), ("ten_b", 1)):
        with pytest.raises(BoxDamaged):
            tenant_keys.read(*place)
    monkeypatch.setenv("LETHE_SECRET_KEY", "another master secret of 32 characters")
    forget_settings()
    with pytest.raises(BoxDamaged):
        tenant_keys.read("ten_a", 1)


def test_what_is_destroyed_is_overwritten_and_gone(folder: Path) -> None:
    tenant_keys.make("ten_a", 1)
    path = folder / "ten_a.1.key"
    box = path.read_bytes()
    with path.open("rb") as held:
        tenant_keys.destroy("ten_a", 1)
        left = held.read()
    assert len(left) == len(box)
    assert left != box
    assert not tenant_keys.is_there("ten_a", 1)
    with pytest.raises(KeyDestroyed):
        tenant_keys.read("ten_a", 1)
    tenant_keys.destroy("ten_a", 1)


def test_the_folder_may_be_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETHE_KEYS_FOLDER", str(tmp_path / "vault"))
    forget_settings()
    tenant_keys.make("ten_a", 1)
    assert [path.name for path in (tmp_path / "vault").iterdir()] == ["ten_a.1.key"]
    assert not folder.exists()


def test_production_refuses_a_master_key_that_nobody_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "production": True,
        "database_url": "postgresql://db/lethe",
        "broker_url": "redis://broker",
        "signing_keys": "ab" * 32,
    }
    with pytest.raises(ValueError, match="LETHE_SECRET_KEY"):
        Settings.model_validate(given)
    Settings.model_validate({**given, "secret_key": "chosen, of at least 32 characters"})
