"""Keys that sign models: made once, read from PEM or a list, rotated with their times."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.infra import clock
from app.infra.settings import Settings
from app.infra.signing import KeysMalformed, NoSigningKey
from app.infra.signing.model_keys import make_model_keys, rotate_model_keys
from app.ledger.encoding import to_base64
from app.ledger.model_signatures import public_pem


def config(home: Path, **values: object) -> Settings:
    return Settings(home=home, **values)  # type: ignore[arg-type]  # pydantic reads texts


def der(private: ec.EllipticCurvePrivateKey) -> str:
    return to_base64(private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def pem(private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_the_embedded_default_makes_one_key_and_keeps_it(tmp_path: Path) -> None:
    first = make_model_keys(config(tmp_path)).document()
    assert make_model_keys(config(tmp_path)).document() == first
    assert len(first) == 1
    assert stat.S_IMODE((tmp_path / "model-signing.json").stat().st_mode) == 0o600


def test_after_a_rotation_both_keys_are_listed_and_the_new_one_signs(tmp_path: Path) -> None:
    [old] = make_model_keys(config(tmp_path)).keys
    rotated = rotate_model_keys(config(tmp_path))
    before, after = rotated.keys
    assert public_pem(before.public) == public_pem(old.public)
    assert before.valid_until == after.valid_from
    later = clock.now() + timedelta(seconds=1)
    signing = rotated.signer(later).public_key()
    assert public_pem(signing) == public_pem(after.public) != public_pem(before.public)
    assert stat.S_IMODE((tmp_path / "model-signing.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_one_key_may_be_given_as_pem(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    private = ec.generate_private_key(curve)
    keys = make_model_keys(config(tmp_path, model_keys=pem(private)))
    assert public_pem(keys.signer(clock.now()).public_key()) == public_pem(private.public_key())
    assert list(tmp_path.iterdir()) == []


def test_a_list_says_when_each_key_counts(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    items = [{"private": der(private), "valid_until": "2026-01-01T00:00:00Z"}]
    keys = make_model_keys(config(tmp_path, model_keys=json.dumps({"keys": items})))
    with pytest.raises(NoSigningKey):
        keys.signer(clock.now())
    assert keys.document()[0]["valid_until"] == "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"keys":[]}', '{"keys":[{}]}', '{"keys":[{"private":"AAAA"}]}',
     pem(ec.generate_private_key(ec.SECP256K1())), pem(ed25519.Ed25519PrivateKey.generate())],
)  # fmt: skip
def test_what_is_no_key_on_such_a_curve_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(KeysMalformed):
        make_model_keys(config(tmp_path, model_keys=text))


def test_production_makes_no_key(tmp_path: Path) -> None:
    bare = config(tmp_path).model_copy(update={"production": True})
    with pytest.raises(NoSigningKey):
        make_model_keys(bare)
    assert list(tmp_path.iterdir()) == []


def test_keys_from_the_environment_are_not_rotated_here(tmp_path: Path) -> None:
    private = pem(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(KeysMalformed):
        rotate_model_keys(config(tmp_path, model_keys=private))
