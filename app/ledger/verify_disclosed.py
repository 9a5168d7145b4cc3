"""What was disclosed beside evidence, verified offline: whom a request named, or what it asked for.

This file stands beside ``verify`` and needs nothing else of ours; ``lethe-verify.pyz`` holds both.
``docs/evidence.md`` describes what is disclosed and what the log has committed to.
"""

from __future__ import annotations

import argparse
import hmac
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.ledger.verify import (
    ENVELOPE,
    Expectations,
    Refused,
    answer,
    conform,
    expected_by,
    hash_leaf,
    make_parser,
    open_envelope,
    parse,
    read_certificate,
    read_evidence,
    require,
    verify_evidence,
    verify_inclusion,
)

MEMBER = {"request_id": "NAME", "member": "ANY", "membership": "{ANY}"}
MEMBERSHIP = {"index": "COUNT", "key": "HEX", "hashes": "[HEX]"}
DETAIL = {"request_id": "NAME", "detail": "ANY", "key": "HEX"}
"""The members of what is disclosed, with the verifier's names for what they are."""


def verify_disclosed(
    files: Mapping[str, bytes],
    expected: Expectations,
    *,
    members: Sequence[bytes] = (),
    details: Sequence[bytes] = (),
) -> str:
    """Verify evidence, and what was disclosed against it; return a sentence that says so.

    Args:
        files: The evidence.
        expected: What whoever verifies trusts, has and wants.
        members: Proofs that the request has named somebody, as the service disclosed them.
        details: What it has asked for, as the service disclosed it.

    Raises:
        Refused: The evidence is refused, or what was disclosed is not what was logged.
        OSError: A file in hand cannot be read.
    """
    said = verify_evidence(files, expected)
    certificate = read_certificate(open_envelope(files[ENVELOPE], expected.keys)[0])
    # As ASCII: an id may hold anything, and this goes to a terminal.
    named = [ascii(_verified_member(data, certificate)) for data in members]
    for data in details:
        _verify_detail(data, certificate, files)
    return f"{said} The request named {', '.join(named)}." if named else said


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a command line take what was disclosed."""
    add = parser.add_argument
    add("--member", action="append", default=[], type=Path, help="proof that an id was named")
    add("--detail", action="append", default=[], type=Path, help="what was asked for, disclosed")


def verified_by(options: argparse.Namespace, expected: Expectations) -> str:
    """Verify what the command line names; return the sentence.

    Raises:
        Refused: See ``verify_disclosed``.
        OSError: A file cannot be read.
    """
    return verify_disclosed(
        read_evidence(options.evidence),
        expected,
        members=[path.read_bytes() for path in options.member],
        details=[path.read_bytes() for path in options.detail],
    )


def main(arguments: list[str] | None = None) -> int:
    """Verify one archive or folder, and what was disclosed beside it; print one sentence.

    Returns:
        0 ok, 1 invalid, 2 malformed, 3 untrusted key, 4 stale.
    """
    parser = make_parser()
    add_options(parser)
    given = parser.parse_args(arguments)
    return answer(lambda: verified_by(given, expected_by(given)))


def _verified_member(data: bytes, certificate: Mapping[str, Any]) -> str:
    shown = _read(parse(data, "{ANY}", "MalformedDisclosure", is_canonical=False), MEMBER)
    proof = _read(shown["membership"], MEMBERSHIP)
    _require_concerned(shown, certificate)
    member, commitment = str(shown["member"]), certificate["request"]["commitment"]
    message = b"lethe/member/v1\x00" + member.encode()
    leaf = hash_leaf(hmac.digest(bytes.fromhex(proof["key"]), message, "sha256"))
    hashes, root = map(bytes.fromhex, proof["hashes"]), bytes.fromhex(commitment["root"])
    try:
        verify_inclusion(proof["index"], commitment["size"], leaf, [*hashes], root)
    except Refused as error:
        raise Refused("NotCommitted", "the member is not shown to be in the list") from error
    return member


def _verify_detail(data: bytes, certificate: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    shown = _read(parse(data, "{ANY}", "MalformedDisclosure", is_canonical=False), DETAIL)
    _require_concerned(shown, certificate)
    committed = hmac.digest(bytes.fromhex(shown["key"]), str(shown["detail"]).encode(), "sha256")
    names = (f"entries/{cited['index']}.json" for cited in certificate["log"]["entries"])
    entries = [parse(files[name], "entry", "MalformedEntry") for name in names]
    own = [item for item in entries if item.get("request_id") == shown["request_id"]]
    logged = {item["detail_commitment"] for item in own if "detail_commitment" in item}
    require(logged == {committed.hex()}, "NotCommitted", "the detail is not the one logged")


def _read(value: Any, rules: Mapping[str, str]) -> dict[str, Any]:
    """Check an object's members; those that may be anything are texts."""
    name = "MalformedDisclosure"
    require(isinstance(value, dict) and value.keys() == rules.keys(), name, "it is no disclosure")
    for member, rule in rules.items():
        conform(value[member], rule, name, f"/{member}")
        is_text = rule != "ANY" or isinstance(value[member], str)
        require(is_text, name, f"/{member} is no text")
    read: dict[str, Any] = value
    return read


def _require_concerned(shown: Mapping[str, Any], certificate: Mapping[str, Any]) -> None:
    is_concerned = shown["request_id"] == certificate["request"]["id"]
    require(is_concerned, "OtherRequest", "what was disclosed is about another request")


if __name__ == "__main__":
    sys.exit(main())
