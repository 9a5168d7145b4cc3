"""Keys of the log, their times, and the checkpoint kept outside the database."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.infra import clock
from app.infra.settings import Settings
from app.infra.signing import (
    Keeper,
    KeysMalformed,
    NoSigningKey,
    OtherOrigin,
    OtherRoot,
    SmallerTree,
    make_keyring,
    rotate,
)
from app.ledger.checkpoints import Checkpoint
from app.ledger.encoding import encode
from app.ledger.notes import VerifierKey, verify_note
from app.ledger.signers import Signer
from app.ledger.verify import read_keys

SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
"""RFC 8032, section 7.1, test 1."""


def config(home: Path, **values: object) -> Settings:
    return Settings(home=home, **values)  # type: ignore[arg-type]  # pydantic reads texts


def test_the_embedded_default_makes_one_key_and_keeps_it(tmp_path: Path) -> None:
    first = make_keyring(config(tmp_path))
    assert make_keyring(config(tmp_path)).document() == first.document()
    mode = stat.S_IMODE((tmp_path / "signing.json").stat().st_mode)
    assert mode == 0o600
    assert first.origin.startswith("lethe/")
    note = first.signer(clock.now()).sign_checkpoint(Checkpoint(first.origin, 1, bytes(32)))
    [listed] = read_keys(encode_keys(first.document()))
    verify_note(note, [VerifierKey(listed.name, listed.type, listed.public)])


def test_two_installations_have_different_origins(tmp_path: Path) -> None:
    origins = {make_keyring(config(tmp_path / name)).origin for name in "ab"}
    assert len(origins) == 2


def test_production_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="LETHE_SIGNING_KEYS"):
        config(
            tmp_path,
            production=True,
            secret_key="x" * 32,
            database_url="postgresql://db/lethe",
            broker_url="redis://broker",
        )
    bare = config(tmp_path).model_copy(update={"production": True})
    with pytest.raises(NoSigningKey):
        make_keyring(bare)
    assert list(tmp_path.iterdir()) == []


def test_one_private_key_from_the_environment_is_that_of_the_rfc(tmp_path: Path) -> None:
    ring = make_keyring(config(tmp_path, signing_keys=SEED, log_origin="log.example/lethe"))
    [key] = ring.keys
    assert str(key.trusted.key).startswith("log.example/lethe+")
    assert key.trusted.key.public.hex() == PUBLIC


def test_keys_may_lie_in_a_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(SEED + "\n")
    monkeypatch.setenv("LETHE_SIGNING_KEYS_FILE", str(tmp_path / "secret"))
    [key] = make_keyring(config(tmp_path)).keys
    assert key.trusted.key.public.hex() == PUBLIC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not hexadecimal",
        "{",
        '{"keys":[]}',
        '{"keys":[{"valid_from":"2026-01-01T00:00:00Z"}]}',
        '{"origin":"a b","keys":[{"seed":"' + SEED + '"}]}',
        '{"origin":"a","keys":[{"seed":"' + SEED + '","valid_until":"soon"}]}',
    ],
)
def test_other_texts_are_no_keys_and_are_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(KeysMalformed) as refused:
        make_keyring(config(tmp_path, signing_keys=text))
    assert SEED not in str(refused.value)
    assert refused.value.__cause__ is None


def test_after_a_rotation_each_key_counts_in_its_time(tmp_path: Path) -> None:
    before = make_keyring(config(tmp_path))
    after = rotate(config(tmp_path))
    old, new = after.keys
    assert after.origin == before.origin
    assert old.trusted.key == before.keys[0].trusted.key
    changed_at = old.trusted.valid_until
    assert changed_at == new.trusted.valid_from
    assert changed_at is not None
    assert after.signer(changed_at).key == new.trusted.key
    assert after.signer(changed_at - timedelta(microseconds=1)).key == old.trusted.key
    assert not list(tmp_path.glob("*.partial"))


def test_keys_of_the_environment_are_rotated_there(tmp_path: Path) -> None:
    with pytest.raises(KeysMalformed):
        rotate(config(tmp_path, signing_keys=SEED))


def test_a_retired_key_and_one_that_only_verifies_do_not_sign(tmp_path: Path) -> None:
    other = Signer("log", Ed25519PrivateKey.generate()).key
    text = (
        '{"origin":"log","keys":['
        f'{{"seed":"{SEED}","valid_until":"2026-01-01T00:00:00Z"}},{{"vkey":"{other}"}}]}}'
    )
    ring = make_keyring(config(tmp_path, signing_keys=text))
    assert ring.signer(datetime(2025, 1, 1, tzinfo=UTC)).key.public.hex() == PUBLIC
    with pytest.raises(NoSigningKey):
        ring.signer(datetime(2026, 1, 1, tzinfo=UTC))
    assert [VerifierKey.parse(item["vkey"] or "") for item in ring.document()["items"]][1] == other


ROOTS = {size: bytes([size]) * 32 for size in range(9)}


class TestKeeper:
    def kept(self, folder: Path, size: int, origin: str = "log") -> Keeper:
        keeper = Keeper(folder / "log.checkpoint")
        signer = Signer(origin, Ed25519PrivateKey.generate())
        keeper.keep(signer.sign_checkpoint(Checkpoint(origin, size, ROOTS[size])))
        return keeper

    def test_before_the_first_anything_goes(self, tmp_path: Path) -> None:
        keeper = Keeper(tmp_path / "none")
        keeper.require_continued(keeper.kept(), "log", 3, ROOTS.__getitem__)

    @pytest.mark.parametrize("size", [5, 6, 8])
    def test_the_same_and_larger_trees_go_on(self, tmp_path: Path, size: int) -> None:
        kept = self.kept(tmp_path, 5).kept()
        Keeper.require_continued(kept, "log", size, ROOTS.__getitem__)

    def test_what_does_not_continue_is_refused_by_name(self, tmp_path: Path) -> None:
        kept = self.kept(tmp_path, 5).kept()
        with pytest.raises(SmallerTree):
            Keeper.require_continued(kept, "log", 4, ROOTS.__getitem__)
        with pytest.raises(OtherRoot):
            Keeper.require_continued(kept, "log", 5, lambda _size: bytes(32))
        with pytest.raises(OtherRoot):
            Keeper.require_continued(kept, "log", 8, lambda _size: bytes(32))
        with pytest.raises(OtherOrigin):
            Keeper.require_continued(kept, "other", 5, ROOTS.__getitem__)

    def test_the_newest_takes_the_place_of_the_one_before(self, tmp_path: Path) -> None:
        self.kept(tmp_path, 3)
        found = self.kept(tmp_path, 4).kept()
        assert found is not None
        assert found.size == 4
        assert [path.name for path in tmp_path.glob("[!.]*")] == ["log.checkpoint"]
        assert not list(tmp_path.glob("*.partial"))

    def test_it_never_goes_back(self, tmp_path: Path) -> None:
        keeper = self.kept(tmp_path, 5)
        signer = Signer("log", Ed25519PrivateKey.generate())
        assert not keeper.keep(signer.sign_checkpoint(Checkpoint("log", 4, ROOTS[4])))
        with pytest.raises(OtherRoot):
            keeper.keep(signer.sign_checkpoint(Checkpoint("log", 5, ROOTS[4])))
        assert keeper.keep(signer.sign_checkpoint(Checkpoint("log", 5, ROOTS[5])))
        assert keeper.kept() == Checkpoint("log", 5, ROOTS[5])


def encode_keys(document: dict[str, list[dict[str, str | None]]]) -> bytes:
    items = [
        {name: value for name, value in item.items() if value is not None}
        for item in document["items"]
    ]
    return encode({"items": items})
