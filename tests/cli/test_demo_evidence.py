"""The demo verifies in an environment that has cryptography and nothing else."""

import importlib.util
from pathlib import Path

import pytest

from app.cli.demo.evidence import _verified
from app.cli.verifier import build_verifier
from app.ledger.verify import pack
from tests.ledger.case import ISSUER, LOG, good_case

KEYS = ["--key", str(LOG.key), "--key", str(ISSUER.key)]


def test_the_one_file_verifier_runs_beside_cryptography_alone(tmp_path: Path) -> None:
    verifier, archive = tmp_path / "lethe-verify.pyz", tmp_path / "evidence.zip"
    build_verifier(verifier)
    archive.write_bytes(pack(good_case().files))

    status, said = _verified(verifier, archive, KEYS)

    assert (status, said[:3]) == (0, "ok:"), said
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    assert _verified(verifier, archive, KEYS)[0] == 2


@pytest.mark.parametrize("name", ["numpy", "torch", "app", "sqlalchemy"])
def test_no_other_package_is_seen_there(tmp_path: Path, name: str) -> None:
    program = tmp_path / "look.py"
    program.write_text(
        f"import importlib.util, sys\n"
        f"sys.exit(0 if importlib.util.find_spec({name!r}) is None else 1)\n"
    )
    assert importlib.util.find_spec(name) is not None

    assert _verified(program, tmp_path / "unread", [])[0] == 0
