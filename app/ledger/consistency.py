"""Does this tree continue that one? The verifier's side (RFC 9162, section 2.1.4.2)."""

from collections.abc import Sequence

from app.ledger.errors import BadConsistency
from app.ledger.tree_hash import HASH_SIZE, hash_children


def verify_consistency(
    *, size: int, root: bytes, later_size: int, later_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the first ``size`` leaves of the later tree are those of the earlier one.

    The empty tree has no proof: whoever may have to compare with it says so in the caller,
    as a witness does.

    Args:
        size: How many leaves the earlier tree has; at least 1.
        root: Root of the earlier tree.
        later_size: How many leaves the later tree has.
        later_root: Root of the later tree.
        proof: Hashes as RFC 9162 orders them, 32 bytes each; none for equal sizes.

    Raises:
        BadConsistency: The proof does not show it.
    """
    if not 1 <= size <= later_size:
        raise BadConsistency("there is no proof between trees of these sizes")
    if any(len(part) != HASH_SIZE for part in proof):
        raise BadConsistency("a hash does not have 32 bytes")
    if size == later_size:
        if proof:
            raise BadConsistency("the proof is longer than the tree is deep")
        if root != later_root:
            raise BadConsistency("two trees of one size have different roots")
        return

    earlier, later = _roots(size, later_size, root, proof)
    if earlier != root:
        raise BadConsistency("the proof does not lead to the earlier root")
    if later != later_root:
        raise BadConsistency("the proof does not lead to the later root")


def _roots(size: int, later_size: int, root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    # A tree of 2^k leaves is a node of the later tree: its root opens the proof unsaid.
    path = [root, *proof] if size & (size - 1) == 0 else list(proof)
    if not path:
        raise BadConsistency("the proof is shorter than the tree is deep")
    node, last = size - 1, later_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    earlier = later = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise BadConsistency("the proof is longer than the tree is deep")
        if node & 1 or node == last:
            earlier = hash_children(sibling, earlier)
            later = hash_children(sibling, later)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            later = hash_children(later, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise BadConsistency("the proof is shorter than the tree is deep")
    return earlier, later
