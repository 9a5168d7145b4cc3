"""A disclosure is checked against the evidence: one member, or the whole detail."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger import errors
from app.ledger.__main__ import main
from app.ledger.commitments import CommittedList
from app.ledger.disclosures import (
    DisclosedDetail,
    DisclosedMember,
    commit,
    verify_disclosed,
)
from app.ledger.encoding import encode
from app.ledger.records import write_record
from app.ledger.verify import Refused, pack
from tests.ledger.case import (
    ISSUER,
    LOG,
    MEMBERS,
    BuiltLog,
    certificate,
    entry,
    facts,
    issue,
    pack_files,
    trusting,
)
from tests.ledger.forging import FILES

KEY = bytes(range(32))
DETAIL = '{"sample_ids":["row-17","row-4711"]}'
SHOWN = DisclosedMember("req_a", "row-17", MEMBERS.prove("row-17"))
OPENED = DisclosedDetail("req_a", DETAIL, KEY.hex())


def refused(
    error: type[errors.LedgerError],
    files: dict[str, bytes],
    members: Sequence[DisclosedMember] = (),
    details: Sequence[DisclosedDetail] = (),
) -> None:
    """Assert that exactly this error is raised, not one derived from it."""
    with pytest.raises(error) as caught:
        verify_disclosed(files, trusting(), members=members, details=details)
    assert caught.type is error


def evidence(*commitments: bytes, request_id: str = "req_a") -> dict[str, bytes]:
    """Evidence whose cited entries commit to details."""
    log = BuiltLog()
    cited = facts(log)
    for commitment in commitments:
        accepted = entry(len(log.leaves), "request.accepted", request_id)
        cited.append(log.append(replace(accepted, detail_commitment=commitment.hex())))
    return pack_files(log, [issue(log, certificate(cited, 9))], cited)


def test_a_member_that_was_named_is_shown() -> None:
    for member in ("row-17", "row-4711"):
        shown = DisclosedMember("req_a", member, MEMBERS.prove(member))
        assert DisclosedMember.parse(encode(write_record(shown))) == shown
        verify_disclosed(FILES, trusting(), members=[shown])


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SHOWN, member="row-4711"),
        replace(SHOWN, member="row-18"),
        replace(SHOWN, membership=replace(SHOWN.membership, index=1 - SHOWN.membership.index)),
        replace(SHOWN, membership=replace(SHOWN.membership, key="ab" * 32)),
        replace(SHOWN, membership=replace(SHOWN.membership, hashes=())),
        replace(
            SHOWN,
            membership=replace(SHOWN.membership, hashes=(*SHOWN.membership.hashes, "00" * 32)),
        ),
        replace(SHOWN, membership=CommittedList(["row-17"], KEY).prove("row-17")),
    ],
)
def test_a_member_that_was_not_named_is_refused(wrong: DisclosedMember) -> None:
    refused(errors.NotCommitted, FILES, [SHOWN, wrong])


def test_a_disclosure_about_another_request_is_refused() -> None:
    refused(errors.OtherRequest, FILES, [replace(SHOWN, request_id="req_b")])
    refused(errors.OtherRequest, FILES, details=[replace(OPENED, request_id="req_b")])


def test_the_detail_that_was_logged_is_shown() -> None:
    assert DisclosedDetail.parse(encode(write_record(OPENED))) == OPENED
    verify_disclosed(evidence(commit(DETAIL.encode(), KEY)), trusting(), details=[OPENED])


def test_a_detail_that_was_not_logged_is_refused() -> None:
    files = evidence(commit(DETAIL.encode(), KEY))
    for wrong in (
        replace(OPENED, detail=DETAIL.replace("17", "18")),
        replace(OPENED, detail=DETAIL + " "),
        replace(OPENED, key="ab" * 32),
    ):
        refused(errors.NotCommitted, files, details=[wrong])


def test_a_detail_needs_one_commitment_of_its_own_request() -> None:
    commitment = commit(DETAIL.encode(), KEY)
    for files in (
        FILES,
        evidence(commitment, request_id="req_b"),
        evidence(commitment, commit(b"other", KEY)),
    ):
        refused(errors.NotCommitted, files, details=[OPENED])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"request_id":"req_a","member":1}'])
def test_what_is_no_disclosure_is_malformed(content: bytes) -> None:
    for parse in (DisclosedMember.parse, DisclosedDetail.parse):
        with pytest.raises(errors.Malformed):
            parse(content)


@given(st.data())
def test_whatever_is_disclosed_there_is_an_answer(data: st.DataObject) -> None:
    good = encode(write_record(SHOWN))
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, min(len(good), start + 40)))
    edited = good[:start] + data.draw(st.binary(max_size=20)) + good[stop:]
    try:
        shown = DisclosedMember.parse(edited)
        verify_disclosed(FILES, trusting(), members=[shown])
    except errors.LedgerError:
        return
    assert shown == SHOWN


def test_what_was_disclosed_does_not_help_evidence_that_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        verify_disclosed({**FILES, "checkpoint.txt": b""}, trusting(), members=[SHOWN])
    assert caught.value.name == "MalformedCheckpoint"


def test_the_command_takes_disclosures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zipped, member, detail = (tmp_path / name for name in ("evidence.zip", "member", "detail"))
    zipped.write_bytes(pack(evidence(commit(DETAIL.encode(), KEY))))
    member.write_bytes(encode(write_record(SHOWN)))
    detail.write_bytes(encode(write_record(OPENED)))
    keys = ["--key", str(LOG.key), "--key", str(ISSUER.key)]

    assert main([str(zipped), *keys, "--member", str(member), "--detail", str(detail)]) == 0
    assert "The request named 'row-17'." in capsys.readouterr().out
    member.write_bytes(encode(write_record(replace(SHOWN, member="row-18"))))
    assert main([str(zipped), *keys, "--member", str(member)]) == 1
    assert capsys.readouterr().out.startswith("invalid: NotCommitted: ")
    member.write_bytes(b"{}")
    assert main([str(zipped), *keys, "--member", str(member)]) == 2
