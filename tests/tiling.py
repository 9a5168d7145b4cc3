"""A reader of tiles that shares no code with the service: C2SP tlog-tiles and RFC 6962 by hand."""

from collections.abc import Callable, Sequence
from hashlib import sha256

Fetch = Callable[[str], bytes]


def path_of(level: int | str, index: int, width: int = 256) -> str:
    digits = f"{index:0{3 * max(1, -(-len(str(index)) // 3))}}"
    groups = [digits[n : n + 3] for n in range(0, len(digits), 3)]
    parts = [f"x{group}" for group in groups[:-1]] + groups[-1:]
    return f"{level}/{'/'.join(parts)}" + ("" if width == 256 else f".p/{width}")


def root_of(hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over leaf hashes."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"").digest()
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\x01" + root_of(hashes[:split]) + root_of(hashes[split:])).digest()


def hashes_at(fetch: Fetch, level: int, size: int) -> list[bytes]:
    """Return all hashes that the tiles of a level hold, for a tree of ``size`` leaves."""
    count = size >> (8 * level)
    paths = [path_of(level, n) for n in range(count // 256)]
    if count % 256:
        paths.append(path_of(level, count // 256, count % 256))
    data = b"".join(map(fetch, paths))
    assert len(data) == 32 * count
    return [data[n : n + 32] for n in range(0, len(data), 32)]


def root_from_tiles(fetch: Fetch, size: int) -> bytes:
    """Return the root of a tree, having compared every level of its tiles with the one below."""
    below = hashes_at(fetch, 0, size)
    root, level = root_of(below), 1
    while size >> (8 * level):
        hashes = hashes_at(fetch, level, size)
        full = [root_of(below[n * 256 : n * 256 + 256]) for n in range(len(hashes))]
        assert hashes == full
        # What no full tile covers comes from the level below: the root stays the same.
        below, level = hashes, level + 1
    return root


def leaves_of(bundle: bytes) -> list[bytes]:
    """Split a bundle of entries."""
    leaves = []
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        assert len(bundle) >= 2 + length
        leaves.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return leaves
