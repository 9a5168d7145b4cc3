"""Rows are found by exactly their key, whatever its hash."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.infra.rows import PackedStrings, key_index
from app.infra.rows.cells import Strings
from app.infra.rows.key_index import KeyIndex, build_index
from app.infra.rows.strings import SLACK, hash_strings

keys = st.text(st.sampled_from("abc\0é"), max_size=10)

Hash = Callable[[PackedStrings, int], NDArray[np.uint64]]


def strings_file(folder: Path, texts: list[str]) -> Strings:
    packed = PackedStrings.of(texts)
    records = np.stack([packed.starts, packed.lengths], axis=1).astype("<i8")
    (folder / "keys.cells").write_bytes(records.tobytes())
    (folder / "keys.heap").write_bytes(packed.joined().tobytes() + bytes(SLACK))
    return Strings(folder / "keys", len(texts), writable=True)


def one_for_all(strings: PackedStrings, seed: int) -> NDArray[np.uint64]:
    return np.full(len(strings), 2**63 + 5, np.uint64)


def by_length(strings: PackedStrings, seed: int) -> NDArray[np.uint64]:
    return strings.lengths.astype(np.uint64) << np.uint64(60)


@pytest.mark.parametrize("poor_hash", [hash_strings, one_for_all, by_length])
@settings(deadline=None)
@given(stored=st.lists(keys, min_size=1, max_size=30), asked=st.lists(keys, max_size=8))
def test_exactly_the_rows_of_a_key_are_found(
    poor_hash: Hash, stored: list[str], asked: list[str]
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "hash_strings", poor_hash)
        column = strings_file(Path(folder), stored)
        repeated = build_index(Path(folder, "index"), column, len(stored), 7, unique=True)
        index = KeyIndex(Path(folder, "index"), column, len(stored), 7)

        which, rows = index.find(PackedStrings.of(asked))

        wanted = [
            (i, row) for i, key in enumerate(asked) for row, k in enumerate(stored) if k == key
        ]
        assert sorted(zip(which.tolist(), rows.tolist(), strict=True)) == [
            pair for pair in sorted(wanted) if asked[pair[0]]
        ]
        assert repeated == sum(n - 1 for key, n in Counter(stored).items() if key)


@settings(deadline=None)
@given(st.lists(keys, min_size=1, max_size=30), st.data())
def test_a_removed_row_is_found_no_more_and_all_others_are(
    stored: list[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sets(st.integers(0, len(stored) - 1)))
    with TemporaryDirectory() as folder:
        column = strings_file(Path(folder), stored)
        build_index(Path(folder, "index"), column, len(stored), 7)
        index = KeyIndex(Path(folder, "index"), column, len(stored), 7, writable=True)

        index.remove(np.array(sorted(gone), np.int64))

        _, rows = index.find(PackedStrings.of(list(dict.fromkeys(stored))))
        left = {row for row, key in enumerate(stored) if key and row not in gone}
        assert set(rows.tolist()) == left


def test_duplicates_across_chunks_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_index, "CHUNK", 16)
    stored = [f"key {number % 70}" for number in range(100)]
    column = strings_file(tmp_path, stored)

    assert build_index(tmp_path / "index", column, 100, 7, unique=True) == 30


def test_only_the_index_itself_stays_in_the_folder(tmp_path: Path) -> None:
    column = strings_file(tmp_path, ["a", "b"])

    build_index(tmp_path / "index", column, 2, 7)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "keys.cells", "keys.heap"]
