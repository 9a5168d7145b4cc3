"""Witnesses are asked to cosign what the log has signed; none of them is waited for.

Sealing, certificates and requests go on whatever a witness does. What it signs is shown with
the checkpoint from then on.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import tree
from app.domain.log import Cosignature, SignedCheckpoint
from app.domain.queries.log import newest
from app.ledger.checkpoints import cosigned_at
from app.ledger.errors import BadSignature
from app.ledger.merkle import prove_consistency
from app.ledger.notes import Note, NoteSignature, VerifierKey
from app.ledger.witnessing import Submission


def prepare(
    tx: Session, witness: VerifierKey, oldest: datetime, known: int | None = None
) -> Submission | None:
    """Return what a witness has to be asked next.

    Args:
        tx: A transaction; nothing is written in it.
        witness: Key of the witness.
        oldest: A cosignature of the newest checkpoint from before that is renewed.
        known: Size that the witness says it has cosigned last; None for the one we know of.

    Returns:
        The newest checkpoint with its proof; None if the witness has cosigned it, or knows of a
        larger tree than there is.
    """
    signed = newest(tx)
    if signed is None:
        return None
    query = select(Cosignature).where(Cosignature.witness == str(witness))
    last = tx.scalar(query.order_by(Cosignature.size.desc()).limit(1))
    if known is None:
        if last is not None and last.size == signed.size and last.cosigned_at >= oldest:
            return None
        known = 0 if last is None else last.size
    if known > signed.size:
        return None
    proof = prove_consistency(known, signed.size, tree.reader(tx)) if known else []
    return Submission(known, tuple(proof), Note.parse(signed.note))


def record(tx: Session, witness: VerifierKey, size: int, line: NoteSignature) -> datetime:
    """Keep a cosignature, so that it is shown with its checkpoint.

    Args:
        tx: A transaction of its own.
        witness: Key of the witness.
        size: Of the checkpoint.
        line: What the witness has answered.

    Returns:
        When the witness has cosigned.

    Raises:
        BadSignature: It is no cosignature of this checkpoint by this witness.
    """
    signed = tx.get_one(SignedCheckpoint, size)
    time = cosigned_at(Note(Note.parse(signed.note).text, (line,)), witness)
    if time is None:
        raise BadSignature("the answer of the witness is signed by another key")
    kept = tx.get(Cosignature, (size, str(witness)))
    if kept is None:
        tx.add(Cosignature(size=size, witness=str(witness), line=str(line), cosigned_at=time))
    elif kept.cosigned_at < time:
        kept.line, kept.cosigned_at = str(line), time
    return time
