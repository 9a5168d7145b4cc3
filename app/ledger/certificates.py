"""What a certificate states: the predicate of our in-toto statements.

It lists what was asked, done, measured and destroyed, and which entries of the log say so. It
judges nothing beyond the gates it shows: whether that is enough is for its reader to decide,
and sentences that it has to repeat say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from app.ledger.errors import MalformedRecord, MalformedStatement
from app.ledger.records import (
    Count,
    Decimal,
    Digest,
    Moment,
    Name,
    Text,
    read_record,
    write_record,
)
from app.ledger.statements import Sha256, Statement, Subject
from app.ledger.verify import limits_for as limits_of

PREDICATE_TYPE = "urn:lethe-unlearning:certificate:v1"

Assurance: TypeAlias = Literal["exact", "certified", "empirical"]
Verdict: TypeAlias = Literal["passed", "failed", "inconclusive"]


@dataclass(frozen=True)
class Commitment:
    """Root of the salted list of what the request named (see ``commitments``).

    Attributes:
        root: Of the list's tree.
        size: How many members the list has.
    """

    root: Digest
    size: Count


@dataclass(frozen=True)
class Asked:
    """The request, without a word about whom it concerns.

    Attributes:
        id: Of the request.
        kind: What was asked for.
        regulation: What the requester relied on.
        received_at: When it came.
        completed_at: When its last step was done.
        counts: How many samples, unknown ids and the like.
        commitment: To the ids that it named.
    """

    id: Name
    kind: Literal["deletion", "correction"]
    regulation: Name
    received_at: Moment
    completed_at: Moment
    counts: Mapping[Name, Count]
    commitment: Commitment


@dataclass(frozen=True)
class Parent:
    """The version that had learned from the rows.

    Attributes:
        version_id: Of the version.
        sha256: Digest of its weights.
        withdrawal: Whether its bytes are destroyed.
        withdrawn_at: When they were.
    """

    version_id: Name
    sha256: Digest
    withdrawal: Literal["withdrawn", "pending", "none"]
    withdrawn_at: Moment | None = None


@dataclass(frozen=True)
class Result:
    """The version that was published instead.

    Attributes:
        version_id: Of the version.
        sha256: Digest of its weights.
    """

    version_id: Name
    sha256: Digest


@dataclass(frozen=True)
class Selection:
    """Which parameters the method was allowed to change.

    Attributes:
        rule: How they were selected.
        changed: How many have changed.
        total: How many the network has.
        layers: Names of the layers concerned.
    """

    rule: Name
    changed: Count
    total: Count
    layers: tuple[Name, ...] = ()


@dataclass(frozen=True)
class Inputs:
    """Digests of everything else that the run depended on.

    Attributes:
        code: Of the program.
        configuration: Of the policy and parameters in force.
        dataset_manifest: Of the list of files with the rows used.
    """

    code: Digest
    configuration: Digest
    dataset_manifest: Digest


@dataclass(frozen=True)
class Measurement:
    """One measured quantity.

    Attributes:
        name: Of the quantity.
        samples: On how many rows.
        before: Its value on the parent.
        after: Its value on the result.
        reference: Its value on a model retrained without the rows.
        interval: 95 % interval of ``after``: low and high.
        control: Which control was measured; None for the result itself.
    """

    name: Name
    samples: Count
    before: Decimal | None = None
    after: Decimal | None = None
    reference: Decimal | None = None
    interval: tuple[Decimal, ...] | None = None
    control: Name | None = None


@dataclass(frozen=True)
class Gate:
    """A limit that the result had to keep.

    Attributes:
        name: Of the gate.
        bound: On which side of the limit it passes; the limit itself passes.
        limit: From the policy.
        verdict: How it was judged.
        value: What was measured.
        interval: 95 % interval of the value: low and high.
    """

    name: Name
    bound: Literal["at_most", "at_least"]
    limit: Decimal
    verdict: Verdict
    value: Decimal | None = None
    interval: tuple[Decimal, ...] | None = None


@dataclass(frozen=True)
class Run:
    """The job that made the result.

    Attributes:
        job_id: Of the job.
        method: Its name.
        parameters: Of the method.
        seeds: Of every random generator, by name.
        inputs: What else it depended on.
        assurance: What kind of statement the result allows.
        verdict: Over all gates.
        measurements: All of them.
        gates: One for each limit of the policy.
        report_sha256: Digest of the full report.
        selection: What was allowed to change; None if everything was.
        guarantee: The proved bound, such as epsilon and delta; only with ``certified``.
    """

    job_id: Name
    method: Name
    parameters: Mapping[Name, object]
    seeds: Mapping[Name, Count]
    inputs: Inputs
    assurance: Assurance
    verdict: Verdict
    measurements: tuple[Measurement, ...]
    gates: tuple[Gate, ...]
    report_sha256: Digest
    selection: Selection | None = None
    guarantee: Mapping[Name, Decimal] | None = None


@dataclass(frozen=True)
class Target:
    """What became of one version that the request reached.

    Attributes:
        model_id: Whose version it is.
        parent: The version.
        result: What was published instead; None if nothing was.
        run: How it was made; None if nothing was.
        reason: Why nothing was.
    """

    model_id: Name
    parent: Parent
    result: Result | None = None
    run: Run | None = None
    reason: Literal["cancelled", "nothing_left", "withdrawn"] | None = None


@dataclass(frozen=True)
class Rows:
    """What happened to the rows themselves.

    Attributes:
        action: Their bytes were erased, or their old values overwritten.
        rows: How many.
        revisions: In how many revisions of the data set.
        done_at: When.
    """

    action: Literal["erased", "overwritten"]
    rows: Count
    revisions: Count
    done_at: Moment


@dataclass(frozen=True)
class Cited:
    """An entry of the log that the certificate is built from.

    Attributes:
        index: Place in the log.
        type: Of the entry.
        leaf_hash: Of the entry.
    """

    index: Count
    type: Name
    leaf_hash: Digest


@dataclass(frozen=True)
class Log:
    """Where all this is written down.

    Attributes:
        origin: Of the log.
        entries: What the certificate is built from, by rising index.
    """

    origin: Text
    entries: tuple[Cited, ...]


@dataclass(frozen=True)
class Follows:
    """The certificate that this one comes after.

    Attributes:
        certificate_sha256: Digest of its statement.
        reason: Why it is taken back; only in a revocation.
    """

    certificate_sha256: Digest
    reason: Name | None = None


@dataclass(frozen=True)
class Certificate:
    """The predicate.

    Attributes:
        kind: The first certificate of a request, the news that everything is destroyed, or
            the news that an earlier certificate is taken back.
        issued_at: When it was made.
        request: What was asked.
        targets: What was done to each version.
        log: Where that is written down.
        limits: What the certificate does not say.
        rows: What happened to the rows; None if the request reached none.
        follows: Which certificate it comes after; None for the first of a request.
    """

    kind: Literal["completed", "withdrawal_completed", "revoked"]
    issued_at: Moment
    request: Asked
    targets: tuple[Target, ...]
    log: Log
    limits: tuple[Text, ...]
    rows: Rows | None = None
    follows: Follows | None = None

    @classmethod
    def parse(cls, data: bytes) -> Certificate:
        """Read a certificate from the bytes of its statement.

        The subject has to be what the predicate says was published.

        Raises:
            MalformedStatement: Not a statement of ours, or its subject is another.
        """
        statement = Statement.parse(data)
        if statement.predicate_type != PREDICATE_TYPE:
            raise MalformedStatement("the statement is not a certificate of ours")
        try:
            certificate = read_record(cls, statement.predicate, "/predicate")
        except MalformedRecord as error:
            raise MalformedStatement(f"the certificate: {error}") from error
        if statement.subject != certificate.subject():
            raise MalformedStatement("the subject is not what the certificate says was published")
        return certificate

    def subject(self) -> tuple[Subject, ...]:
        """Return the published files; where nothing was published, what the request named."""
        results = {target.result for target in self.targets if target.result is not None}
        if not results:
            named = Sha256(self.request.commitment.root)
            return (Subject(f"commitment/{self.request.id}", named),)
        return tuple(
            Subject(f"{result.version_id}/weights", Sha256(result.sha256))
            for result in sorted(results, key=lambda result: result.version_id)
        )

    def statement(self) -> Statement:
        """Return the statement to be signed."""
        return Statement(self.subject(), PREDICATE_TYPE, write_record(self))


def limits_for(targets: tuple[Target, ...]) -> tuple[str, ...]:
    """Return the sentences that a certificate about these targets repeats."""
    return limits_of(target.run.assurance for target in targets if target.run is not None)
