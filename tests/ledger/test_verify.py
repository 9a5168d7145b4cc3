"""Right evidence is accepted; every forgery is refused, each by its own name."""

import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest

from app.ledger import errors
from app.ledger.__main__ import main
from app.ledger.certificates import Certificate, Gate, Parent
from app.ledger.checkpoints import Checkpoint
from app.ledger.encoding import decode, encode
from app.ledger.entries import CERTIFICATE_ISSUED
from app.ledger.envelopes import Envelope
from app.ledger.evidence import pack, read_evidence, unpack
from app.ledger.notes import Note
from app.ledger.proofs import LogProof
from app.ledger.statements import PAYLOAD_TYPE
from app.ledger.tree_hash import hash_leaf
from app.ledger.trust import Expectations, TrustedKey
from app.ledger.verify import Outcome, examine, verify_evidence
from tests.ledger.case import (
    ISSUER,
    LOG,
    MODEL,
    ORIGIN,
    REPORT,
    START,
    STRANGER,
    WITNESSES,
    BuiltLog,
    at,
    certificate,
    digest,
    entry,
    facts,
    filled,
    good_case,
    issue,
    pack_files,
    run,
    trusting,
    with_followup,
)

CASE = good_case()
FILES = dict(CASE.files)
ROOT = Path(__file__).parents[2]


def refused(
    error: type[errors.LedgerError], files: dict[str, bytes], expected: Expectations
) -> None:
    """Assert that exactly this error is raised, not one derived from it."""
    with pytest.raises(error) as caught:
        verify_evidence(files, expected)
    assert caught.type is error


def changed(name: str, change: Callable[[bytes], bytes]) -> dict[str, bytes]:
    return {**FILES, name: change(FILES[name])}


def evidence_of(made: Certificate, log: BuiltLog, cited: list) -> dict[str, bytes]:
    return pack_files(log, [issue(log, made)], cited)


def certified(**changes: object) -> dict[str, bytes]:
    """Evidence in which everything is signed and logged rightly, and the certificate is odd."""
    log = BuiltLog()
    cited = facts(log)
    return evidence_of(certificate(cited, 8, **changes), log, cited)


# ---------------------------------------------------------------- what is accepted


def test_good_evidence_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(MODEL)
    expected = replace(trusting(), request_id="req_a", models=(tmp_path / "model",))

    verify_evidence(FILES, expected)


def test_one_key_may_sign_both_checkpoints_and_certificates() -> None:
    log = BuiltLog()
    cited = facts(log)
    files = pack_files(log, [issue(log, certificate(cited, 8), LOG)], cited)

    verify_evidence(files, trusting(LOG))


@pytest.mark.parametrize("size", [3, 8, 13])
def test_a_checkpoint_kept_from_before_is_continued(size: int) -> None:
    verify_evidence(FILES, replace(trusting(), pinned=bytes(CASE.log.note(size))))


def test_every_log_continues_the_empty_one() -> None:
    verify_evidence(FILES, replace(trusting(), pinned=bytes(CASE.log.note(0))))


def test_evidence_older_than_the_pin_is_accepted_with_a_proof() -> None:
    log = good_case().log
    filled(log, 9)
    expected = replace(trusting(), pinned=bytes(log.note()), consistency=log.consistency(13, 22))

    verify_evidence(FILES, expected)


def test_a_quorum_of_witnesses_is_accepted() -> None:
    files = cosigned(0, 2)
    expected = replace(trusting(), witnesses=tuple(w.key for w in WITNESSES), quorum=2)

    verify_evidence(files, expected)


def cosigned(*numbers: int, minutes: int = 30) -> dict[str, bytes]:
    note = CASE.log.note()
    checkpoint = Checkpoint.parse(note.text)
    lines = tuple(
        WITNESSES[number].cosign(checkpoint, START + timedelta(minutes=minutes))
        for number in numbers
    )
    cosigned_note = bytes(Note(note.text, (*note.signatures, *lines)))
    files = {}
    for name, content in FILES.items():
        files[name] = content.replace(bytes(note), cosigned_note)
    return files


def test_the_news_that_everything_is_destroyed_is_accepted() -> None:
    verify_evidence(with_followup(good_case(), "withdrawal_completed"), trusting())


def test_a_request_without_targets_is_certified_by_its_commitment() -> None:
    log = BuiltLog()
    cited = facts(log)
    made = certificate(cited, 8)
    made = replace(made, targets=(), limits=made.limits[-1:])
    files = evidence_of(made, log, cited)
    del files["reports/job_1.json"]

    verify_evidence(files, trusting())


def test_an_inconclusive_gate_is_certified_as_one() -> None:
    gate = Gate("holdout_accuracy_drop", "at_most", "0.02", "inconclusive", "0.01", ("0", "0.03"))
    target = certificate([], 8).targets[0]
    files = certified(targets=(replace(target, run=run(gates=(gate,), verdict="inconclusive")),))

    verify_evidence(files, trusting())


def test_archive_and_folder_give_the_same_answer_within_a_second(tmp_path: Path) -> None:
    archive = tmp_path / "evidence.zip"
    archive.write_bytes(pack(FILES))
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(archive).extractall(folder)

    began = time.perf_counter()
    finding = examine(archive, trusting())
    seconds = time.perf_counter() - began

    assert finding == examine(folder, trusting())
    assert finding.outcome is Outcome.OK
    assert seconds < 1


# ---------------------------------------------------------------- forgeries


def test_any_changed_byte_of_the_archive_is_refused() -> None:
    data = pack(FILES)
    for place in range(0, len(data), 13):
        broken = bytearray(data)
        broken[place] ^= 1 << place % 8
        with pytest.raises(errors.MalformedEvidence):
            unpack(bytes(broken))


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"README.txt", "keys.json"}))
def test_any_changed_byte_of_a_file_is_refused(name: str) -> None:
    expected = (
        replace(trusting(), pinned=bytes(CASE.log.note(int(name[12:-5]))))
        if (name.startswith("consistency/"))
        else trusting()
    )
    for place in range(0, len(FILES[name]), 11):
        broken = bytearray(FILES[name])
        broken[place] ^= 1
        with pytest.raises(errors.LedgerError):
            verify_evidence({**FILES, name: bytes(broken)}, expected)


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"README.txt", "keys.json"}))
def test_a_dropped_file_is_missed(name: str) -> None:
    files = dict(FILES)
    del files[name]
    if name.startswith("consistency/"):
        pin = bytes(CASE.log.note(int(name[12:-5])))
        refused(errors.BadConsistency, files, replace(trusting(), pinned=pin))
    else:
        refused(errors.MalformedEvidence, files, trusting())


def test_a_changed_field_breaks_the_signature() -> None:
    envelope = Envelope.parse(FILES["certificate.dsse.json"])
    forged = replace(envelope, payload=envelope.payload.replace(b'"samples":2', b'"samples":3'))
    assert forged != envelope

    refused(errors.BadSignature, {**FILES, "certificate.dsse.json": bytes(forged)}, trusting())


def test_a_field_changed_and_signed_anew_is_not_what_was_logged() -> None:
    made = certificate(CASE.cited, 7, rows=None)
    envelope = bytes(ISSUER.sign_envelope(PAYLOAD_TYPE, bytes(made.statement())))

    refused(errors.OtherCertificate, {**FILES, "certificate.dsse.json": envelope}, trusting())


def test_a_certificate_without_a_field_is_none() -> None:
    document = decode(Envelope.parse(FILES["certificate.dsse.json"]).payload)
    assert isinstance(document, dict)
    predicate = document["predicate"]
    assert isinstance(predicate, dict)
    del predicate["limits"]
    envelope = bytes(ISSUER.sign_envelope(PAYLOAD_TYPE, encode(document)))

    refused(errors.MalformedStatement, {**FILES, "certificate.dsse.json": envelope}, trusting())


def test_a_certificate_with_a_field_more_is_none() -> None:
    document = decode(Envelope.parse(FILES["certificate.dsse.json"]).payload)
    assert isinstance(document, dict)
    assert isinstance(document["predicate"], dict)
    document["predicate"]["verdict"] = "erased as the law requires"
    envelope = bytes(ISSUER.sign_envelope(PAYLOAD_TYPE, encode(document)))

    refused(errors.MalformedStatement, {**FILES, "certificate.dsse.json": envelope}, trusting())


def test_another_kind_of_payload_is_refused() -> None:
    payload = Envelope.parse(FILES["certificate.dsse.json"]).payload
    envelope = bytes(ISSUER.sign_envelope("application/json", payload))

    refused(errors.MalformedStatement, {**FILES, "certificate.dsse.json": envelope}, trusting())


def test_a_changed_leaf_is_not_in_the_tree() -> None:
    files = changed("certificate.leaf.json", lambda leaf: leaf.replace(b"ten_x", b"ten_y"))

    refused(errors.BadInclusion, files, trusting())


def test_two_swapped_entries_are_refused() -> None:
    files = dict(FILES)
    files["entries/4.json"], files["entries/5.json"] = (
        FILES["entries/5.json"],
        FILES["entries/4.json"],
    )

    refused(errors.BadInclusion, files, trusting())


def test_two_entries_swapped_with_their_proofs_are_refused() -> None:
    files = dict(FILES)
    for kind in ("json", "tlog-proof"):
        files[f"entries/4.{kind}"] = FILES[f"entries/5.{kind}"]
        files[f"entries/5.{kind}"] = FILES[f"entries/4.{kind}"]

    refused(errors.UnloggedFact, files, trusting())


def test_a_truncated_proof_is_refused() -> None:
    proof = LogProof.parse(FILES["certificate.tlog-proof"])
    short = bytes(replace(proof, hashes=proof.hashes[:-1]))

    refused(errors.BadInclusion, {**FILES, "certificate.tlog-proof": short}, trusting())


def test_a_proof_with_a_hash_more_is_refused() -> None:
    proof = LogProof.parse(FILES["certificate.tlog-proof"])
    long = bytes(replace(proof, hashes=(*proof.hashes, bytes(32))))

    refused(errors.BadInclusion, {**FILES, "certificate.tlog-proof": long}, trusting())


def test_garbage_after_a_proof_is_refused() -> None:
    files = changed("certificate.tlog-proof", lambda proof: proof + b"garbage\n")

    refused(errors.OtherLog, files, trusting())


@pytest.mark.parametrize("extra", [b"x", b"\n", b"\n\n", b"PK"])
def test_garbage_around_an_archive_is_refused(extra: bytes) -> None:
    for data in (pack(FILES) + extra, extra + pack(FILES)):
        with pytest.raises(errors.MalformedEvidence):
            unpack(data)


def test_the_certificate_of_another_request_does_not_stand_in() -> None:
    log, cited = CASE.log, CASE.cited
    request = replace(certificate(cited, 7).request, id="req_b")
    log_of_b = BuiltLog()
    filled(log_of_b, 4)
    cited_of_b = facts(log_of_b)
    envelope, _ = issue(log_of_b, certificate(cited_of_b, 7, request=request))
    assert log.leaves[4:7] == log_of_b.leaves[4:7]

    # With the leaf of the first request, with its own, and whole where the first is expected.
    refused(errors.OtherCertificate, {**FILES, "certificate.dsse.json": envelope}, trusting())
    leaf = log_of_b.leaves[7]
    refused(
        errors.BadInclusion,
        {**FILES, "certificate.dsse.json": envelope, "certificate.leaf.json": leaf},
        trusting(),
    )
    whole = pack_files(log_of_b, [(envelope, 7)], cited_of_b)
    verify_evidence(whole, trusting())
    refused(errors.OtherRequest, whole, replace(trusting(), request_id="req_a"))


def test_an_entry_that_logs_it_for_another_request_does_not_count() -> None:
    log = BuiltLog()
    cited = facts(log)
    envelope, _ = issue(log, certificate(cited, 8))
    payload = Envelope.parse(envelope).payload
    index = log.append(
        entry(9, CERTIFICATE_ISSUED, "req_z", certificate_sha256=digest(payload.decode()))
    ).index

    refused(errors.OtherCertificate, pack_files(log, [(envelope, index)], cited), trusting())


def test_an_entry_of_another_type_does_not_log_a_certificate() -> None:
    log = BuiltLog()
    cited = facts(log)
    envelope, _ = issue(log, certificate(cited, 8))
    payload = Envelope.parse(envelope).payload
    index = log.append(
        entry(9, "certificate.drafted", certificate_sha256=digest(payload.decode()))
    ).index

    refused(errors.OtherCertificate, pack_files(log, [(envelope, index)], cited), trusting())


def test_a_digest_that_no_entry_states_is_refused() -> None:
    target = certificate([], 8).targets[0]
    parent = Parent("mv_a", digest("never logged"), "withdrawn", at(5))

    refused(errors.UnloggedFact, certified(targets=(replace(target, parent=parent),)), trusting())


def test_an_entry_logged_after_the_certificate_is_no_source_of_it() -> None:
    log = BuiltLog()
    cited = facts(log)
    envelope, index = issue(log, certificate(cited, 8))
    later = log.append(log_entry := entry(9, "version.withdrawn", sha256=digest("old weights")))
    assert log_entry.leaf_hash().hex() == later.leaf_hash
    made = certificate([*cited, later], 8)
    payload = bytes(made.statement())
    log.leaves[index] = bytes(
        entry(index, CERTIFICATE_ISSUED, certificate_sha256=digest(payload.decode()))
    )
    log.tree = type(log.tree)(hash_leaf(leaf) for leaf in log.leaves)
    envelope = bytes(ISSUER.sign_envelope(PAYLOAD_TYPE, payload))

    refused(errors.UnloggedFact, pack_files(log, [(envelope, index)], [*cited, later]), trusting())


def test_an_entry_of_another_tenant_is_no_source_of_a_certificate() -> None:
    log = BuiltLog()
    cited = facts(log)
    foreign = log.append(replace(entry(7, "version.live"), tenant="ten_y"))
    files = evidence_of(certificate([*cited, foreign], 8), log, [*cited, foreign])

    refused(errors.UnloggedFact, files, trusting())


def test_another_report_is_refused() -> None:
    files = changed("reports/job_1.json", lambda report: report + b" ")

    refused(errors.OtherFile, files, trusting())


def test_one_changed_byte_of_the_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(MODEL[:-1] + b"S")
    refused(errors.OtherFile, FILES, replace(trusting(), models=(path,)))

    refused(errors.MalformedEvidence, FILES, replace(trusting(), models=(tmp_path / "absent",)))


def test_a_file_that_nothing_refers_to_is_refused() -> None:
    files = {**FILES, "reports/job_2.json": REPORT}

    refused(errors.MalformedEvidence, files, trusting())


# ---------------------------------------------------------------- the log


def forked(count: int = 13) -> BuiltLog:
    """The same log, signed by the same key, with another past."""
    log = BuiltLog()
    for number, leaf in enumerate(CASE.log.leaves[:count]):
        log.leaves.append(leaf if number != 2 else bytes(entry(2, "version.forged")))
    while len(log.leaves) < count:
        log.leaves.append(bytes(entry(len(log.leaves), "version.registered")))
    log.tree.extend(hash_leaf(leaf) for leaf in log.leaves)
    return log


def test_a_fork_is_recognised_at_the_same_size() -> None:
    refused(errors.Fork, FILES, replace(trusting(), pinned=bytes(forked().note())))


def test_a_fork_is_recognised_at_another_size() -> None:
    pinned = bytes(forked(8).note())

    refused(errors.BadConsistency, FILES, replace(trusting(), pinned=pinned))


def test_a_log_restored_from_a_backup_is_recognised() -> None:
    yesterday = pack_files(
        CASE.log, [(FILES["certificate.dsse.json"], 7)], CASE.cited, note=CASE.log.note(9)
    )
    refused(errors.OlderThanPin, yesterday, replace(trusting(), pinned=bytes(CASE.log.note())))

    regrown = good_case().log
    del regrown.leaves[9:]
    regrown.tree = type(regrown.tree)(hash_leaf(leaf) for leaf in regrown.leaves)
    for number in range(9, 15):
        regrown.append(entry(number, "version.other"))
    today = pack_files(regrown, [(FILES["certificate.dsse.json"], 7)], CASE.cited, pins=(13,))
    refused(errors.BadConsistency, today, replace(trusting(), pinned=bytes(CASE.log.note())))


def test_a_pin_without_a_proof_is_not_taken_on_trust() -> None:
    refused(errors.BadConsistency, FILES, replace(trusting(), pinned=bytes(CASE.log.note(5))))


def test_a_proof_between_other_sizes_is_refused() -> None:
    expected = replace(
        trusting(), pinned=bytes(CASE.log.note(5)), consistency=CASE.log.consistency(4, 13)
    )

    refused(errors.BadConsistency, FILES, expected)


@pytest.mark.parametrize(
    "proof", [b"", b"[]", b'{"from":5,"to":13}', b'{"from":5,"to":13,"hashes":["00"]}',
              b'{"from":5,"to":13,"hashes":["zz"]}', b'{"from":5,"to":13,"hashes":[1]}'],
)  # fmt: skip
def test_what_is_no_proof_of_consistency_is_refused(proof: bytes) -> None:
    expected = replace(trusting(), pinned=bytes(CASE.log.note(5)), consistency=proof)

    with pytest.raises(errors.Malformed):
        verify_evidence(FILES, expected)


def test_a_pin_of_another_log_is_refused() -> None:
    other = replace(LOG, name="other.example").sign_checkpoint(
        Checkpoint("other.example", 3, bytes(32))
    )

    refused(errors.OtherLog, FILES, replace(trusting(), pinned=bytes(other)))


def test_a_pin_that_the_log_never_signed_is_refused() -> None:
    pinned = bytes(CASE.log.note(3, STRANGER))

    refused(errors.UnknownKey, FILES, replace(trusting(), pinned=pinned))


def test_a_certificate_that_names_another_log_is_refused() -> None:
    log = BuiltLog()
    cited = facts(log)
    made = certificate(cited, 8)
    other = replace(made, log=replace(made.log, origin="other.example"))

    refused(errors.OtherLog, evidence_of(other, log, cited), trusting())


# ---------------------------------------------------------------- keys


def test_without_a_trusted_key_nothing_is_believed() -> None:
    refused(errors.UnknownKey, FILES, Expectations(keys=()))
    refused(errors.UnknownKey, FILES, trusting(ISSUER))
    refused(errors.UnknownKey, FILES, trusting(LOG))
    refused(errors.UnknownKey, FILES, trusting(STRANGER, ISSUER))


def test_keys_in_the_evidence_are_not_trusted() -> None:
    log = BuiltLog()
    cited = facts(log)
    files = pack_files(
        log, [issue(log, certificate(cited, 8), STRANGER)], cited, note=log.note(signer=STRANGER)
    )
    files["keys.json"] = encode({"items": [{"vkey": str(STRANGER.key)}]})

    refused(errors.UnknownKey, files, trusting())


def test_a_checkpoint_of_a_strange_key_is_refused() -> None:
    note = CASE.log.note(signer=STRANGER)
    files = pack_files(CASE.log, [(FILES["certificate.dsse.json"], 7)], CASE.cited, note=note)

    refused(errors.UnknownKey, files, trusting())


def test_the_issuers_key_does_not_sign_for_the_log() -> None:
    note = CASE.log.note(signer=ISSUER)
    files = pack_files(CASE.log, [(FILES["certificate.dsse.json"], 7)], CASE.cited, note=note)

    refused(errors.UnknownKey, files, trusting())


def test_a_witness_does_not_sign_certificates() -> None:
    log = BuiltLog()
    cited = facts(log)
    witness = WITNESSES[0]
    signer = replace(ISSUER, name=witness.name, private=witness.private)
    files = pack_files(log, [issue(log, certificate(cited, 8), signer)], cited)
    keys = (TrustedKey(LOG.key), TrustedKey(witness.key))

    refused(errors.UnknownKey, files, Expectations(keys=keys))


@pytest.mark.parametrize(
    ("log_key", "issuer_key"),
    [
        ({}, {"valid_until": START + timedelta(minutes=7)}),
        ({}, {"valid_from": START + timedelta(minutes=8)}),
        ({"valid_until": START + timedelta(minutes=7)}, {}),
    ],
    ids=["retired issuer", "future issuer", "retired log"],
)
def test_a_key_counts_only_in_its_time(log_key: dict, issuer_key: dict) -> None:
    keys = (TrustedKey(LOG.key, **log_key), TrustedKey(ISSUER.key, **issuer_key))

    refused(errors.RetiredKey, FILES, Expectations(keys=keys))


def test_keys_are_valid_up_to_their_end() -> None:
    window = {"valid_from": START, "valid_until": START + timedelta(minutes=7, seconds=1)}
    keys = (TrustedKey(LOG.key, **window), TrustedKey(ISSUER.key, **window))

    verify_evidence(FILES, Expectations(keys=keys))


def test_a_missed_quorum_is_refused() -> None:
    expected = replace(trusting(), witnesses=tuple(w.key for w in WITNESSES), quorum=2)

    refused(errors.QuorumMissed, FILES, expected)
    refused(errors.QuorumMissed, cosigned(1), expected)


def test_a_wrong_cosignature_is_refused_even_if_the_quorum_is_met() -> None:
    files = cosigned(0, 1)
    later = cosigned(0, 1, minutes=31)
    note, other = Note.parse(files["checkpoint.txt"]), Note.parse(later["checkpoint.txt"])
    first, second = note.signatures[1], other.signatures[1]
    mixed = replace(first, blob=second.blob[:8] + first.blob[8:])
    broken = bytes(replace(note, signatures=(note.signatures[0], mixed, note.signatures[2])))
    files = {name: data.replace(bytes(note), broken) for name, data in files.items()}
    expected = replace(trusting(), witnesses=tuple(w.key for w in WITNESSES), quorum=1)

    refused(errors.BadSignature, files, expected)


# ---------------------------------------------------------------- time and later certificates


def test_old_evidence_is_refused_where_recent_is_wanted() -> None:
    witnesses = tuple(w.key for w in WITNESSES)
    wanted = replace(trusting(), not_before=START + timedelta(minutes=20))

    refused(errors.TooOld, FILES, wanted)
    refused(errors.TooOld, cosigned(0, minutes=19), replace(wanted, witnesses=witnesses))
    verify_evidence(cosigned(0, minutes=21), replace(wanted, witnesses=witnesses))


def test_a_revoked_certificate_is_refused() -> None:
    files = with_followup(good_case(), "revoked", "wrong_rows")

    refused(errors.Revoked, files, trusting())


def test_a_later_certificate_must_follow_the_first() -> None:
    case = good_case()
    files = with_followup(case, "revoked", "wrong_rows")
    log = BuiltLog()
    cited = facts(log)
    first = issue(log, certificate(cited, 8))
    stranger = Envelope.parse(files["followups/1/certificate.dsse.json"]).payload
    made = replace(Certificate.parse(stranger), log=certificate(cited, 8).log)
    second = issue(log, made)

    refused(errors.OtherCertificate, pack_files(log, [first, second], cited), trusting())


# ---------------------------------------------------------------- contradictions


TARGET = certificate([], 8).targets[0]
PASSED = Gate("g", "at_most", "0.02", "passed", "0.03")
CONTRADICTIONS: dict[str, dict[str, object]] = {
    "issued before the end": {"issued_at": at(5)},
    "rows erased after issue": {"rows": replace(certificate([], 8).rows, done_at=at(99))},  # type: ignore[type-var]
    "follows without reason to": {"kind": "withdrawal_completed"},
    "limits left out": {"limits": ("All is well.",)},
    "withdrawn without time": {
        "targets": (replace(TARGET, parent=replace(TARGET.parent, withdrawn_at=None)),)
    },
    "result without run": {"targets": (replace(TARGET, run=None),)},
    "result and reason": {"targets": (replace(TARGET, reason="cancelled"),)},
    "version twice": {"targets": (TARGET, TARGET)},
    "gate beyond its limit": {"targets": (replace(TARGET, run=run(gates=(PASSED,))),)},
    "gate not measured": {
        "targets": (replace(TARGET, run=run(gates=(replace(PASSED, value=None),))),)
    },
    "gate failed": {
        "targets": (replace(TARGET, run=run(gates=(replace(PASSED, verdict="failed"),))),)
    },
    "verdict failed": {"targets": (replace(TARGET, run=run(verdict="failed")),)},
    "verdict not that of the gates": {
        "targets": (replace(TARGET, run=run(verdict="inconclusive")),)
    },
    "gate not conclusive": {
        "targets": (
            replace(
                TARGET,
                run=run(gates=(replace(PASSED, value="0.01", interval=("0", "0.03")),)),
            ),
        )
    },
    "interval turned round": {
        "targets": (
            replace(TARGET, run=run(gates=(replace(PASSED, value="0", interval=("1", "-1")),))),
        )
    },
    "bound without assurance": {"targets": (replace(TARGET, run=run(guarantee={"epsilon": "1"})),)},
    "more changed than there is": {
        "targets": (
            replace(
                TARGET,
                run=run(selection=replace(run().selection, changed=99999)),  # type: ignore[type-var]
            ),
        )
    },
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_signed_and_logged_contradiction_is_refused(name: str) -> None:
    refused(errors.Contradiction, certified(**CONTRADICTIONS[name]), trusting())


def test_entries_are_cited_in_the_order_of_the_log() -> None:
    log = BuiltLog()
    cited = facts(log)

    refused(errors.Contradiction, evidence_of(certificate(cited[::-1], 8), log, cited), trusting())


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--key", str(LOG.key), "--key", str(ISSUER.key)], 0),
        (["--key", str(LOG.key), "--key", str(ISSUER.key), "--request", "req_b"], 1),
        (["--key", "nonsense"], 2),
        (["--keys", "absent.json"], 2),
        (["--key", str(LOG.key)], 3),
        (["--key", str(LOG.key), "--key", str(ISSUER.key), "--not-before", "2027-01-01"], 4),
    ],
)
def test_the_command_says_one_sentence_and_how_it_ended(
    options: list[str], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evidence.zip"
    path.write_bytes(pack(FILES))

    assert main([str(path), *options]) == status
    printed = capsys.readouterr().out
    assert printed.startswith(f"{Outcome(status).name.lower()}: ")
    assert printed.count("\n") == 1
    assert printed.endswith(".\n")


def test_the_command_takes_keys_pin_and_model_from_files(tmp_path: Path) -> None:
    (tmp_path / "evidence.zip").write_bytes(pack(FILES))
    (tmp_path / "pin").write_bytes(bytes(CASE.log.note(5)))
    (tmp_path / "proof").write_bytes(CASE.log.consistency(5, 13))
    (tmp_path / "model").write_bytes(MODEL)
    items = [
        {"vkey": str(key), "valid_from": at(0), "valid_until": None}
        for key in (LOG.key, ISSUER.key)
    ]
    (tmp_path / "keys.json").write_text(json.dumps({"items": items}))

    finished = subprocess.run(
        [sys.executable, "-W", "error", "-m", "app.ledger", tmp_path / "evidence.zip",
         "--keys", tmp_path / "keys.json", "--checkpoint", tmp_path / "pin",
         "--consistency", tmp_path / "proof", "--model", tmp_path / "model"],
        check=False, capture_output=True, text=True, timeout=60, cwd=ROOT,
    )  # fmt: skip

    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == (
        "ok: The certificate of request req_a is signed,"
        f" and logged among the 13 entries of {ORIGIN}.\n"
    )


def test_evidence_that_is_not_there_is_malformed(tmp_path: Path) -> None:
    assert examine(tmp_path / "absent.zip", trusting()).outcome is Outcome.MALFORMED


# ---------------------------------------------------------------- the archive


def test_the_same_files_make_the_same_archive() -> None:
    assert pack(FILES) == pack(dict(reversed(FILES.items())))
    assert unpack(pack(FILES)) == FILES


def test_a_compressed_or_padded_archive_is_refused() -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    with pytest.raises(errors.MalformedEvidence):
        unpack(buffer.getvalue())

    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("README.txt", b"")
        archive.comment = b"hidden"
    with pytest.raises(errors.MalformedEvidence):
        unpack(buffer.getvalue())


def test_an_archive_that_claims_to_be_huge_is_refused_unread() -> None:
    data = pack({"README.txt": b"a"})
    size = (1).to_bytes(4, "little")
    huge = data.replace(size + size, b"\xff\xff\xff\x7f" * 2)
    assert huge != data

    with pytest.raises(errors.MalformedEvidence):
        unpack(huge)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../keys.json", "entries/x.json", "model.bin", "entries/1.json\n", ""]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(errors.MalformedEvidence):
        pack({name: b""})


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "README.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.MalformedEvidence):
        read_evidence(tmp_path)
