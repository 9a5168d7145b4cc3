"""Everything that what this library reads can have wrong with it.

The verifier is apart: see ``NAMES`` in ``verify``.

LedgerError
├── OutOfRange             a proof was asked for that this tree cannot give
├── Malformed              the bytes are not what their format says
│   ├── MalformedJson      not JSON of our kind, or not in its canonical form
│   ├── MalformedRecord    a member is missing, unknown or of the wrong kind
│   ├── MalformedKey       not a verifier key, or not one of a type we know
│   ├── MalformedNote      not a signed note
│   ├── MalformedCheckpoint  the note is no checkpoint
│   ├── MalformedProof     not a proof of the transparency log
│   ├── MalformedPolicy    not a list of whom to trust
│   ├── MalformedSubmission  not what a log sends to its witnesses
│   ├── MalformedTile      not the path of a tile
│   ├── MalformedEnvelope  not a DSSE envelope
│   └── MalformedStatement  not an in-toto statement that holds a certificate of ours
├── Invalid                well formed, and wrong
│   ├── BadSignature       a signature does not belong to what it stands below
│   ├── BadInclusion       the proof does not lead from the leaf to the root
│   ├── BadConsistency     the later tree does not continue the earlier one
│   ├── Fork               two checkpoints of one size have different roots
│   ├── OtherRequest       the certificate is about another request than the one asked for
│   ├── UnloggedFact       the certificate states what no entry of the log does
│   ├── NotCommitted       what is shown is not what was committed to
│   └── OtherSize          the witness has cosigned another size than the log believes
└── Untrusted              signed, but not by someone the verifier trusts for it
    ├── UnknownLog         the checkpoint is of a log that nothing is known about
    ├── UnknownKey         no signature is by a trusted key
    └── QuorumMissed       too few witnesses have seen the checkpoint

Messages name what failed and never repeat the content at fault.
"""


class LedgerError(Exception):
    """Base of every error raised by this package."""


class OutOfRange(LedgerError, ValueError):
    """A leaf or a size was asked for that the tree does not have."""


class Malformed(LedgerError):
    """The bytes are not what their format says."""


class MalformedJson(Malformed):
    """Not JSON of the kind we accept, or not in its canonical form."""


class MalformedRecord(Malformed):
    """A member of a document is missing, unknown or of the wrong kind.

    Attributes:
        pointer: JSON pointer (RFC 6901) to the member.
        reason: What is wrong with it.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        """Remember where the fault is and what it is."""
        self.pointer = pointer
        self.reason = reason
        super().__init__(f"{pointer or '/'}: {reason}")


class MalformedKey(Malformed):
    """Not a verifier key, or not one of a type we know."""


class MalformedNote(Malformed):
    """Not a signed note."""


class MalformedCheckpoint(Malformed):
    """The text of the note is not a checkpoint."""


class MalformedProof(Malformed):
    """Not a proof of a transparency log."""


class MalformedPolicy(Malformed):
    """Not a list of logs, witnesses and their quorum."""


class MalformedSubmission(Malformed):
    """Not what a log sends to its witnesses."""


class MalformedTile(Malformed):
    """Not the path of a tile of the tree."""


class MalformedEnvelope(Malformed):
    """Not a DSSE envelope."""


class MalformedStatement(Malformed):
    """Not an in-toto statement that holds a certificate of ours."""


class Invalid(LedgerError):
    """Well formed, and wrong."""


class BadSignature(Invalid):
    """A signature by a known key does not belong to what it stands below."""


class BadInclusion(Invalid):
    """The proof does not lead from the leaf to the root."""


class BadConsistency(Invalid):
    """The proof does not show that the later tree continues the earlier one."""


class Fork(Invalid):
    """Two checkpoints of the same log and size have different roots."""


class OtherRequest(Invalid):
    """The certificate is about another request than the one asked for."""


class UnloggedFact(Invalid):
    """The certificate states a digest or cites an entry that the log does not hold."""


class NotCommitted(Invalid):
    """What is shown is not what was committed to."""


class OtherSize(Invalid):
    """The witness has cosigned another size of the log than the proof starts from.

    Attributes:
        known: The size it has cosigned; 0 if none.
    """

    def __init__(self, known: int) -> None:
        """Remember the size."""
        self.known = known
        super().__init__(f"the largest tree that was cosigned has {known} leaves")


class Untrusted(LedgerError):
    """Signed, but not by someone the verifier trusts for it."""


class UnknownLog(Untrusted):
    """The checkpoint is of a log that the witness knows no key of."""


class UnknownKey(Untrusted):
    """No signature is by a trusted key."""


class QuorumMissed(Untrusted):
    """Too few of the trusted witnesses have cosigned the checkpoint.

    Attributes:
        found: How many have.
        wanted: How many must.
    """

    def __init__(self, found: int, wanted: int) -> None:
        """Remember how many have cosigned and how many must."""
        self.found = found
        self.wanted = wanted
        super().__init__(f"{found} of the trusted witnesses have cosigned; {wanted} must")
