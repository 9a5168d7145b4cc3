"""Does a certificate contradict itself? Checked by who issues it and by who verifies it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise

from app.ledger.certificates import Certificate, Gate, Run, Target, limits_for
from app.ledger.errors import Contradiction
from app.ledger.records import moment


def verify_soundness(certificate: Certificate) -> None:
    """Check what can be seen without the log: times, verdicts, intervals, kinds.

    A result that failed a gate is not published, so a certificate of one is a contradiction;
    every gate is judged again from its value, interval and limit.

    Raises:
        Contradiction: Two statements of the certificate cannot both be true.
    """
    for problem in (*_of_times(certificate), *_of_kind(certificate), *_of_targets(certificate)):
        raise Contradiction(problem)


def _of_times(certificate: Certificate) -> Iterator[str]:
    request, rows = certificate.request, certificate.rows
    times = [request.received_at, request.completed_at, certificate.issued_at]
    if any(earlier > later for earlier, later in pairwise(map(moment, times))):
        yield "it was issued before the request was completed, or that before it came"
    done = [target.parent.withdrawn_at for target in certificate.targets]
    done += [rows.done_at] if rows is not None else []
    if any(moment(at) > moment(certificate.issued_at) for at in done if at is not None):
        yield "it was issued before something it reports"


def _of_kind(certificate: Certificate) -> Iterator[str]:
    follows = certificate.follows
    if (certificate.kind == "completed") != (follows is None):
        yield "a first certificate follows none, and every other follows one"
    if follows is not None and (certificate.kind == "revoked") != (follows.reason is not None):
        yield "a revocation has a reason, and nothing else has one"
    pending = any(target.parent.withdrawal == "pending" for target in certificate.targets)
    if certificate.kind == "withdrawal_completed" and pending:
        yield "everything is said to be destroyed while something waits for it"
    if not set(limits_for(certificate.targets)) <= set(certificate.limits):
        yield "it leaves out what it does not say"
    cited = [entry.index for entry in certificate.log.entries]
    if not cited or any(earlier >= later for earlier, later in pairwise(cited)):
        yield "it cites no entries, or not in the order of the log"


def _of_targets(certificate: Certificate) -> Iterator[str]:
    versions = [target.parent.version_id for target in certificate.targets]
    if len(set(versions)) != len(versions):
        yield "it speaks twice of one version"
    for target in certificate.targets:
        yield from _of_target(target)


def _of_target(target: Target) -> Iterator[str]:
    parent = target.parent
    if (parent.withdrawal == "withdrawn") != (parent.withdrawn_at is not None):
        yield "a version is withdrawn without a time, or has a time and is not"
    if len({target.result is None, target.run is None, target.reason is not None}) != 1:
        yield "a result has a run, and where there is none there is a reason"
    if target.run is not None:
        yield from _of_run(target.run)


def _of_run(run: Run) -> Iterator[str]:
    verdicts = {gate.verdict for gate in run.gates}
    if "failed" in {run.verdict, *verdicts}:
        yield "a result was published although a gate failed"
    if (run.verdict == "inconclusive") != ("inconclusive" in verdicts):
        yield "the verdict is not the worst of the gates'"
    if (run.assurance == "certified") != (run.guarantee is not None):
        yield "a bound comes with the assurance certified, and with no other"
    if run.selection is not None and run.selection.changed > run.selection.total:
        yield "more parameters have changed than there are"
    intervals = [item.interval for item in run.measurements]
    intervals += [gate.interval for gate in run.gates]
    if not all(interval is None or _is_interval(interval) for interval in intervals):
        yield "an interval does not have two ends in order"
    elif any(gate.verdict != _judged(gate) for gate in run.gates):
        yield "a gate's verdict does not follow from its value and limit"


def _is_interval(ends: Sequence[str]) -> bool:
    return len(ends) == 2 and Decimal(ends[0]) <= Decimal(ends[1])


def _judged(gate: Gate) -> str:
    """Judge as the service does: a limit inside the interval leaves the verdict open."""
    if gate.value is None:
        return "failed"
    limit, value = _mirrored(gate, gate.limit), _mirrored(gate, gate.value)
    if gate.interval is not None:
        low, high = sorted(_mirrored(gate, end) for end in gate.interval)
        if low <= limit < high:
            return "inconclusive"
    return "passed" if value <= limit else "failed"


def _mirrored(gate: Gate, text: str) -> Decimal:
    """Return a number such that the gate's limit is an upper one."""
    number = Decimal(text)
    return number if gate.bound == "at_most" else number.copy_negate()
