"""The log's keys and proofs; hashes in hexadecimal."""

from pydantic import Field

from app.api.schemas.base import Output


class LogKeyOut(Output):
    """A public key of the log (C2SP vkey) and when its signatures count."""

    vkey: str
    valid_from: str | None
    valid_until: str | None


class LogKeysOut(Output):
    """All keys, oldest first, retired ones included."""

    items: list[LogKeyOut]


class InclusionOut(Output):
    """A proof that an entry is in the tree (RFC 9162, section 2.1.3)."""

    index: int
    size: int
    hashes: list[str]
    root: str


class ConsistencyOut(Output):
    """A proof that a tree continues an earlier one (RFC 9162, section 2.1.4)."""

    from_size: int = Field(serialization_alias="from")
    to_size: int = Field(serialization_alias="to")
    hashes: list[str]


class SignatureOut(Output):
    """One signature of an envelope, in base 64."""

    keyid: str
    sig: str


class EnvelopeOut(Output):
    """A DSSE envelope around an in-toto statement, in base 64."""

    payload: str
    payloadType: str  # noqa: N815 - DSSE's own name
    signatures: list[SignatureOut]
