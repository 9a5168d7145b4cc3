"""The log's tables: entries sealed into a Merkle tree, and what it signed.

``log_leaves`` holds the bytes that were hashed, exactly. ``log_nodes`` holds the complete
subtrees above them (RFC 9162, section 2.1); level 0 is ``leaf_hash`` itself. Leaves, nodes,
checkpoints and certificates are never changed: the database refuses it.
"""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.infra import clock
from app.infra.db import Base, UtcDateTime


class Unsealed(Base):
    """An audit entry without a place in the log; a trigger writes the row with the entry.

    ``position`` is taken before the commit: it orders what one batch sees and says nothing
    about entries whose transaction is still open.
    """

    __tablename__ = "log_unsealed"

    position: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    entry_id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant_id: Mapped[str] = mapped_column(String(40))


class Leaf(Base):
    """A sealed entry: its place, its exact bytes and their hash."""

    __tablename__ = "log_leaves"
    __table_args__ = (Index("ix_log_leaves_tenant", "tenant_id", "index"),)

    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[str] = mapped_column(ForeignKey("audit_entries.id"), unique=True)
    tenant_id: Mapped[str] = mapped_column(String(40))
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class TreeNode(Base):
    """The hash over ``2**level`` leaves from ``position * 2**level`` on; level 1 and up."""

    __tablename__ = "log_nodes"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class SignedCheckpoint(Base):
    """A checkpoint, as the signed note that everybody is shown."""

    __tablename__ = "log_checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    note: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)


class Cosignature(Base):
    """What a witness has signed under a checkpoint; asked again, it signs a later time.

    Nothing rests on the row: the line verifies under the witness's key, or it does not.
    """

    __tablename__ = "log_cosignatures"

    size: Mapped[int] = mapped_column(ForeignKey("log_checkpoints.size"), primary_key=True)
    witness: Mapped[str] = mapped_column(String(300), primary_key=True)
    """Its vkey."""
    line: Mapped[str] = mapped_column(String(500))
    """The signature line of the note, its end included."""
    cosigned_at: Mapped[datetime] = mapped_column(UtcDateTime)


class RequestCommitment(Base):
    """What the log commits to of a request, and beside it the encrypted record of what that is.

    ``root`` and ``size`` are of the list that the request named, ``detail_commitment`` is to what
    it asked for. ``detail``, ``members`` and the request's rows (``RequestRows``) are boxes under
    the request's data key, of which ``wrapped_key`` is a box under the tenant's key of
    ``key_epoch``. Once these are destroyed (None), no guess can be tried against a commitment,
    and every proof of the log still holds.
    """

    __tablename__ = "request_commitments"

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    size: Mapped[int] = mapped_column(BigInteger)
    detail_commitment: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    key_epoch: Mapped[int | None]
    wrapped_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    shredded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    detail: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    """The commitment's key and the detail."""
    members: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    """The list's key and its leaves: no id, but with the key ids can be tried."""


class IssuedCertificate(Base):
    """A certificate about a request; number 0 is the first, later ones follow it.

    ``sha256`` is of the payload, as the entry that logs the certificate states it.
    """

    __tablename__ = "certificates"
    __table_args__ = (UniqueConstraint("request_id", "number"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(30))
    sha256: Mapped[str] = mapped_column(String(64))
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    entry_id: Mapped[str] = mapped_column(String(40))
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime)


class CertificateDue(Base):
    """A request for which a certificate is to be issued: what it rests on is sealed.

    ``kind`` is one of the kinds of certificates. ``failure`` names the error that kept it from
    being issued, for people.
    """

    __tablename__ = "certificates_due"

    request_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(30), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40))
    failure: Mapped[str | None] = mapped_column(String(80))
