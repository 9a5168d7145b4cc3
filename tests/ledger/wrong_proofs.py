"""The 196 cases of transparency-dev/merkle's ``testdata``, made anew from what they are about.

That suite (Apache-2.0, commit 417fb0c3) holds 98 cases of inclusion and 98 of consistency
over the eight leaves of Certificate Transparency: right proofs, and every way in which they
are corrupted there. Here each is written as a fact about spans of leaves; the hashes come
from the definition of the tree, not from our prover.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
EMPTY = sha256(b"").digest()
RANDOM = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")
LONE = sha256(b"\x00data").digest()
FIRST, SECOND = b"don't care 1", b"don't care 2"


@dataclass(frozen=True)
class Inclusion:
    name: str
    index: int
    size: int
    root: bytes
    leaf: bytes
    proof: tuple[bytes, ...] = ()
    right: bool = False


@dataclass(frozen=True)
class Consistency:
    name: str
    size: int
    later_size: int
    root: bytes
    later_root: bytes
    proof: tuple[bytes, ...] = ()
    right: bool = False


def over(start: int, stop: int) -> bytes:
    """The hash over a span of the eight leaves."""
    if stop - start == 1:
        return sha256(b"\x00" + LEAVES[start]).digest()
    split = max(2**k for k in range(3) if 2**k < stop - start)
    left, right = over(start, start + split), over(start + split, stop)
    return sha256(b"\x01" + left + right).digest()


def inclusion_cases() -> list[Inclusion]:
    rights = [
        Inclusion("1 of 1", 0, 1, over(0, 1), over(0, 1)),
        Inclusion("1 of 8", 0, 8, over(0, 8), over(0, 1), (over(1, 2), over(2, 4), over(4, 8))),
        Inclusion("6 of 8", 5, 8, over(0, 8), over(5, 6), (over(4, 5), over(6, 8), over(0, 4))),
        Inclusion("3 of 3", 2, 3, over(0, 3), over(2, 3), (over(0, 2),)),
        Inclusion("2 of 5", 1, 5, over(0, 5), over(1, 2), (over(0, 1), over(2, 4), over(4, 5))),
    ]
    lone = Inclusion("lone leaf", 0, 1, LONE, LONE, right=True)
    nowhere = [
        replace(Inclusion("", index, size, root, leaf), name=f"{name}, {index} of {size}")
        for index, size in ((0, 0), (0, 1), (1, 0), (2, 1))
        for name, root, leaf in (
            ("empty root", EMPTY, b""),
            ("random leaf", b"", RANDOM),
            ("empty root and random leaf", EMPTY, RANDOM),
        )
    ]
    return [
        *(case for right in rights for case in corrupted_inclusion(right)),
        lone,
        replace(lone, name="lone, empty root", root=b"", right=False),
        replace(lone, name="lone, empty leaf", leaf=b"", right=False),
        replace(lone, name="lone, empty root and leaf", root=b"", leaf=b"", right=False),
        *nowhere,
    ]


def corrupted_inclusion(right: Inclusion) -> Iterator[Inclusion]:
    yield replace(right, right=True)

    def wrong(what: str, **changes: object) -> Inclusion:
        return replace(right, name=f"{right.name}: {what}", **changes)  # type: ignore[arg-type]

    index, size, root, proof = right.index, right.size, right.root, right.proof
    yield wrong("index less one", index=(index - 1) % 2**64)
    yield wrong("index plus one", index=index + 1)
    yield wrong("index with a bit changed", index=index ^ 2)
    yield wrong("size doubled", size=size * 2)
    yield wrong("size halved", size=size // 2)
    yield wrong("wrong leaf", leaf=b"WrongLeaf")
    yield wrong("empty root", root=EMPTY)
    yield wrong("random root", root=RANDOM)
    yield wrong("garbage after", proof=(*proof, b""))
    yield wrong("root after", proof=(*proof, root))
    yield wrong("garbage before", proof=(b"", *proof))
    yield wrong("root before", proof=(root, *proof))
    for place, part in enumerate(proof):
        changed = bytes([part[0] ^ 8]) + part[1:]
        yield wrong(f"bit of {place}", proof=(*proof[:place], changed, *proof[place + 1 :]))
    if proof:
        yield wrong("last left out", proof=proof[:-1])
    if len(proof) > 1:
        yield wrong("one inserted", proof=(proof[0], RANDOM, *proof[1:]))


def consistency_cases() -> list[Consistency]:
    rights = [
        Consistency("1 to 8", 1, 8, over(0, 1), over(0, 8), (over(1, 2), over(2, 4), over(4, 8))),
        Consistency("6 to 8", 6, 8, over(0, 6), over(0, 8), (over(4, 6), over(6, 8), over(0, 4))),
        Consistency("2 to 5", 2, 5, over(0, 2), over(0, 5), (over(2, 4), over(4, 5))),
        Consistency("6 to 7", 6, 7, over(0, 6), over(0, 7), (over(4, 6), over(6, 7), over(0, 4))),
    ]
    return [
        Consistency("1 to 1", 1, 1, over(0, 1), over(0, 1), right=True),
        *(case for right in rights for case in corrupted_consistency(right)),
        Consistency("from nothing, with a proof", 0, 1, EMPTY, EMPTY, (EMPTY,)),
        Consistency("from nothing", 0, 1, EMPTY, SECOND),
        Consistency("from nothing, wrong root", 0, 1, FIRST, SECOND),
        Consistency("nothing, other roots", 0, 0, EMPTY, SECOND),
        Consistency("nothing, equal roots", 0, 0, FIRST, FIRST),
        Consistency("nothing, unequal roots", 0, 0, FIRST, SECOND),
        Consistency("nothing, with a proof", 0, 0, EMPTY, EMPTY, (EMPTY,)),
        Consistency("one, other roots", 1, 1, EMPTY, SECOND),
        Consistency("one, equal roots", 1, 1, SECOND, SECOND, right=True),
        Consistency("one, unequal roots", 1, 1, FIRST, SECOND),
        Consistency("one, with a proof", 1, 1, EMPTY, EMPTY, (EMPTY,)),
        Consistency("one to two, no proof", 1, 2, FIRST, SECOND),
        Consistency("one to nothing", 1, 0, FIRST, SECOND),
        Consistency("two to one", 2, 1, FIRST, SECOND),
    ]


def corrupted_consistency(right: Consistency) -> Iterator[Consistency]:
    yield replace(right, right=True)

    def wrong(what: str, **changes: object) -> Consistency:
        return replace(right, name=f"{right.name}: {what}", **changes)  # type: ignore[arg-type]

    size, later_size, proof = right.size, right.later_size, right.proof
    root, later_root = right.root, right.later_root
    yield wrong("size less one", size=size - 1)
    yield wrong("size plus one", size=size + 1)
    yield wrong("size with a bit changed", size=size ^ 2)
    yield wrong("later size doubled", later_size=later_size * 2)
    yield wrong("later size halved", later_size=later_size // 2)
    yield wrong("wrong root", root=b"WrongRoot")
    yield wrong("wrong later root", later_root=b"WrongRoot")
    yield wrong("roots swapped", root=later_root, later_root=root)
    yield wrong("no proof", proof=())
    yield wrong("garbage after", proof=(*proof, b""))
    yield wrong("root after", proof=(*proof, root))
    yield wrong("later root after", proof=(*proof, later_root))
    yield wrong("last left out", proof=proof[:-1])
    yield wrong("garbage before", proof=(b"", *proof))
    yield wrong("root before", proof=(root, *proof))
    yield wrong("later root before", proof=(later_root, *proof))
    yield wrong("first twice", proof=(proof[0], *proof))
    for place, part in enumerate(proof):
        changed = bytes([part[0] ^ 16]) + part[1:]
        yield wrong(f"bit of {place}", proof=(*proof[:place], changed, *proof[place + 1 :]))
