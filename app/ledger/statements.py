"""Attestations about files: in-toto Statement v1.

A statement says something (the predicate, of a type with a URI) about files (the subject,
by their digests). Its bytes are canonical JSON, and what is signed is those bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.ledger.encoding import Json, decode, encode
from app.ledger.errors import MalformedJson, MalformedRecord, MalformedStatement
from app.ledger.records import Digest, Name, read_record, write_record

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


@dataclass(frozen=True)
class Sha256:
    """The digest set of a subject, with the one algorithm that we use.

    Attributes:
        sha256: In lower hexadecimal.
    """

    sha256: Digest


@dataclass(frozen=True)
class Subject:
    """A file that a statement is about.

    Attributes:
        name: Tells it apart from the others.
        digest: Of its bytes.
    """

    name: Name
    digest: Sha256


@dataclass(frozen=True)
class Statement:
    """An in-toto statement.

    Attributes:
        subject: The files; at least one.
        predicate_type: URI of what the predicate means.
        predicate: What is said.
    """

    subject: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Json]

    @classmethod
    def parse(cls, data: bytes) -> Statement:
        """Read a statement from its canonical bytes.

        Raises:
            MalformedStatement: The bytes are not one, or it has no subject.
        """
        try:
            document = decode(data)
        except MalformedJson as error:
            raise MalformedStatement(f"the statement: {error}") from error
        names = {"_type", "subject", "predicateType", "predicate"}
        if not isinstance(document, dict) or document.keys() != names:
            raise MalformedStatement("the statement has not the members of in-toto's version 1")
        predicate, kind, subject = (
            document["predicate"], document["predicateType"], document["subject"],
        )  # fmt: skip
        if document["_type"] != STATEMENT_TYPE or not isinstance(kind, str):
            raise MalformedStatement("the statement is not in-toto's version 1")
        if not isinstance(predicate, dict) or not isinstance(subject, list) or not subject:
            raise MalformedStatement("the statement says nothing, or of nothing")
        try:
            files = tuple(
                read_record(Subject, item, f"/subject/{place}")
                for place, item in enumerate(subject)
            )
        except MalformedRecord as error:
            raise MalformedStatement(f"the statement: {error}") from error
        return cls(files, kind, predicate)

    def __bytes__(self) -> bytes:
        """Write the statement in its canonical form."""
        return encode({
            "_type": STATEMENT_TYPE,
            "subject": [write_record(file) for file in self.subject],
            "predicateType": self.predicate_type,
            "predicate": self.predicate,
        })
