"""``lethe verify`` and the one-file verifier answer alike, and with the same exit status."""

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from app.cli.verifier import build_verifier
from app.ledger.disclosures import DisclosedMember
from app.ledger.entries import Entry
from app.ledger.verify import pack
from tests.ledger.case import ISSUER, LOG, MEMBERS, MODEL, STRANGER, good_case
from tests.sealed import handed_out

KEYS = ["--key", str(LOG.key), "--key", str(ISSUER.key)]


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "lethe-verify.pyz"
    build_verifier(path)
    return path


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return dict(good_case().files)


def run(command: list[str], folder: Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr
    return done.returncode, done.stdout


def test_every_outcome_has_its_exit_status(
    tmp_path: Path, verifier: Path, files: dict[str, bytes]
) -> None:
    good = tmp_path / "evidence.zip"
    good.write_bytes(pack(files))
    model = tmp_path / "weights.safetensors"
    model.write_bytes(MODEL)
    other = tmp_path / "other.safetensors"
    other.write_bytes(MODEL + b"x")
    changed = bytearray(good.read_bytes())
    changed[len(changed) // 2] ^= 1
    broken = tmp_path / "changed.zip"
    broken.write_bytes(changed)
    newer = good_case().log
    for _ in range(4):
        newer.append(good_case_entry(len(newer.leaves)))
    pin = tmp_path / "newer.txt"
    pin.write_bytes(bytes(newer.note()))
    cases = [
        (0, [str(good), *KEYS, "--model", str(model)]),
        (1, [str(good), *KEYS, "--model", str(other)]),
        (2, [str(broken), *KEYS]),
        (3, [str(good), "--key", str(STRANGER.key)]),
        (4, [str(good), *KEYS, "--checkpoint", str(pin)]),
    ]
    for expected, arguments in cases:
        alone = run([sys.executable, "-I", str(verifier), *arguments], tmp_path)
        assert alone[0] == expected, alone
        assert alone[1].count("\n") == 1
    program = [sys.executable, "-m", "app.cli.main", "verify"]
    path = str(Path(__file__).parents[2])
    for expected, arguments in (cases[0], cases[3]):
        status, said = run(
            [*program, *arguments], tmp_path, PYTHONPATH=path, PATH=os.environ["PATH"]
        )
        assert status == expected
        assert said == run([sys.executable, "-I", str(verifier), *arguments], tmp_path)[1]


def test_the_one_file_verifier_shows_somebody_to_have_been_named(
    tmp_path: Path, verifier: Path, files: dict[str, bytes]
) -> None:
    evidence, member = tmp_path / "evidence.zip", tmp_path / "member.json"
    evidence.write_bytes(pack(files))
    shown = DisclosedMember("req_a", "row-17", MEMBERS.prove("row-17"))
    command = [sys.executable, "-I", str(verifier), str(evidence), *KEYS, "--member", str(member)]
    member.write_bytes(handed_out(shown))
    status, said = run(command, tmp_path)
    assert (status, said.count("The request named 'row-17'.")) == (0, 1)
    member.write_bytes(handed_out(replace(shown, member="row-4711")))
    status, said = run(command, tmp_path)
    assert (status, said.split(":")[1]) == (1, " NotCommitted")


def test_the_verifier_is_reproducible_and_holds_what_decides(
    tmp_path: Path, verifier: Path
) -> None:
    again = tmp_path / "again.pyz"
    build_verifier(again)
    assert sha256(again.read_bytes()).digest() == sha256(verifier.read_bytes()).digest()
    with zipfile.ZipFile(verifier) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    parts = [f"app/ledger/{name}" for name in ("verify.py", "verify_disclosed.py")]
    for name in parts:
        assert contents.pop(name) == (Path(__file__).parents[2] / name).read_bytes()
    assert {name: len(content) for name, content in contents.items()} == {
        "__main__.py": len("import sys\n\nfrom app.ledger.verify_disclosed import main\n\n")
        + len("sys.exit(main())\n"),
        "app/__init__.py": 0,
        "app/ledger/__init__.py": 0,
    }


def good_case_entry(number: int) -> Entry:
    from tests.ledger.case import entry

    return entry(number, "version.registered", "req_other")
