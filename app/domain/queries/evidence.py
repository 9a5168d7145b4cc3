"""The evidence about a request: everything that its certificate rests on, with proofs.

``docs/evidence.md`` describes the archive. It is made anew for every reader, and leads to the
newest checkpoint that the configured quorum of witnesses has cosigned, or to the newest of all
where none holds what it has to.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import tree
from app.domain.errors import Conflict, NotFound
from app.domain.log import IssuedCertificate, Leaf, SignedCheckpoint
from app.domain.queries.log import checkpoint, cosigned, note_of
from app.domain.reports import Report
from app.domain.requests import Request
from app.infra.settings import settings
from app.infra.signing import keyring
from app.ledger.certificates import Certificate
from app.ledger.encoding import encode
from app.ledger.envelopes import Envelope
from app.ledger.merkle import (
    Node,
    Span,
    consistency_path,
    inclusion_path,
    prove_consistency,
    prove_inclusion,
    tiling,
)
from app.ledger.proofs import LogProof
from app.ledger.verify import (
    CHECKPOINT,
    ENVELOPE,
    LEAF,
    PROOF,
    PUBLISHED_KEYS,
    README,
    Refused,
    pack,
)

MOST_CONSISTENCY_PROOFS = 64
ABOUT = """\
This archive is evidence about one request: a signed certificate, the entries of the log that it
rests on, and proofs that lead to the checkpoint in checkpoint.txt.

Verify it with lethe-verify.pyz, which needs Python and the package cryptography, and no network:

    python lethe-verify.pyz evidence.zip --key <vkey>

Get the key from the operator in another way than this archive; keys.json is only there to be
compared with it. This file is not evidence.
"""


def issued(tx: Session, request: Request) -> list[IssuedCertificate]:
    """Return a request's certificates that stand in the signed log, the first one first.

    Raises:
        NotFound: There is none yet.
    """
    newest = tx.scalar(
        select(SignedCheckpoint.size).order_by(SignedCheckpoint.size.desc()).limit(1)
    )
    query = (
        select(IssuedCertificate)
        .join(Leaf, Leaf.entry_id == IssuedCertificate.entry_id)
        .where(IssuedCertificate.request_id == request.id, Leaf.index < (newest or 0))
        .order_by(IssuedCertificate.number)
    )
    found = list(tx.scalars(query))
    if not found:
        raise NotFound("The certificate is not issued yet", code="certificate-not-issued")
    return found


def numbered(tx: Session, request: Request, number: int) -> IssuedCertificate:
    """Return one of a request's certificates that stand in the signed log; 0 is the first.

    Raises:
        NotFound: There is none of this number yet.
    """
    found = issued(tx, request)
    if number >= len(found):
        raise NotFound("There is no such later certificate", code="certificate-not-issued")
    return found[number]


def certified(tx: Session, request_ids: Iterable[str]) -> set[str]:
    """Return which of these requests have a certificate in the signed log."""
    newest = select(SignedCheckpoint.size).order_by(SignedCheckpoint.size.desc()).limit(1)
    query = (
        select(IssuedCertificate.request_id)
        .join(Leaf, Leaf.entry_id == IssuedCertificate.entry_id)
        .where(
            IssuedCertificate.request_id.in_(request_ids),
            Leaf.index < newest.scalar_subquery(),
        )
    )
    return set(tx.scalars(query))


def files(tx: Session, request: Request, pins: Sequence[int] = ()) -> dict[str, bytes]:
    """Collect the evidence about a request.

    Args:
        tx: The transaction.
        request: Which request.
        pins: Sizes of checkpoints that the reader has kept; each gets its proof, as the newest
            checkpoints do.

    Returns:
        Content by name, for ``app.ledger.verify.pack``.

    Raises:
        NotFound: The certificate is not issued yet.
    """
    found = issued(tx, request)
    envelopes = [Envelope.parse(item.envelope) for item in found]
    certificates = [Certificate.parse(envelope.payload) for envelope in envelopes]
    cited = {item.index for one in certificates for item in one.log.entries}
    own = [item.entry_id for item in found]
    query = select(Leaf).where(Leaf.index.in_(cited) | Leaf.entry_id.in_(own))
    leaves = {leaf.index: leaf for leaf in tx.scalars(query)}
    places = {leaf.entry_id: leaf.index for leaf in leaves.values()}
    quorum = settings().witness_policy.quorum
    signed = cosigned(tx, quorum, max(leaves) + 1) or checkpoint(tx)
    note = note_of(tx, signed)
    proofs = _proofs(tx, signed.size, note, leaves)
    collected = {
        README: ABOUT.encode(),
        PUBLISHED_KEYS: _keys(),
        CHECKPOINT: note,
        **_reports(tx, certificates),
        **_consistency(tx, signed.size, pins),
    }
    for number, item in enumerate(found):
        folder = f"followups/{number}/" if number else ""
        place = places[item.entry_id]
        collected[folder + ENVELOPE] = item.envelope
        collected[folder + LEAF] = leaves[place].leaf
        collected[folder + PROOF] = proofs[place]
    for index in cited:
        collected[f"entries/{index}.json"] = leaves[index].leaf
        collected[f"entries/{index}.tlog-proof"] = proofs[index]
    return collected


def archive(tx: Session, request: Request, pins: Sequence[int] = ()) -> bytes:
    """Return the evidence about a request as one archive; see ``files``.

    Raises:
        NotFound: The certificate is not issued yet.
        Conflict: ``evidence-too-large``: no verifier would take it.
    """
    try:
        return pack(files(tx, request, pins))
    except Refused:
        raise Conflict(
            "There is more evidence than an archive may hold", code="evidence-too-large"
        ) from None


def _proofs(tx: Session, size: int, note: bytes, leaves: Mapping[int, Leaf]) -> dict[int, bytes]:
    paths = {index: inclusion_path(index, size) for index in leaves}
    read = _fetched(tx, (span for path in paths.values() for span in path))
    proofs = {}
    for index in leaves:
        hashes = tuple(prove_inclusion(index, size, lambda _nodes: read))
        proofs[index] = bytes(LogProof(index, hashes, note))
    return proofs


def _consistency(tx: Session, size: int, pins: Sequence[int]) -> dict[str, bytes]:
    """Connect the checkpoint with others that the reader may have kept, older or newer ones."""
    query = (
        select(SignedCheckpoint.size)
        .where(SignedCheckpoint.size > 0)
        .order_by(SignedCheckpoint.size.desc())
        .limit(MOST_CONSISTENCY_PROOFS)
    )
    newest = checkpoint(tx).size
    others = {*tx.scalars(query), *(pin for pin in pins if 0 < pin <= newest)} - {size}
    pairs = {other: (min(other, size), max(other, size)) for other in others}
    read = _fetched(tx, (span for pair in pairs.values() for span in consistency_path(*pair)))
    made = {}
    for other, (earlier, later) in pairs.items():
        hashes = prove_consistency(earlier, later, lambda _nodes: read)
        document = {"from": earlier, "to": later, "hashes": [part.hex() for part in hashes]}
        made[f"consistency/{other}.json"] = encode(document)
    return made


def _fetched(tx: Session, spans: Iterable[Span]) -> Mapping[Node, bytes]:
    """Read all nodes over these spans at once."""
    return tree.reader(tx)(list({node for span in spans for node in tiling(span)}))


def _reports(tx: Session, certificates: Iterable[Certificate]) -> dict[str, bytes]:
    jobs = {
        target.run.job_id
        for certificate in certificates
        for target in certificate.targets
        if target.run is not None
    }
    query = select(Report.job_id, Report.canonical).where(Report.job_id.in_(jobs))
    return {
        f"reports/{job_id}.json": content
        for job_id, content in tx.execute(query)
        if content is not None
    }


def _keys() -> bytes:
    items = keyring().document()["items"]
    shown = [{name: value for name, value in item.items() if value is not None} for item in items]
    return encode({"items": shown})
