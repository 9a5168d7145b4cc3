"""What the service sends to others of its own accord: to witnesses, and to a webhook.

The addresses come from the operator, never from a client. No redirect is followed, no proxy is
taken from the environment, and nobody can make us wait or read for ever.

OutwardError
├── Unanswered    nobody answered, or not in time, or with something that cannot be read
├── Refused       the other side understood and refused
└── SizeConflict  the witness has cosigned another size last
"""

import time
from http import HTTPStatus

import httpx

from app.ledger.encoding import is_decimal
from app.ledger.errors import LedgerError
from app.ledger.notes import Note, NoteSignature, VerifierKey
from app.ledger.witnessing import Submission

TIMEOUT = httpx.Timeout(4.0, connect=2.0)
LONGEST_SECONDS = 8.0
LARGEST_ANSWER = 1 << 16


class OutwardError(Exception):
    """Base of all."""


class Unanswered(OutwardError):
    """There was no answer, or none that can be read."""


class Refused(OutwardError):
    """The other side has refused.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int) -> None:
        """Remember the status."""
        self.status = status
        super().__init__(f"answered with {status}")


class SizeConflict(OutwardError):
    """The witness has cosigned another size last than the proof starts from.

    Attributes:
        known: That size.
    """

    def __init__(self, known: int) -> None:
        """Remember the size."""
        self.known = known
        super().__init__(f"has cosigned {known} leaves last")


def ask_witness(url: str, submission: Submission, witness: VerifierKey) -> NoteSignature:
    """Ask a witness to cosign (C2SP tlog-witness).

    Args:
        url: Its submission prefix.
        submission: What to cosign.
        witness: Its key; lines of other keys are ignored.

    Returns:
        The line that carries the key's name and id; its signature is not verified here.

    Raises:
        SizeConflict: The witness has cosigned another size last.
        Refused: It refuses.
        Unanswered: It does not answer as a witness does.
    """
    status, body = _post(f"{url.rstrip('/')}/add-checkpoint", bytes(submission))
    if status == HTTPStatus.CONFLICT:
        text = body.decode(errors="replace").strip()
        # At the size that was named, it is the root that differs.
        if is_decimal(text) and int(text) != submission.old_size:
            raise SizeConflict(int(text))
    if status != HTTPStatus.OK:
        raise Refused(status)
    try:
        answered = Note.parse(bytes(submission.note) + body)
    except LedgerError as error:
        raise Unanswered("the answer holds no signatures") from error
    lines = answered.signatures[len(submission.note.signatures) :]
    for line in lines:
        if (line.name, line.key_id) == (witness.name, witness.id):
            return line
    raise Unanswered("the answer holds no signature of the witness")


def post_checkpoint(url: str, note: bytes) -> None:
    """Hand a checkpoint to a webhook; the note is signed, so nothing else has to be.

    Raises:
        Refused: The answer is no success.
        Unanswered: There was none.
    """
    status, _ = _post(url, note)
    if not 200 <= status < 300:
        raise Refused(status)


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    deadline = time.monotonic() + LONGEST_SECONDS
    received = b""
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    try:
        with (
            httpx.Client(timeout=TIMEOUT, trust_env=False, follow_redirects=False) as client,
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            for piece in answer.iter_raw():
                received += piece
                if len(received) > LARGEST_ANSWER or time.monotonic() > deadline:
                    raise Unanswered("the answer is too long, or comes too slowly")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The message would quote the address, which may hold a secret.
        raise Unanswered(type(error).__name__) from None
    return answer.status_code, received
