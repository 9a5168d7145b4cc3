"""Only trusted keys count, in their time; later certificates can take earlier ones back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from app.ledger.certificates import Certificate, Follows
from app.ledger.encoding import encode
from app.ledger.envelopes import Envelope
from app.ledger.notes import Note
from app.ledger.verify import Expectations, verify_evidence
from tests.ledger.case import (
    ISSUER,
    LOG,
    START,
    STRANGER,
    WITNESS_KEYS,
    WITNESSES,
    BuiltLog,
    at_least,
    certificate,
    digest,
    facts,
    good_case,
    issue,
    key_of,
    pack_files,
    trusting,
    with_followup,
)
from tests.ledger.forging import CASE, FILES, cosigned, refused


def test_without_a_trusted_key_nothing_is_believed() -> None:
    refused("UnknownKey", FILES, Expectations(keys=()))
    refused("UnknownKey", FILES, trusting(ISSUER))
    refused("UnknownKey", FILES, trusting(LOG))
    refused("UnknownKey", FILES, trusting(STRANGER, ISSUER))


def test_keys_in_the_evidence_are_not_trusted() -> None:
    log = BuiltLog()
    cited = facts(log)
    files = pack_files(
        log, [issue(log, certificate(cited, 8), STRANGER)], cited, note=log.note(signer=STRANGER)
    )
    files["keys.json"] = encode({"items": [{"vkey": str(STRANGER.key)}]})

    refused("UnknownKey", files, trusting())


def test_a_checkpoint_of_a_strange_key_is_refused() -> None:
    note = CASE.log.note(signer=STRANGER)
    files = pack_files(CASE.log, [(FILES["certificate.dsse.json"], 7)], CASE.cited, note=note)

    refused("UnknownKey", files, trusting())


def test_the_issuers_key_does_not_sign_for_the_log() -> None:
    note = CASE.log.note(signer=ISSUER)
    files = pack_files(CASE.log, [(FILES["certificate.dsse.json"], 7)], CASE.cited, note=note)

    refused("UnknownKey", files, trusting())


def test_a_witness_does_not_sign_certificates() -> None:
    log = BuiltLog()
    cited = facts(log)
    witness = WITNESSES[0]
    signer = replace(ISSUER, name=witness.name, private=witness.private)
    files = pack_files(log, [issue(log, certificate(cited, 8), signer)], cited)
    keys = (key_of(LOG), key_of(witness))

    refused("UnknownKey", files, Expectations(keys=keys))


def test_a_witness_does_not_sign_certificates_in_its_own_name() -> None:
    """Not even where its key was handed over as that of an issuer: it is of another type."""
    log = BuiltLog()
    cited = facts(log)
    witness = WITNESSES[0]
    signer = replace(ISSUER, name=witness.name, private=witness.private)
    files = pack_files(log, [issue(log, certificate(cited, 8), signer)], cited)
    envelope = files["certificate.dsse.json"]
    plain, own = (f"{witness.name}+{key.id.hex()}" for key in (signer.key, witness.key))
    assert envelope.count(plain.encode()) == 1
    files["certificate.dsse.json"] = envelope.replace(plain.encode(), own.encode())

    refused("UnknownKey", files, Expectations(keys=(key_of(LOG), key_of(witness))))


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
    keys = (key_of(LOG, **log_key), key_of(ISSUER, **issuer_key))

    refused("RetiredKey", FILES, Expectations(keys=keys))


def test_the_key_of_the_checkpoint_outlives_the_newest_certificate() -> None:
    files = with_followup(good_case(), "withdrawal_completed")
    for minutes, is_refused in ((10, True), (14, False)):
        retired = key_of(LOG, valid_until=START + timedelta(minutes=minutes))
        expected = Expectations(keys=(retired, key_of(ISSUER)))
        if is_refused:
            refused("RetiredKey", files, expected)
        else:
            verify_evidence(files, expected)


def test_keys_are_valid_up_to_their_end() -> None:
    window = {"valid_from": START, "valid_until": START + timedelta(minutes=7, seconds=1)}
    keys = (key_of(LOG, **window), key_of(ISSUER, **window))

    verify_evidence(FILES, Expectations(keys=keys))


def test_a_missed_quorum_is_refused() -> None:
    expected = replace(trusting(), witnesses=WITNESS_KEYS, is_quorum=at_least(2))

    refused("QuorumMissed", FILES, expected)
    refused("QuorumMissed", cosigned(1), expected)


def test_a_wrong_cosignature_is_refused_even_if_the_quorum_is_met() -> None:
    files = cosigned(0, 1)
    later = cosigned(0, 1, minutes=31)
    note, other = Note.parse(files["checkpoint.txt"]), Note.parse(later["checkpoint.txt"])
    first, second = note.signatures[1], other.signatures[1]
    mixed = replace(first, blob=second.blob[:8] + first.blob[8:])
    broken = bytes(replace(note, signatures=(note.signatures[0], mixed, note.signatures[2])))
    files = {name: data.replace(bytes(note), broken) for name, data in files.items()}
    expected = replace(trusting(), witnesses=WITNESS_KEYS, is_quorum=at_least(1))

    refused("BadSignature", files, expected)


def test_old_evidence_is_refused_where_recent_is_wanted() -> None:
    witnesses = WITNESS_KEYS
    wanted = replace(trusting(), not_before=START + timedelta(minutes=20))

    refused("TooOld", FILES, wanted)
    refused("TooOld", cosigned(0, minutes=19), replace(wanted, witnesses=witnesses))
    verify_evidence(cosigned(0, minutes=21), replace(wanted, witnesses=witnesses))


def test_recent_evidence_takes_a_quorum_of_recent_cosignatures() -> None:
    """One witness of a quorum must not be able to make an old checkpoint look new."""
    old, new = cosigned(0, minutes=19), cosigned(1, minutes=21)
    note, other = Note.parse(old["checkpoint.txt"]), Note.parse(new["checkpoint.txt"])
    both = bytes(replace(note, signatures=(*note.signatures, other.signatures[1])))
    files = {name: data.replace(bytes(note), both) for name, data in old.items()}
    wanted = replace(trusting(), witnesses=WITNESS_KEYS, not_before=START + timedelta(minutes=20))

    verify_evidence(files, replace(wanted, is_quorum=at_least(1)))
    refused("TooOld", files, replace(wanted, is_quorum=at_least(2)))


def test_a_revoked_certificate_is_refused() -> None:
    files = with_followup(good_case(), "revoked", "wrong_rows")

    refused("Revoked", files, trusting())


def test_a_later_certificate_must_follow_the_first() -> None:
    case = good_case()
    files = with_followup(case, "revoked", "wrong_rows")
    log = BuiltLog()
    cited = facts(log)
    first = issue(log, certificate(cited, 8))
    stranger = Envelope.parse(files["followups/1/certificate.dsse.json"]).payload
    made = replace(Certificate.parse(stranger), log=certificate(cited, 8).log)
    second = issue(log, made)

    refused("OtherCertificate", pack_files(log, [first, second], cited), trusting())


def test_a_later_certificate_must_be_about_the_same_request() -> None:
    log = BuiltLog()
    cited = facts(log)
    first = issue(log, certificate(cited, 8))
    made = certificate(
        cited,
        20,
        kind="withdrawal_completed",
        follows=Follows(digest(Envelope.parse(first[0]).payload.decode())),
        request=replace(certificate(cited, 8).request, id="req_b"),
    )

    files = pack_files(log, [first, issue(log, made)], cited)
    refused("OtherCertificate", files, trusting())
