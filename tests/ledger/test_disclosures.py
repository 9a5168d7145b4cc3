"""A disclosure is checked against the evidence: one member, or the whole detail."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ledger.__main__ import main
from app.ledger.commitments import CommittedList
from app.ledger.disclosures import DisclosedDetail, DisclosedMember, commit
from app.ledger.verify import Refused, pack
from app.ledger.verify_disclosed import verify_disclosed
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
from tests.sealed import handed_out

KEY = bytes(range(32))
DETAIL = '{"sample_ids":["row-17","row-4711"]}'
SHOWN = DisclosedMember("req_a", "row-17", MEMBERS.prove("row-17"))
OPENED = DisclosedDetail("req_a", DETAIL, KEY.hex())


def refused(
    name: str,
    files: dict[str, bytes],
    members: Sequence[DisclosedMember] = (),
    details: Sequence[DisclosedDetail] = (),
) -> None:
    """Assert that it is refused by exactly this name."""
    with pytest.raises(Refused) as caught:
        verify_disclosed(
            files,
            trusting(),
            members=[handed_out(item) for item in members],
            details=[handed_out(item) for item in details],
        )
    assert caught.value.name == name


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
        said = verify_disclosed(FILES, trusting(), members=[handed_out(shown)])
        assert said.endswith(f"The request named '{member}'.")


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
    refused("NotCommitted", FILES, [SHOWN, wrong])


def test_a_disclosure_about_another_request_is_refused() -> None:
    refused("OtherRequest", FILES, [replace(SHOWN, request_id="req_b")])
    refused("OtherRequest", FILES, details=[replace(OPENED, request_id="req_b")])


def test_the_detail_that_was_logged_is_shown() -> None:
    files = evidence(commit(DETAIL.encode(), KEY))
    verify_disclosed(files, trusting(), details=[handed_out(OPENED)])


def test_a_detail_that_was_not_logged_is_refused() -> None:
    files = evidence(commit(DETAIL.encode(), KEY))
    for wrong in (
        replace(OPENED, detail=DETAIL.replace("17", "18")),
        replace(OPENED, detail=DETAIL + " "),
        replace(OPENED, key="ab" * 32),
    ):
        refused("NotCommitted", files, details=[wrong])


def test_a_detail_needs_one_commitment_of_its_own_request() -> None:
    commitment = commit(DETAIL.encode(), KEY)
    for files in (
        FILES,
        evidence(commitment, request_id="req_b"),
        evidence(commitment, commit(b"other", KEY)),
    ):
        refused("NotCommitted", files, details=[OPENED])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"request_id":"req_a","member":1}',
        handed_out(SHOWN).replace(b'"row-17"', b"17"),
        handed_out(SHOWN).replace(b'"row-17"', b'"\\ud800"'),
        handed_out(SHOWN).replace(b'"row-17"', b'"row-17","member":"row-17"'),
        handed_out(SHOWN).replace(b'"membership":', b'"also":1,"membership":'),
        handed_out(SHOWN).replace(b'"index":', b'"index":0.'),
        handed_out(SHOWN).replace(b'"hashes":[', b'"hashes":["ab",'),
        handed_out(OPENED).replace(KEY.hex().encode(), b"00"),
        handed_out(OPENED).replace(b'"detail":', b'"other":'),
    ],
)
def test_what_is_no_disclosure_is_malformed(content: bytes) -> None:
    assert content not in {handed_out(SHOWN), handed_out(OPENED)}
    for disclosed in ({"members": [content]}, {"details": [content]}):
        with pytest.raises(Refused) as caught:
            verify_disclosed(FILES, trusting(), **disclosed)
        assert caught.value.name == "MalformedDisclosure"


@settings(deadline=None)
@given(st.data())
def test_whatever_is_disclosed_there_is_an_answer(data: st.DataObject) -> None:
    good = handed_out(SHOWN)
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, min(len(good), start + 40)))
    edited = good[:start] + data.draw(st.binary(max_size=20)) + good[stop:]
    try:
        verify_disclosed(FILES, trusting(), members=[edited])
    except Refused:
        return
    assert json.loads(edited) == json.loads(good)


def test_what_was_disclosed_does_not_help_evidence_that_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        verify_disclosed({**FILES, "checkpoint.txt": b""}, trusting(), members=[handed_out(SHOWN)])
    assert caught.value.name == "MalformedCheckpoint"


def test_the_command_takes_disclosures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zipped, member, detail = (tmp_path / name for name in ("evidence.zip", "member", "detail"))
    zipped.write_bytes(pack(evidence(commit(DETAIL.encode(), KEY))))
    member.write_bytes(handed_out(SHOWN))
    detail.write_bytes(handed_out(OPENED))
    keys = ["--key", str(LOG.key), "--key", str(ISSUER.key)]

    assert main([str(zipped), *keys, "--member", str(member), "--detail", str(detail)]) == 0
    assert "The request named 'row-17'." in capsys.readouterr().out
    member.write_bytes(handed_out(replace(SHOWN, member="row-18")))
    assert main([str(zipped), *keys, "--member", str(member)]) == 1
    assert capsys.readouterr().out.startswith("invalid: NotCommitted: ")
    member.write_bytes(b"{}")
    assert main([str(zipped), *keys, "--member", str(member)]) == 2
