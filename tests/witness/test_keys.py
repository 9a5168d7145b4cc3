"""The key of a witness is made once, has one name, and is shown to nobody."""

import subprocess
from pathlib import Path

import pytest

from app.ledger.notes import COSIGNATURE, VerifierKey
from app.witness.errors import KeyMalformed, OtherName
from app.witness.keys import own_key
from tests.ledger.case import LOG
from tests.witness.witnesses import command, say


def test_a_key_is_made_once(tmp_path: Path) -> None:
    first = own_key(tmp_path / "home", "w.example/north")

    assert own_key(tmp_path / "home").key == first.key
    assert own_key(tmp_path / "home", "w.example/north").key == first.key
    with pytest.raises(OtherName):
        own_key(tmp_path / "home", "w.example/south")


def test_two_witnesses_that_nobody_named_have_two_names(tmp_path: Path) -> None:
    names = {own_key(tmp_path / folder).key.name for folder in "ab"}

    assert len(names) == 2


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_a_name_that_no_note_can_carry_is_refused(tmp_path: Path, name: str) -> None:
    if name:
        with pytest.raises(KeyMalformed):
            own_key(tmp_path, name)
        assert not (tmp_path / "witness.json").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"name":"w","seed":"00"}', "null"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "witness.json").write_text(content)

    with pytest.raises(KeyMalformed) as refused:
        own_key(tmp_path)
    assert refused.value.__cause__ is None


def test_the_command_prints_the_key_and_takes_logs(tmp_path: Path) -> None:
    key = VerifierKey.parse(say(tmp_path, "key", "--name", "w.example"))
    assert (key.name, key.type) == ("w.example", COSIGNATURE)
    say(tmp_path, "trust", str(LOG.key))
    assert (tmp_path / "logs.txt").read_text() == f"quorum none\nlog {LOG.key}\n"
    for wrong in (str(LOG.key), str(key), "nonsense", f"{LOG.key}\nquorum none"):
        done = subprocess.run(
            command(tmp_path, "trust", wrong), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert (tmp_path / "logs.txt").read_text() == f"quorum none\nlog {LOG.key}\n"
