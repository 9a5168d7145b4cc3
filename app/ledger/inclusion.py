"""Is this leaf in that tree? The verifier's side (RFC 9162, section 2.1.3.2).

Written from the algorithm of the RFC, which walks upwards over the bits of the index; the
prover in ``merkle`` walks downwards over spans of leaves. The two share only the hashes.
"""

from collections.abc import Sequence

from app.ledger.errors import BadInclusion
from app.ledger.tree_hash import HASH_SIZE, hash_children


def verify_inclusion(
    *, index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf with this hash and index is in the tree of this size and root.

    Args:
        index: Place of the leaf, from 0.
        size: How many leaves the tree has.
        leaf_hash: Hash of the leaf, 32 bytes.
        proof: Hashes from the leaf's sibling up, 32 bytes each; none for a tree of one leaf.
        root: Root of the tree.

    Raises:
        BadInclusion: The proof does not show it.
    """
    if not 0 <= index < size:
        raise BadInclusion("the tree has no leaf at this index")
    # An empty leaf hash would equal an empty root, and hashes of other lengths could shift
    # bytes between the two halves of a node.
    if any(len(part) != HASH_SIZE for part in (leaf_hash, *proof)):
        raise BadInclusion("a hash does not have 32 bytes")

    node, last = index, size - 1
    reached = leaf_hash
    for sibling in proof:
        if last == 0:
            raise BadInclusion("the proof is longer than the tree is deep")
        if node & 1 or node == last:
            reached = hash_children(sibling, reached)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            reached = hash_children(reached, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise BadInclusion("the proof is shorter than the tree is deep")
    if reached != root:
        raise BadInclusion("the proof leads to another root")
