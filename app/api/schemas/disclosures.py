"""What is shown of what a request named, and the words with which it is taken back."""

from typing import Self

from pydantic import model_validator

from app.api.schemas.base import Input, Name, Output, Text
from app.ledger.disclosures import DisclosedDetail, DisclosedMember


class MemberIn(Input):
    """One sample or one subject; ids travel in bodies, never in URLs."""

    sample_id: Text | None = None
    subject_id: Text | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.sample_id is None) == (self.subject_id is None):
            raise ValueError("names either a sample or a subject")
        return self

    def member(self) -> str:
        """Return the member as a request's list holds it."""
        if self.sample_id is not None:
            return f"sample:{self.sample_id}"
        return f"subject:{self.subject_id}"


class MembershipOut(Output):
    """A place in the committed list and the path to its root; hashes in hexadecimal."""

    index: int
    key: str
    hashes: list[str]


class MemberOut(Output):
    """Saved as a file it is what ``lethe verify --member`` takes."""

    request_id: str
    member: str
    membership: MembershipOut

    @classmethod
    def of(cls, shown: DisclosedMember) -> Self:
        """Write the document."""
        part = shown.membership
        return cls(
            request_id=shown.request_id,
            member=shown.member,
            membership=MembershipOut(index=part.index, key=part.key, hashes=list(part.hashes)),
        )


class DetailOut(Output):
    """Saved as a file it is what ``lethe verify --detail`` takes."""

    request_id: str
    detail: str
    key: str

    @classmethod
    def of(cls, shown: DisclosedDetail) -> Self:
        """Write the document."""
        return cls(request_id=shown.request_id, detail=shown.detail, key=shown.key)


class RevocationIn(Input):
    """Why a certificate is taken back."""

    reason: Name
