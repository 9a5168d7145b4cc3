"""The shredder: what was kept long enough goes, and with it the keys that could open it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import keys as command
from app.domain.actions import shredding
from app.domain.errors import Gone
from app.domain.log import RequestCommitment
from app.infra import tenant_keys
from app.infra.db import reading, writing
from app.infra.migrate import upgrade_to_head
from app.infra.settings import settings
from tests import builders as make
from tests.domain.conftest import forget_settings
from workers import shredding as worker
from workers.shredding import Shredder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    forget_settings()
    upgrade_to_head(f"sqlite:///{tmp_path / 'lethe.db'}")
    yield tmp_path
    forget_settings()


@pytest.fixture
def tenant(home: Path) -> str:
    return make.make_tenant()


def disclose(tenant: str, request: str) -> str:
    with writing() as tx:
        return shredding.disclose_detail(tx, make.ACTOR, tenant, request).detail


def test_what_is_due_is_shredded_and_the_old_key_destroyed(
    tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make.make_dataset(tenant)
    ended = [make.delete(tenant, dataset, f"nobody-{number}") for number in range(3)]
    unfinished = make.delete(tenant, dataset, "s1")
    shredder = Shredder()
    shredder.tick()
    assert "nobody-0" in disclose(tenant, ended[0])
    assert tenant_keys.is_there(tenant, 1)

    monkeypatch.setattr(settings(), "detail_days", 0.0)
    Shredder().tick()
    for request in ended:
        with pytest.raises(Gone):
            disclose(tenant, request)
    assert "s1" in disclose(tenant, unfinished)
    assert make.read(RequestCommitment, unfinished).key_epoch == 2
    assert [tenant_keys.is_there(tenant, epoch) for epoch in (1, 2, 3)] == [False, True, False]
    Shredder().tick()
    assert not tenant_keys.is_there(tenant, 3)


def test_a_renewal_that_was_interrupted_is_finished(tenant: str) -> None:
    request = make.delete(tenant, make.make_dataset(tenant), "s1")
    with writing() as tx:
        shredding.rotate(tx, make.ACTOR, tenant)
    Shredder().tick()
    assert not tenant_keys.is_there(tenant, 1)
    assert "s1" in disclose(tenant, request)
    with reading() as tx:
        assert shredding.unfinished(tx) == []


def test_many_keys_are_wrapped_anew(tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shredding, "MOST_WRAPPED", 2)
    monkeypatch.setattr(shredding.wrap_anew, "__defaults__", (2,))
    dataset = make.make_dataset(tenant)
    requests = [make.delete(tenant, dataset, f"nobody-{number}") for number in range(5)]
    with writing() as tx:
        shredding.rotate(tx, make.ACTOR, tenant)
    worker.finish(tenant)
    assert not tenant_keys.is_there(tenant, 1)
    for request in requests:
        assert "nobody" in disclose(tenant, request)


def test_the_command_renews_one_tenant_or_all(
    tenant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make.make_tenant()
    assert command.rotate(tenant) == 0
    assert capsys.readouterr().out == f"{tenant}: epoch 2\n"
    assert [tenant_keys.is_there(id, 1) for id in (tenant, other)] == [False, True]
    assert command.rotate(None) == 0
    assert capsys.readouterr().out.splitlines() == [f"{tenant}: epoch 3", f"{other}: epoch 2"]
    assert command.rotate("ten_none") == 1
