"""Files that are whole or not there, and no part of them left behind."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app.infra import durable


def test_what_is_there_is_replaced_and_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    assert durable.create(path, b"first")
    assert not durable.create(path, b"second")
    assert path.read_bytes() == b"first"
    durable.replace(path, b"third")
    assert path.read_bytes() == b"third"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [durable.create, durable.replace])
@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path, bytes], object],
    call: str,
) -> None:
    path = tmp_path / "kept"
    if write is durable.replace:
        path.write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space is left")

    monkeypatch.setattr(os, call, full)
    if call == {durable.create: "replace", durable.replace: "link"}[write]:
        write(path, b"new")
        assert path.read_bytes() == b"new"
    else:
        with pytest.raises(OSError, match="no space"):
            write(path, b"a secret")
        assert path.exists() == (write is durable.replace)
    assert set(tmp_path.iterdir()) <= {path}
