"""The steps of verifying evidence, each of which refuses by name.

``verify`` says in which order they are taken. Nothing is fetched, and no key is taken from
the evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest, sha256

from app.ledger.certificates import Certificate, Cited
from app.ledger.checkpoints import Checkpoint, cosigned_at, verify_quorum
from app.ledger.consistency import verify_consistency
from app.ledger.encoding import parse
from app.ledger.entries import CERTIFICATE_ISSUED, Entry
from app.ledger.envelopes import Envelope, verify_envelope
from app.ledger.errors import (
    BadConsistency,
    Fork,
    MalformedEnvelope,
    MalformedEvidence,
    MalformedProof,
    MalformedStatement,
    OlderThanPin,
    OtherCertificate,
    OtherFile,
    OtherLog,
    OtherRequest,
    RetiredKey,
    Revoked,
    TooOld,
    UnknownKey,
    UnloggedFact,
)
from app.ledger.evidence import CHECKPOINT, ENVELOPE, KEYS, LEAF, PROOF, README
from app.ledger.inclusion import verify_inclusion
from app.ledger.notes import Note, verify_note
from app.ledger.proofs import LogProof
from app.ledger.records import moment
from app.ledger.soundness import verify_soundness
from app.ledger.statements import PAYLOAD_TYPE
from app.ledger.tree_hash import hash_leaf
from app.ledger.trust import Expectations, TrustedKey, all_keys, keys_at, keys_from, read_key_list

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class Link:
    """A certificate that stands in the log.

    Attributes:
        certificate: What it states.
        sha256: Digest of its statement.
        logged_at: When its entry was written.
    """

    certificate: Certificate
    sha256: str
    logged_at: datetime


class Examination:
    """One verification: the files, what is expected, and which files have been looked at."""

    def __init__(self, files: Mapping[str, bytes], expected: Expectations) -> None:
        """Read the checkpoint.

        Raises:
            Malformed: It is missing or is none, or the published keys are none.
        """
        self.files, self.expected = files, expected
        self.used = {README, KEYS}
        self.note = Note.parse(self.file(CHECKPOINT))
        self.checkpoint = Checkpoint.parse(self.note.text)
        if KEYS in files:
            read_key_list(files[KEYS])

    def file(self, name: str) -> bytes:
        """Return the content of a file that has to be there.

        Raises:
            MalformedEvidence: It is not.
        """
        if name not in self.files:
            raise MalformedEvidence(f"the evidence lacks {name}")
        self.used.add(name)
        return self.files[name]

    def followups(self) -> Iterator[str]:
        """Yield the folder of each later certificate, in order."""
        number = 1
        while f"followups/{number}/{ENVELOPE}" in self.files:
            yield f"followups/{number}/"
            number += 1

    def verify_certificate(self, prefix: str) -> Link:
        """Verify one certificate with all that stands behind it.

        Args:
            prefix: The folder it is in: empty for the first, ``followups/1/`` and so on.

        Returns:
            The certificate.

        Raises:
            Malformed: A file is missing, or not what its format says.
            MalformedEnvelope: The envelope is written in another way than ours.
            MalformedStatement: The envelope holds something else.
            UnknownKey: No trusted key has signed it.
            RetiredKey: One has that was not valid at that time.
            OtherCertificate: The logged entry is about another one.
            OtherLog: It names another log than the checkpoint.
            Invalid: Anything else is wrong with it.
        """
        envelope = Envelope.parse(self.file(prefix + ENVELOPE))
        if bytes(envelope) != self.file(prefix + ENVELOPE):
            raise MalformedEnvelope("the envelope is not in its canonical form")
        verify_envelope(envelope, all_keys(self.expected.keys))
        if envelope.payload_type != PAYLOAD_TYPE:
            raise MalformedStatement("the envelope does not hold an in-toto statement")
        certificate = Certificate.parse(envelope.payload)
        verify_soundness(certificate)
        try:
            verify_envelope(envelope, keys_at(self.expected.keys, moment(certificate.issued_at)))
        except UnknownKey as error:
            raise RetiredKey("the certificate's key was not valid when it was issued") from error
        entry, index = self.logged(prefix + LEAF, prefix + PROOF)
        link = Link(certificate, sha256(envelope.payload).hexdigest(), moment(entry.time))
        said = entry.facts.get("certificate_sha256")
        if (entry.type, said) != (CERTIFICATE_ISSUED, link.sha256):
            raise OtherCertificate("the logged entry is about another certificate")
        if entry.request_id != certificate.request.id:
            raise OtherCertificate("the logged entry is about another request")
        if certificate.log.origin != self.checkpoint.origin:
            raise OtherLog("the certificate and the checkpoint name different logs")
        self.verify_sources(certificate, entry.tenant, index)
        return link

    def logged(self, leaf_name: str, proof_name: str) -> tuple[Entry, int]:
        """Verify that an entry is in the log.

        Args:
            leaf_name: The file with the leaf.
            proof_name: The file with its proof.

        Returns:
            The entry and its place.

        Raises:
            Malformed: A file is missing, or not what its format says.
            OtherLog: The proof leads to another checkpoint than the evidence's.
            BadInclusion: It does not lead there.
        """
        leaf, proof = self.file(leaf_name), LogProof.parse(self.file(proof_name))
        entry = Entry.parse(leaf)
        if proof.checkpoint != self.files[CHECKPOINT]:
            raise OtherLog("a proof leads to another checkpoint than the evidence's")
        verify_inclusion(
            index=proof.index,
            size=self.checkpoint.size,
            leaf_hash=hash_leaf(leaf),
            proof=proof.hashes,
            root=self.checkpoint.root,
        )
        return entry, proof.index

    def verify_sources(self, certificate: Certificate, tenant: str, logged_index: int) -> None:
        """Verify the cited entries, the reports, and that all digests come from the entries.

        Args:
            certificate: What cites them.
            tenant: Whose certificate it is; what it cites is theirs too.
            logged_index: Where it was logged; what it cites comes before.

        Raises:
            UnloggedFact: A cited entry is another, or a digest stands in none.
            OtherFile: A report is not the one certified.
        """
        stated: set[str] = set()
        for cited in certificate.log.entries:
            name = f"entries/{cited.index}"
            entry, index = self.logged(f"{name}.json", f"{name}.tlog-proof")
            leaf = self.file(f"{name}.json")
            stated.update(_DIGEST.findall(leaf.decode()))
            if Cited(index, entry.type, hash_leaf(leaf).hex()) != cited:
                raise UnloggedFact("a cited entry is not the one that the log holds")
            if entry.tenant != tenant or index >= logged_index:
                raise UnloggedFact("a cited entry is another tenant's, or came too late")
        if not stated.issuperset(stated_digests(certificate)):
            raise UnloggedFact("no cited entry states a digest that the certificate does")
        for run in (target.run for target in certificate.targets if target.run is not None):
            report = self.file(f"reports/{run.job_id}.json")
            if sha256(report).hexdigest() != run.report_sha256:
                raise OtherFile("a report is not the one that was certified")

    def verify_follower(self, chain: list[Link]) -> None:
        """Verify that the last certificate follows one of those before it.

        Raises:
            OtherCertificate: It does not, or is about another request.
        """
        *before, last = chain
        follows = last.certificate.follows
        if follows is None or follows.certificate_sha256 not in {link.sha256 for link in before}:
            raise OtherCertificate("a later certificate does not follow this one")
        if last.certificate.request.id != chain[0].certificate.request.id:
            raise OtherCertificate("a later certificate is about another request")

    def verify_checkpoint(self, logged_at: datetime) -> None:
        """Verify the signature of the log, not older than what it logged, and the witnesses.

        Raises:
            BadSignature: A signature in the name of a trusted key is wrong.
            UnknownKey: No trusted key of this log has signed.
            RetiredKey: One has that was retired before the entry was written.
            QuorumMissed: Too few witnesses have cosigned.
        """
        trusted = self.trusted_for_log()
        verify_note(self.note, all_keys(trusted))
        try:
            verify_note(self.note, keys_from(trusted, logged_at))
        except UnknownKey as error:
            raise RetiredKey("the checkpoint's key was retired before the entry") from error
        verify_quorum(self.note, self.expected.witnesses, self.expected.quorum)

    def trusted_for_log(self) -> list[TrustedKey]:
        """The keys that may sign for the log: those that have its origin as name."""
        origin = self.checkpoint.origin
        return [item for item in self.expected.keys if item.key.name == origin]

    def verify_pin(self) -> None:
        """Verify that the log continues, or is continued by, the checkpoint kept from before.

        Raises:
            OtherLog: That checkpoint is of another log.
            Fork: It has the same size and another root.
            OlderThanPin: It is larger, and nothing connects the two.
            BadConsistency: It is smaller, and nothing right connects the two.
        """
        if self.expected.pinned is None:
            return
        note, now = Note.parse(self.expected.pinned), self.checkpoint
        pinned = Checkpoint.parse(note.text)
        if pinned.origin != now.origin:
            raise OtherLog("the pinned checkpoint is of another log")
        verify_note(note, all_keys(self.trusted_for_log()))
        if pinned.size == now.size and pinned.root != now.root:
            raise Fork("the log has shown two different trees of one size")
        if pinned.size in {0, now.size}:
            return
        earlier, later = sorted((pinned, now), key=lambda checkpoint: checkpoint.size)
        proof = self.expected.consistency
        if proof is None:
            proof = self.files.get(f"consistency/{pinned.size}.json")
        if proof is None and earlier is now:
            raise OlderThanPin("the evidence is older than the pinned checkpoint")
        if proof is None:
            raise BadConsistency("nothing shows that the log continues the pinned checkpoint")
        verify_consistency(
            size=earlier.size,
            root=earlier.root,
            later_size=later.size,
            later_root=later.root,
            proof=_consistency_hashes(proof, earlier.size, later.size),
        )

    def verify_in_hand(self, certificate: Certificate) -> None:
        """Verify the request asked for, and the files whose bytes are at hand.

        Raises:
            OtherRequest: The certificate is about another request.
            OtherFile: A file is not one that was certified.
            MalformedEvidence: A file cannot be read.
        """
        wanted = self.expected.request_id
        if wanted is not None and certificate.request.id != wanted:
            raise OtherRequest("the certificate is about another request")
        certified = {file.digest.sha256 for file in certificate.subject()}
        for path in self.expected.models:
            try:
                with path.open("rb") as file:
                    digest = file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise MalformedEvidence("the file to compare cannot be read") from error
            if digest not in certified:
                raise OtherFile("the file in hand is not one that was certified")

    def verify_age(self, logged_at: datetime) -> None:
        """Verify that the evidence is as recent as wanted.

        Raises:
            TooOld: It is not.
        """
        oldest = self.expected.not_before or datetime.fromtimestamp(0, UTC)
        seen = {key.public: cosigned_at(self.note, key) for key in self.expected.witnesses}
        times = {public: time for public, time in seen.items() if time is not None}
        newest = max(times.values(), default=logged_at)
        recent = {public for public, time in times.items() if time >= oldest}
        if newest < oldest or not self.expected.quorum.is_met(recent):
            raise TooOld("the evidence is older than wanted")

    def verify_not_revoked(self, chain: list[Link]) -> None:
        """Verify that no certificate takes the first one back.

        Raises:
            Revoked: One does.
        """
        if any(link.certificate.kind == "revoked" for link in chain):
            raise Revoked("a later certificate takes this one back")

    def verify_nothing_is_left(self) -> None:
        """Verify that every file has been looked at, apart from proofs for other pins.

        Raises:
            MalformedEvidence: One has not.
        """
        left = {name for name in self.files.keys() - self.used if "consistency/" not in name}
        if left:
            raise MalformedEvidence("the evidence holds a file that nothing refers to")


def stated_digests(certificate: Certificate) -> Iterator[str]:
    """Every digest that a certificate states and the log therefore has to state."""
    yield certificate.request.commitment.root
    for target in certificate.targets:
        if target.parent.withdrawal == "withdrawn":
            yield target.parent.sha256
        if target.result is not None and target.run is not None:
            inputs = target.run.inputs
            yield from (target.parent.sha256, target.result.sha256, target.run.report_sha256)
            yield from (inputs.code, inputs.configuration, inputs.dataset_manifest)


def _consistency_hashes(data: bytes, size: int, later_size: int) -> list[bytes]:
    """Read a proof of consistency as the service hands it out.

    Raises:
        MalformedProof: It is not one.
        BadConsistency: It is between other sizes.
    """
    document = parse(data)
    hashes = document.get("hashes") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(hashes, list):
        raise MalformedProof("the proof of consistency is not an object with hashes")
    if (document.get("from"), document.get("to")) != (size, later_size):
        raise BadConsistency("the proof of consistency is between other sizes")
    if not all(isinstance(part, str) and _DIGEST.fullmatch(part) for part in hashes):
        raise MalformedProof("a hash of the proof is not 32 bytes in lower hexadecimal")
    return [bytes.fromhex(str(part)) for part in hashes]
