"""Fuzz the offline verifier: ``python scripts/fuzz_verifier.py [-max_total_time=600] [corpus]``.

Needs ``pip install 'lethe-unlearning[fuzz]'`` (Atheris, which brings libFuzzer). Whatever bytes the
verifier is handed, it answers or raises ``Refused``; any other exception ends the run with the
input. The first byte of an input chooses where the rest goes: to one of the readers, in the place
of one file of good evidence, or into a certificate that is then rightly signed and logged.
"""

import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["app.ledger.verify", "app.ledger.verify_disclosed"]):
    from app.ledger import verify
    from app.ledger.verify_disclosed import verify_disclosed

from app.ledger.disclosures import DisclosedDetail, DisclosedMember
from app.ledger.envelopes import Envelope
from app.ledger.statements import PAYLOAD_TYPE
from tests.ledger.case import (
    ISSUER,
    MEMBERS,
    WITNESS_KEYS,
    BuiltLog,
    entry,
    facts,
    good_case,
    pack_files,
    trusting,
)
from tests.sealed import handed_out

CASE = good_case()
FILES = dict(CASE.files)
NAMES = sorted(FILES)
PINNED = bytes(CASE.log.note(8))
EXPECTED = verify.Expectations(
    trusting().keys, witnesses=WITNESS_KEYS, pinned=PINNED, request_id="req_a"
)
MEMBER = DisclosedMember("req_a", "row-17", MEMBERS.prove("row-17"))
DETAIL = DisclosedDetail("req_a", "{}", "00" * 32)
PAYLOAD = Envelope.parse(FILES["certificate.dsse.json"]).payload


def in_place_of_a_file(data: bytes) -> None:
    """Verify good evidence with another file in it."""
    name = NAMES[data[0] % len(NAMES)] if data else NAMES[0]
    verify.verify_evidence({**FILES, name: data[1:]}, EXPECTED)


def as_a_pin(data: bytes) -> None:
    """Verify good evidence against a checkpoint and a proof that somebody kept."""
    pin, _, proof = data.partition(b"\x00")
    expected = verify.Expectations(EXPECTED.keys, pinned=pin or PINNED, consistency=proof)
    verify.verify_evidence(FILES, expected)


def as_a_disclosure(data: bytes) -> None:
    """Verify good evidence against what somebody says was disclosed."""
    is_member, disclosed = data[:1] == b"m", [data[1:]]
    members, details = (disclosed, []) if is_member else ([], disclosed)
    verify_disclosed(FILES, EXPECTED, members=members, details=details)


def signed_and_logged(data: bytes) -> None:
    """Verify a statement that the issuer has signed and the log holds, whatever it says."""
    log = BuiltLog()
    cited = facts(log)
    digest = sha256(data).hexdigest()
    index = log.append(entry(9, "certificate.issued", certificate_sha256=digest)).index
    envelope = bytes(ISSUER.sign_envelope(PAYLOAD_TYPE, data))
    verify.verify_evidence(pack_files(log, [(envelope, index)], cited), trusting())


TARGETS: list[tuple[Callable[[bytes], object], Iterable[bytes]]] = [
    (verify.unpack, [verify.pack(FILES), verify.pack({"README.txt": b"a"})]),
    (verify.Checkpoint.parse, [FILES["checkpoint.txt"]]),
    (verify.read_proof, [FILES["certificate.tlog-proof"]]),
    (verify.read_keys, [FILES["keys.json"]]),
    (verify.read_certificate, [PAYLOAD]),
    (lambda data: verify.parse(data, "entry", "MalformedEntry"), [FILES["entries/4.json"]]),
    (lambda data: verify.open_envelope(data, EXPECTED.keys), [FILES["certificate.dsse.json"]]),
    (in_place_of_a_file, [bytes([n]) + FILES[name] for n, name in enumerate(NAMES)]),
    (as_a_pin, [PINNED, PINNED + b"\x00" + FILES["consistency/8.json"]]),
    (signed_and_logged, [PAYLOAD]),
    (as_a_disclosure, [b"m" + handed_out(MEMBER), b"d" + handed_out(DETAIL)]),
]


def one(data: bytes) -> None:
    """Hand an input to the target that its first byte chooses."""
    target, _ = TARGETS[data[0] % len(TARGETS)] if data else TARGETS[0]
    with suppress(verify.Refused):
        target(data[1:])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as seeds:
        for number, (_, examples) in enumerate(TARGETS):
            for place, example in enumerate(examples):
                (Path(seeds) / f"{number}-{place}").write_bytes(bytes([number]) + example)
        atheris.Setup([*sys.argv, seeds], one)
        atheris.Fuzz()
