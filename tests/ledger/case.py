"""A small log with one fulfilled request, and the evidence about it; nothing here is random."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.ledger.certificates import (
    Asked,
    Certificate,
    Cited,
    Commitment,
    Follows,
    Gate,
    Inputs,
    Log,
    Measurement,
    Parent,
    Result,
    Rows,
    Run,
    Selection,
    Target,
    limits_for,
)
from app.ledger.checkpoints import Checkpoint
from app.ledger.commitments import CommittedList
from app.ledger.encoding import encode
from app.ledger.entries import CERTIFICATE_ISSUED, Entity, Entry
from app.ledger.envelopes import Envelope
from app.ledger.merkle import MemoryTree, prove_consistency, prove_inclusion
from app.ledger.notes import Note
from app.ledger.proofs import LogProof
from app.ledger.signers import Signer, Witness
from app.ledger.statements import PAYLOAD_TYPE
from app.ledger.verify import Expectations, Key

ORIGIN = "log.example/lethe"
START = datetime(2026, 11, 20, 9, tzinfo=UTC)
MODEL = b"the published weights"
REPORT = b'{"verdict":"passed"}'
MEMBERS = CommittedList(["row-17", "row-4711"], bytes(32))


def private_key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


LOG = Signer(ORIGIN, private_key(1))
ISSUER = Signer(f"{ORIGIN}/certificates", private_key(2))
STRANGER = Signer(ORIGIN, private_key(3))
WITNESSES = [Witness(f"witness{number}.example", private_key(number)) for number in (11, 12, 13)]


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def trusting(*signers: Signer) -> Expectations:
    return Expectations(keys=tuple(map(key_of, signers or (LOG, ISSUER))))


def key_of(signer: Signer | Witness, **window: datetime) -> Key:
    """A signer's key as the verifier reads it, and in which time it counts."""
    return Key.parse(str(signer.key))._replace(**window)  # type: ignore[arg-type]  # only times


def at_least(count: int) -> Callable[[Set[bytes]], bool]:
    """A quorum of so many."""
    return lambda cosigners: len(cosigners) >= count


WITNESS_KEYS = tuple(map(key_of, WITNESSES))


@dataclass
class BuiltLog:
    """A log in memory."""

    leaves: list[bytes] = field(default_factory=list)
    tree: MemoryTree = field(default_factory=MemoryTree)

    def append(self, entry: Entry) -> Cited:
        self.leaves.append(bytes(entry))
        self.tree.extend([entry.leaf_hash()])
        return Cited(len(self.leaves) - 1, entry.type, entry.leaf_hash().hex())

    def note(self, size: int | None = None, signer: Signer = LOG) -> Note:
        size = self.tree.size if size is None else size
        return signer.sign_checkpoint(Checkpoint(ORIGIN, size, self.tree.root(size)))

    def proof(self, index: int, note: Note) -> bytes:
        size = Checkpoint.parse(note.text).size
        return bytes(
            LogProof(index, tuple(prove_inclusion(index, size, self.tree.read)), bytes(note))
        )

    def consistency(self, size: int, later_size: int) -> bytes:
        hashes = prove_consistency(size, later_size, self.tree.read)
        return encode({"from": size, "to": later_size, "hashes": [part.hex() for part in hashes]})


def entry(number: int, type: str, request_id: str = "req_a", **facts: object) -> Entry:
    return Entry(
        id=f"evt_{number}",
        tenant="ten_x",
        time=at(number),
        type=type,
        actor="service:worker",
        entity=Entity("request", request_id),
        facts=facts,
        request_id=request_id,
    )


def filled(log: BuiltLog, count: int) -> None:
    for _ in range(count):
        log.append(entry(len(log.leaves), "version.registered", "req_other"))


def run(**changes: object) -> Run:
    made = Run(
        job_id="job_1",
        method="sparse_newton",
        parameters={"fraction": "0.1"},
        seeds={"torch": 7},
        inputs=Inputs(digest("code"), digest("configuration"), digest("manifest")),
        assurance="empirical",
        verdict="passed",
        measurements=(
            Measurement("forget_accuracy", 120, "1.0", "0.91", "0.92", interval=("0.88", "0.94")),
            Measurement("forget_accuracy", 120, after="0.99", control="fine_tune"),
        ),
        gates=(
            Gate("holdout_accuracy_drop", "at_most", "0.02", "passed", "0.004", ("-0.01", "0.01")),
            Gate("forget_gap_closed", "at_least", "0.5", "passed", "0.9"),
        ),
        report_sha256=sha256(REPORT).hexdigest(),
        selection=Selection("hessian_diagonal", 5210, 52106, ("head",)),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # any field may be replaced


def certificate(cited: Sequence[Cited], issued: float, **changes: object) -> Certificate:
    targets = (
        Target(
            "mdl_1",
            Parent("mv_a", digest("old weights"), "withdrawn", at(5)),
            Result("mv_b", sha256(MODEL).hexdigest()),
            run(),
        ),
    )
    made = Certificate(
        kind="completed",
        issued_at=at(issued),
        request=Asked(
            "req_a", "deletion", "gdpr", at(0), at(6), {"samples": 2, "unknown": 0},
            Commitment(MEMBERS.root().hex(), MEMBERS.size),
        ),
        targets=targets,
        log=Log(ORIGIN, tuple(cited)),
        limits=limits_for(targets),
        rows=Rows("erased", 2, 1, at(5)),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]  # any field may be replaced


def facts(log: BuiltLog, request_id: str = "req_a") -> list[Cited]:
    """Log what a certificate is built from."""
    number = len(log.leaves)
    accepted = entry(number, "request.accepted", request_id, commitment=MEMBERS.root().hex())
    published = entry(
        number + 1,
        "version.live",
        request_id,
        sha256=sha256(MODEL).hexdigest(),
        parent=digest("old weights"),
        report=sha256(REPORT).hexdigest(),
        inputs=[digest("code"), digest("configuration"), digest("manifest")],
    )
    withdrawn = entry(number + 2, "version.withdrawn", request_id, sha256=digest("old weights"))
    return [log.append(accepted), log.append(published), log.append(withdrawn)]


def issue(log: BuiltLog, made: Certificate, signer: Signer = ISSUER) -> tuple[bytes, int]:
    """Sign a certificate and log it; return the envelope and the place of its entry."""
    payload = bytes(made.statement())
    issued = entry(
        len(log.leaves),
        CERTIFICATE_ISSUED,
        made.request.id,
        certificate_sha256=sha256(payload).hexdigest(),
    )
    return bytes(signer.sign_envelope(PAYLOAD_TYPE, payload)), log.append(issued).index


def pack_files(
    log: BuiltLog,
    issued: Sequence[tuple[bytes, int]],
    cited: Sequence[Cited],
    *,
    note: Note | None = None,
    pins: Sequence[int] = (),
) -> dict[str, bytes]:
    """Collect the files of the evidence for certificates and what they cite."""
    note = note or log.note()
    size = Checkpoint.parse(note.text).size
    files = {
        "README.txt": b"About this archive.\n",
        "keys.json": encode({"items": [{"vkey": str(LOG.key), "valid_from": at(0)}]}),
        "checkpoint.txt": bytes(note),
        "reports/job_1.json": REPORT,
    }
    for number, (envelope, index) in enumerate(issued):
        folder = f"followups/{number}/" if number else ""
        files[f"{folder}certificate.dsse.json"] = envelope
        files[f"{folder}certificate.leaf.json"] = log.leaves[index]
        files[f"{folder}certificate.tlog-proof"] = log.proof(index, note)
    for item in cited:
        files[f"entries/{item.index}.json"] = log.leaves[item.index]
        files[f"entries/{item.index}.tlog-proof"] = log.proof(item.index, note)
    for pin in pins:
        files[f"consistency/{pin}.json"] = log.consistency(pin, size)
    return files


@dataclass(frozen=True)
class Case:
    log: BuiltLog
    cited: list[Cited]
    files: Mapping[str, bytes]


def good_case() -> Case:
    """A log of 13 entries, the certificate's among them, with proofs from sizes 3 and 8."""
    log = BuiltLog()
    filled(log, 4)
    cited = facts(log)
    issued = issue(log, certificate(cited, issued=7))
    filled(log, 5)
    return Case(log, cited, pack_files(log, [issued], cited, pins=(3, 8)))


def with_followup(case: Case, kind: str, reason: str | None = None) -> dict[str, bytes]:
    """The same evidence after a later certificate about the first."""
    first = Envelope.parse(case.files["certificate.dsse.json"])
    follows = Follows(sha256(first.payload).hexdigest(), reason)
    later = certificate(case.cited, issued=20, kind=kind, follows=follows)
    again = issue(case.log, later)
    return pack_files(case.log, [(case.files["certificate.dsse.json"], 7), again], case.cited)
