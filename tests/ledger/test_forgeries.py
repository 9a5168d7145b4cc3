"""Every forgery of the evidence is refused, each by its own name."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.ledger.certificates import Parent, limits_for
from app.ledger.encoding import decode, encode
from app.ledger.entries import CERTIFICATE_ISSUED
from app.ledger.envelopes import Envelope
from app.ledger.merkle import MemoryTree
from app.ledger.proofs import LogProof
from app.ledger.statements import PAYLOAD_TYPE
from app.ledger.tree_hash import hash_leaf
from app.ledger.verify import Refused, pack, unpack, verify_evidence
from tests.ledger.case import (
    ISSUER,
    MODEL,
    REPORT,
    BuiltLog,
    at,
    certificate,
    digest,
    entry,
    facts,
    filled,
    issue,
    pack_files,
    trusting,
)
from tests.ledger.forging import CASE, FILES, certified, changed, evidence_of, refused


def test_any_changed_byte_of_the_archive_is_refused() -> None:
    data = pack(FILES)
    for place in range(0, len(data), 13):
        broken = bytearray(data)
        broken[place] ^= 1 << place % 8
        with pytest.raises(Refused, match="MalformedEvidence"):
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
        with pytest.raises(Refused):
            verify_evidence({**FILES, name: bytes(broken)}, expected)


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"README.txt", "keys.json"}))
def test_a_dropped_file_is_missed(name: str) -> None:
    files = dict(FILES)
    del files[name]
    if name.startswith("consistency/"):
        pin = bytes(CASE.log.note(int(name[12:-5])))
        refused("BadConsistency", files, replace(trusting(), pinned=pin))
    else:
        refused("MalformedEvidence", files, trusting())


def test_a_changed_field_breaks_the_signature() -> None:
    envelope = Envelope.parse(FILES["certificate.dsse.json"])
    forged = replace(envelope, payload=envelope.payload.replace(b'"samples":2', b'"samples":3'))
    assert forged != envelope

    refused("BadSignature", {**FILES, "certificate.dsse.json": bytes(forged)}, trusting())


def test_a_field_changed_and_signed_anew_is_not_what_was_logged() -> None:
    made = certificate(CASE.cited, 7, rows=None)
    envelope = bytes(ISSUER.sign_envelope(PAYLOAD_TYPE, bytes(made.statement())))

    refused("OtherCertificate", {**FILES, "certificate.dsse.json": envelope}, trusting())


def test_a_certificate_without_a_field_is_none() -> None:
    document = decode(Envelope.parse(FILES["certificate.dsse.json"]).payload)
    assert isinstance(document, dict)
    predicate = document["predicate"]
    assert isinstance(predicate, dict)
    del predicate["limits"]
    envelope = bytes(ISSUER.sign_envelope(PAYLOAD_TYPE, encode(document)))

    refused("MalformedStatement", {**FILES, "certificate.dsse.json": envelope}, trusting())


def test_a_certificate_with_a_field_more_is_none() -> None:
    document = decode(Envelope.parse(FILES["certificate.dsse.json"]).payload)
    assert isinstance(document, dict)
    assert isinstance(document["predicate"], dict)
    document["predicate"]["verdict"] = "erased as the law requires"
    envelope = bytes(ISSUER.sign_envelope(PAYLOAD_TYPE, encode(document)))

    refused("MalformedStatement", {**FILES, "certificate.dsse.json": envelope}, trusting())


def test_another_kind_of_payload_is_refused() -> None:
    payload = Envelope.parse(FILES["certificate.dsse.json"]).payload
    envelope = bytes(ISSUER.sign_envelope("application/json", payload))

    refused("MalformedEnvelope", {**FILES, "certificate.dsse.json": envelope}, trusting())


def test_a_changed_leaf_is_not_in_the_tree() -> None:
    files = changed("certificate.leaf.json", lambda leaf: leaf.replace(b"ten_x", b"ten_y"))

    refused("BadInclusion", files, trusting())


def test_two_swapped_entries_are_refused() -> None:
    files = dict(FILES)
    files["entries/4.json"], files["entries/5.json"] = (
        FILES["entries/5.json"],
        FILES["entries/4.json"],
    )

    refused("BadInclusion", files, trusting())


def test_two_entries_swapped_with_their_proofs_are_refused() -> None:
    files = dict(FILES)
    for kind in ("json", "tlog-proof"):
        files[f"entries/4.{kind}"] = FILES[f"entries/5.{kind}"]
        files[f"entries/5.{kind}"] = FILES[f"entries/4.{kind}"]

    refused("UnloggedFact", files, trusting())


def test_a_truncated_proof_is_refused() -> None:
    proof = LogProof.parse(FILES["certificate.tlog-proof"])
    short = bytes(replace(proof, hashes=proof.hashes[:-1]))

    refused("BadInclusion", {**FILES, "certificate.tlog-proof": short}, trusting())


def test_a_proof_with_a_hash_more_is_refused() -> None:
    proof = LogProof.parse(FILES["certificate.tlog-proof"])
    long = bytes(replace(proof, hashes=(*proof.hashes, bytes(32))))

    refused("BadInclusion", {**FILES, "certificate.tlog-proof": long}, trusting())


def test_garbage_after_a_proof_is_refused() -> None:
    files = changed("certificate.tlog-proof", lambda proof: proof + b"garbage\n")

    refused("OtherLog", files, trusting())


@pytest.mark.parametrize("extra", [b"x", b"\n", b"\n\n", b"PK"])
def test_garbage_around_an_archive_is_refused(extra: bytes) -> None:
    for data in (pack(FILES) + extra, extra + pack(FILES)):
        with pytest.raises(Refused, match="MalformedEvidence"):
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
    refused("OtherCertificate", {**FILES, "certificate.dsse.json": envelope}, trusting())
    leaf = log_of_b.leaves[7]
    refused(
        "BadInclusion",
        {**FILES, "certificate.dsse.json": envelope, "certificate.leaf.json": leaf},
        trusting(),
    )
    whole = pack_files(log_of_b, [(envelope, 7)], cited_of_b)
    verify_evidence(whole, trusting())
    refused("OtherRequest", whole, replace(trusting(), request_id="req_a"))


def test_an_entry_that_logs_it_for_another_request_does_not_count() -> None:
    log = BuiltLog()
    cited = facts(log)
    envelope, _ = issue(log, certificate(cited, 8))
    payload = Envelope.parse(envelope).payload
    index = log.append(
        entry(9, CERTIFICATE_ISSUED, "req_z", certificate_sha256=digest(payload.decode()))
    ).index

    refused("OtherCertificate", pack_files(log, [(envelope, index)], cited), trusting())


def test_an_entry_of_another_type_does_not_log_a_certificate() -> None:
    log = BuiltLog()
    cited = facts(log)
    envelope, _ = issue(log, certificate(cited, 8))
    payload = Envelope.parse(envelope).payload
    index = log.append(
        entry(9, "certificate.drafted", certificate_sha256=digest(payload.decode()))
    ).index

    refused("OtherCertificate", pack_files(log, [(envelope, index)], cited), trusting())


def test_a_digest_that_no_entry_states_is_refused() -> None:
    target = certificate([], 8).targets[0]
    parent = Parent("mv_a", digest("never logged"), "withdrawn", at(5))

    refused("UnloggedFact", certified(targets=(replace(target, parent=parent),)), trusting())


def test_weights_that_were_destroyed_without_a_successor_are_logged_too() -> None:
    target = replace(certificate([], 8).targets[0], result=None, run=None, reason="withdrawn")
    for text, name in (("old weights", None), ("never logged", "UnloggedFact")):
        parent = Parent("mv_a", digest(text), "withdrawn", at(5))
        targets = (replace(target, parent=parent),)
        files = certified(targets=targets, limits=limits_for(targets))
        del files["reports/job_1.json"]
        if name is None:
            verify_evidence(files, trusting())
        else:
            refused(name, files, trusting())


@pytest.mark.parametrize("text", ["0{}", "{}0", "0{}0"])
def test_a_digest_within_a_longer_one_is_not_stated(text: str) -> None:
    log = BuiltLog()
    target = certificate([], 8).targets[0]
    parent = Parent("mv_a", digest("never logged"), "withdrawn", at(5))
    longer = entry(0, "version.seen", sha=text.format(digest("never logged")))
    cited = [log.append(longer), *facts(log)]
    made = certificate(cited, 8, targets=(replace(target, parent=parent),))

    refused("UnloggedFact", evidence_of(made, log, cited), trusting())


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

    refused("UnloggedFact", pack_files(log, [(envelope, index)], [*cited, later]), trusting())


def test_an_entry_of_another_tenant_is_no_source_of_a_certificate() -> None:
    log = BuiltLog()
    cited = facts(log)
    foreign = log.append(replace(entry(7, "version.live"), tenant="ten_y"))
    files = evidence_of(certificate([*cited, foreign], 8), log, [*cited, foreign])

    refused("UnloggedFact", files, trusting())


def test_another_report_is_refused() -> None:
    files = changed("reports/job_1.json", lambda report: report + b" ")

    refused("OtherFile", files, trusting())


def test_one_changed_byte_of_the_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(MODEL[:-1] + b"S")
    refused("OtherFile", FILES, replace(trusting(), models=(path,)))


def test_the_old_weights_are_no_result(tmp_path: Path) -> None:
    """The certificate states their digest, too: as that of what is to be gone."""
    path = tmp_path / "model"
    path.write_bytes(b"old weights")
    assert digest("old weights") == certificate([], 8).targets[0].parent.sha256
    refused("OtherFile", FILES, replace(trusting(), models=(path,)))


def test_a_file_that_nothing_refers_to_is_refused() -> None:
    files = {**FILES, "reports/job_2.json": REPORT}

    refused("MalformedEvidence", files, trusting())


def test_a_leaf_that_no_log_may_hold_is_refused() -> None:
    """Bundles of entries give a leaf's length in two bytes: from 64 KiB on it cannot be copied."""
    for size, name in (((1 << 16) - 1, None), (1 << 16, "MalformedEntry")):
        log = BuiltLog()
        cited = facts(log)
        envelope, index = issue(log, certificate(cited, 8))
        leaf = log.leaves.pop()
        padding = size - len(leaf) - len(b'"a":"",')
        leaf = leaf.replace(b'"facts":{', b'"facts":{"a":"%s",' % (b"x" * padding))
        assert len(leaf) == size
        log = BuiltLog([*log.leaves, leaf], MemoryTree(map(hash_leaf, [*log.leaves, leaf])))
        files = pack_files(log, [(envelope, index)], cited)
        if name is None:
            verify_evidence(files, trusting())
        else:
            refused(name, files, trusting())
