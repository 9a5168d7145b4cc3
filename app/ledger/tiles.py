"""Tiles: the tree as files that never change (C2SP tlog-tiles).

A tile holds 256 consecutive hashes of every eighth level, the last one of a level maybe fewer.
From tiles alone anybody can derive every proof, and the root of every signed tree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.ledger.errors import MalformedTile
from app.ledger.merkle import Node

HEIGHT = 8
"""Levels of the tree from one level of tiles to the next."""
WIDTH = 1 << HEIGHT
"""Hashes of a full tile."""
HIGHEST = 63
ENTRIES = "entries"

_LEVEL = r"(entries|[0-9]|[1-5][0-9]|6[0-3])"
_PATH = re.compile(rf"{_LEVEL}/((?:x[0-9]{{3}}/)*[0-9]{{3}})(?:\.p/([0-9]{{1,3}}))?")
_LONGEST_INDEX = 28
"""Characters of the largest index that a tree of less than 2^63 leaves has at level 0."""


@dataclass(frozen=True)
class Tile:
    """Which tile.

    Attributes:
        level: Of the tile, 0 for the hashes of leaves; None for the leaves themselves.
        index: Its place within the level, from 0.
        width: How many hashes it holds, 1 to 256.
    """

    level: int | None
    index: int
    width: int = WIDTH

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Read ``<level>/<index>[.p/<width>]``, as in ``0/x001/234.p/17``.

        Raises:
            MalformedTile: It is no such path, or not the only one of its tile.
        """
        found = _PATH.fullmatch(path)
        if found is None or len(found[2]) > _LONGEST_INDEX:
            raise MalformedTile("not the path of a tile")
        level = None if found[1] == ENTRIES else int(found[1])
        index = int(found[2].replace("x", "").replace("/", ""))
        tile = cls(level, index, int(found[3] or WIDTH))
        if not 0 < tile.width <= WIDTH or str(tile) != path:
            raise MalformedTile("not the path of a tile")
        return tile

    def __str__(self) -> str:
        """Write the path.

        >>> str(Tile(0, 1234067)), str(Tile(1, 0, 17)), str(Tile(None, 5))
        ('0/x001/x234/067', '1/000.p/17', 'entries/005')
        """
        groups = [f"{self.index % 1000:03}"]
        rest = self.index // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03}")
            rest //= 1000
        level = ENTRIES if self.level is None else self.level
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"{level}/{'/'.join(groups)}{partial}"

    @property
    def last(self) -> Node:
        """The last node whose hash the tile holds; the tile exists once this is complete."""
        return Node(HEIGHT * (self.level or 0), self.index * WIDTH + self.width - 1)

    def is_within(self, size: int) -> bool:
        """Whether a tree of ``size`` leaves has this tile."""
        node = self.last
        return (node.position + 1) << node.level <= size
