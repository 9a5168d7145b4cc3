"""What a forger has who stole a service's data folder, and what is made with it."""

import json
import sqlite3
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.ledger.checkpoints import Checkpoint
from app.ledger.encoding import encode
from app.ledger.merkle import MemoryTree, prove_consistency, prove_inclusion
from app.ledger.proofs import LogProof
from app.ledger.signers import Signer
from app.ledger.statements import PAYLOAD_TYPE
from app.ledger.tree_hash import hash_leaf

PROOF = ".tlog-proof"
LEAVES = 'SELECT leaf FROM log_leaves ORDER BY "index"'


def stolen_signers(home: Path) -> list[Signer]:
    """Return the log's private keys, the oldest first."""
    document = json.loads((home / "signing.json").read_bytes())
    return [
        Signer(document["origin"], Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key["seed"])))
        for key in document["keys"]
    ]


def stolen_leaves(home: Path) -> list[bytes]:
    """Return all leaves of the log."""
    with sqlite3.connect(f"file:{home / 'lethe.db'}?mode=ro", uri=True) as connection:
        return [leaf for (leaf,) in connection.execute(LEAVES)]


@dataclass(frozen=True)
class Forger:
    """Rewrites evidence so that everything but the forged place fits together again.

    Attributes:
        leaves: Of the log, as the forger wants them to be.
        signer: A stolen key.
    """

    leaves: Sequence[bytes]
    signer: Signer

    def instead(self, index: int, old: bytes, new: bytes) -> "Forger":
        """Change a leaf."""
        leaves = list(self.leaves)
        assert old in leaves[index]
        leaves[index] = leaves[index].replace(old, new)
        return replace(self, leaves=leaves)

    def rebuilt(self, files: Mapping[str, bytes], size: int | None = None) -> dict[str, bytes]:
        """Return evidence with the forger's leaves, new proofs and a new checkpoint over them."""
        leaves = self.leaves[:size]
        tree = MemoryTree(map(hash_leaf, leaves))
        checkpoint = Checkpoint(self.signer.name, len(leaves), tree.root())
        note = bytes(self.signer.sign_checkpoint(checkpoint))
        made = {**files, "checkpoint.txt": note}
        for name, content in files.items():
            if name.endswith(PROOF):
                index = LogProof.parse(content).index
                path = tuple(prove_inclusion(index, len(leaves), tree.read))
                made[name] = bytes(LogProof(index, path, note))
                leaf = name.removesuffix(PROOF)
                made[leaf + (".json" if "entries/" in name else ".leaf.json")] = leaves[index]
            elif name.startswith("consistency/"):
                del made[name]
        for earlier in self._pins(files, len(leaves)):
            proof = prove_consistency(earlier, len(leaves), tree.read)
            hashes = [part.hex() for part in proof]
            consistency = encode({"from": earlier, "to": len(leaves), "hashes": hashes})
            made[f"consistency/{earlier}.json"] = consistency
        return made

    def resigned(self, files: Mapping[str, bytes], **changes: Any) -> dict[str, bytes]:
        """Return evidence whose certificate states something else, signed with the stolen key."""
        statement = statement_of(files)
        statement["predicate"] |= changes
        envelope = self.signer.sign_envelope(PAYLOAD_TYPE, encode(statement))
        return {**files, "certificate.dsse.json": bytes(envelope)}

    def resigned_checkpoint(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return evidence whose checkpoint has another signature, and nothing else is changed."""
        old = files["checkpoint.txt"]
        text = old.split(b"\n\n")[0].decode() + "\n"
        new = bytes(self.signer.sign_checkpoint(Checkpoint.parse(text)))
        return {name: content.replace(old, new) for name, content in files.items()}

    @staticmethod
    def _pins(files: Mapping[str, bytes], size: int) -> Iterable[int]:
        pins = (int(name[12:-5]) for name in files if name.startswith("consistency/"))
        return [pin for pin in pins if pin < size]


def statement_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the statement that a certificate is."""
    envelope = json.loads(files["certificate.dsse.json"])
    statement: dict[str, Any] = json.loads(b64decode(envelope["payload"]))
    return statement
