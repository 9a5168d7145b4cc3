"""Signatures of models, checked by the public package that defines their format."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import verifying

from app.ledger.errors import MalformedKey
from app.ledger.model_signatures import (
    SIGNATURE_FILE,
    ModelFile,
    public_pem,
    read_public_key,
    sign_model,
)

CURVES = [ec.SECP256R1(), ec.SECP384R1()]
WEIGHTS = b"the weights of a model" * 100


def signed(folder: Path, private: ec.EllipticCurvePrivateKey) -> Path:
    """Lay a model with its signature into a folder, and the public key beside it."""
    model = folder / "model"
    model.mkdir()
    (model / "mv_1.safetensors").write_bytes(WEIGHTS)
    file = ModelFile("mv_1.safetensors", sha256(WEIGHTS).hexdigest())
    (model / SIGNATURE_FILE).write_bytes(sign_model(private, "mv_1", file))
    (folder / "key.pem").write_bytes(public_pem(private.public_key()))
    return model


def verify(model: Path) -> None:
    config = verifying.Config().use_elliptic_key_verifier(public_key=model.parent / "key.pem")
    config.verify(model, model / SIGNATURE_FILE)


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_the_public_package_verifies_what_we_sign(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    verify(signed(tmp_path, ec.generate_private_key(curve)))


def test_the_command_of_the_public_package_verifies_it_too(tmp_path: Path) -> None:
    model = signed(tmp_path, ec.generate_private_key(CURVES[0]))
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(model)]
    command += ["--signature", str(model / SIGNATURE_FILE)]
    command += ["--public_key", str(tmp_path / "key.pem")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_byte_another_file_and_another_key_are_refused(tmp_path: Path) -> None:
    model = signed(tmp_path, ec.generate_private_key(CURVES[0]))
    (model / "mv_1.safetensors").write_bytes(WEIGHTS[:-1] + b"S")
    with pytest.raises(ValueError, match="mismatch"):
        verify(model)
    (model / "mv_1.safetensors").write_bytes(WEIGHTS)
    verify(model)
    (model / "more.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="mismatch"):
        verify(model)
    (model / "more.safetensors").unlink()
    other = ec.generate_private_key(CURVES[0]).public_key()
    (tmp_path / "key.pem").write_bytes(public_pem(other))
    with pytest.raises(ValueError, match="Key mismatch"):
        verify(model)


def test_one_key_makes_one_signature_of_a_file() -> None:
    private = ec.generate_private_key(CURVES[1])
    file = ModelFile("mv_1.safetensors", "ab" * 32)

    first, second = (sign_model(private, "mv_1", file) for _ in range(2))

    assert first == second
    assert json.loads(first)["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"


def test_keys_on_other_curves_sign_nothing() -> None:
    private = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(MalformedKey):
        sign_model(private, "mv_1", ModelFile("mv_1.safetensors", "ab" * 32))
    with pytest.raises(MalformedKey):
        read_public_key(b"no key")
