"""Paths of tiles, and which tiles a tree has."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.errors import MalformedTile
from app.ledger.tiles import Tile


def test_the_examples_of_the_specification() -> None:
    assert str(Tile(0, 1234067)) == "0/x001/x234/067"
    assert Tile.parse("0/x001/x234/067") == Tile(0, 1234067)
    # A tree of 70,000: 273 full tiles and one of 112, a full one and one of 17, one of 1.
    assert Tile(0, 272).is_within(70_000)
    assert not Tile(0, 273).is_within(70_000)
    assert Tile(1, 0).is_within(70_000)
    for tile in (Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)):
        assert tile.is_within(70_000)
        assert not replace(tile, width=tile.width + 1).is_within(70_000)
    # A tree of 256: a full tile and one of width 1 above it.
    assert Tile(0, 0).is_within(256)
    assert Tile(1, 0, 1).is_within(256)
    assert not Tile(1, 0, 2).is_within(256)


@given(st.none() | st.integers(0, 63), st.integers(0, 2**63 // 256), st.integers(1, 256))
def test_a_path_is_read_back(level: int | None, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert Tile.parse(str(tile)) == tile


@given(st.text("0123456789x/.pentris", max_size=24))
def test_a_tile_has_one_path(path: str) -> None:
    with suppress(MalformedTile):
        assert str(Tile.parse(path)) == path


@pytest.mark.parametrize(
    "path",
    [
        "", "0", "0/", "0/0", "0/00", "0/0000", "00/000", "64/000", "-1/000", "0/x000/000",
        "0/x001", "0/001/002", "0/x001/x002", "0/000.p/0", "0/000.p/256", "0/000.p/01",
        "0/000.p/", "0/000.p", "0/000/p/1", "0/000.p/-1", "entries", "entries/0", "data/000",
        "0/\u0660\u0660\u0660", "0/000 ", "0/" + "x001/" * 20 + "000",
    ],
)  # fmt: skip
def test_other_paths_are_none(path: str) -> None:
    with pytest.raises(MalformedTile):
        Tile.parse(path)
