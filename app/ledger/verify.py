"""The offline verifier: is what this evidence says signed, logged and unchanged?

All of it is in this file, which needs Python and ``cryptography`` and imports nothing of ours: it
shares no code with what writes evidence, so no fault there can hide here as well. Nothing is
fetched, and no key is taken from the evidence. ``docs/evidence.md`` describes the formats and the
order of the checks. Whatever fails first is the answer: every function here may raise ``Refused``.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Outcome(IntEnum):
    """How a verification ended; the exit status of the command."""

    OK, INVALID, MALFORMED, UNTRUSTED, STALE = range(5)


NAMES = {
    Outcome.INVALID: "BadSignature BadInclusion BadConsistency Fork OtherLog OtherCertificate"
    " OtherRequest OtherFile UnloggedFact NotCommitted Contradiction",
    Outcome.MALFORMED: "MalformedKeys MalformedCheckpoint MalformedProof MalformedEnvelope"
    " MalformedStatement MalformedEntry MalformedEvidence MalformedDisclosure",
    Outcome.UNTRUSTED: "UnknownKey RetiredKey QuorumMissed",
    Outcome.STALE: "OlderThanPin TooOld Revoked",
}
"""Every name under which evidence is refused."""


class Refused(Exception):
    """The evidence is refused, for a reason that has a name; its content is never repeated."""

    def __init__(self, name: str, reason: str) -> None:
        """Remember the name, and the outcome that it means."""
        self.name = name
        self.outcome = next(outcome for outcome, names in NAMES.items() if name in names.split())
        super().__init__(f"{name}: {reason}.")


def require(is_right: bool, name: str, reason: str) -> None:
    """Go on only if something is right; else refuse.

    Raises:
        Refused: It is not.
    """
    if not is_right:
        raise Refused(name, reason)


# ------------------------------------------------------------------- JSON and its schema

SCHEMA = """
statement   _type=https://in-toto.io/Statement/v1 predicateType=urn:lethe-unlearning:certificate:v1
            subject=[file] predicate=certificate
file        name=NAME digest=digest
digest      sha256=HEX
certificate kind=completed|withdrawal_completed|revoked issued_at=TIME request=request
            targets=[target] rows?=rows log=log limits=[TEXT] follows?=follows
request     id=NAME kind=deletion|correction regulation=NAME received_at=TIME completed_at=TIME
            counts={COUNT} commitment=commitment
commitment  root=HEX size=COUNT
target      model_id=NAME parent=parent result?=result run?=run
            reason?=cancelled|nothing_left|withdrawn
parent      version_id=NAME sha256=HEX withdrawal=withdrawn|pending|none withdrawn_at?=TIME
result      version_id=NAME sha256=HEX
run         job_id=NAME method=NAME parameters={ANY} seeds={COUNT} inputs=inputs
            assurance=exact|certified|empirical verdict=passed|failed|inconclusive
            measurements=[measurement] gates=[gate] report_sha256=HEX
            selection?=selection guarantee?={NUMBER}
inputs      code=HEX configuration=HEX dataset_manifest=HEX
measurement name=NAME samples=COUNT before?=NUMBER after?=NUMBER reference?=NUMBER
            interval?=[NUMBER] control?=NAME
gate        name=NAME bound=at_most|at_least limit=NUMBER value?=NUMBER interval?=[NUMBER]
            verdict=passed|failed|inconclusive
selection   rule=NAME changed=COUNT total=COUNT layers=[NAME]
rows        action=erased|overwritten rows=COUNT revisions=COUNT done_at=TIME
log         origin=TEXT entries=[cited]
cited       index=COUNT type=NAME leaf_hash=HEX
follows     certificate_sha256=HEX reason?=NAME
entry       v=COUNT id=NAME tenant=NAME time=TIME type=NAME actor=NAME entity=entity facts={ANY}
            request_id?=NAME job_id?=NAME version_id?=NAME from_state?=NAME to_state?=NAME
            detail_commitment?=HEX
entity      kind=NAME id=NAME
envelope    payload=BASE64 payloadType=application/vnd.in-toto+json signatures=[signature]
signature   keyid=TEXT sig=BASE64
keys        items=[key]
key         vkey=TEXT valid_from?=TIME valid_until?=TIME
consistency from=COUNT to=COUNT hashes=[HEX]
"""
"""Every kind of object with its members. Those with ``?`` may be absent, ``[X]`` is an array of X,
``{X}`` an object of any members that are X, and ``a|b`` one of these texts."""
OBJECTS = {
    kind: dict(member.split("=", 1) for member in members)
    for kind, *members in map(str.split, re.split(r"\n(?=\w)", SCHEMA.strip()))
}
TEXTS = {
    "NAME": r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}",
    "TEXT": r"[^\x00-\x1f\x7f]{1,2000}",
    "HEX": r"[0-9a-f]{64}",
    "NUMBER": r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?(e[+-]?[0-9]{1,3})?",
    "TIME": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z",
    "BASE64": r"[A-Za-z0-9+/]*={0,2}",
    "VKEY": r"([^\s+\x00-\x1f]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})",
    "SIGNATURE": r"— ([^\s+\x00-\x1f]+) ([A-Za-z0-9+/]{7,}={0,2})",
    "CHECKPOINT": r"(([^\x00-\x1f]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n)\n"
    r"([^\x00-\x09\x0b-\x1f]+)\n",
    "PROOF": r"c2sp\.org/tlog-proof@v1\nindex (0|[1-9][0-9]{0,18})((?:\n[^\n]{44}){0,63})\n\n"
    r"((?s:.*))",
}
"""Every kind of text, as a regular expression that matches all of it."""
LIMITS = {
    "exact": "Exact: the published weights are those of a training that never used the named rows,"
    " as far as the recorded inputs, code and seeds determine them.",
    "certified": "Certified: the stated bound holds under the assumptions of the method, and bounds"
    " how much an observer of the weights can tell; it does not say that nothing remains.",
    "empirical": "Empirical: the listed measurements are all that is known; other tests of the"
    " weights may still find traces of the named rows.",
    "any": "This certificate states what was done and measured, on the copies the service holds."
    " It does not judge what any law requires.",
}
"""Sentences that a certificate repeats: ``any``, and one for each assurance that occurs."""


def canonical(document: object) -> bytes:
    """Write a document as RFC 8785 does; without floats, null and integers from 2^53 on.

    Raises:
        ValueError: The document holds something else, or is nested too deeply.
    """

    def ordered(value: object, depth: int) -> object:
        if isinstance(value, dict) and depth:
            names = sorted(value, key=lambda name: str(name).encode("utf-16-be"))
            return {name: ordered(value[name], depth - 1) for name in names}
        if isinstance(value, list) and depth:
            return [ordered(item, depth - 1) for item in value]
        if isinstance(value, str) or (isinstance(value, int) and abs(value) < 2**53):
            return value
        raise ValueError("not a value of canonical JSON")

    return json.dumps(ordered(document, 32), ensure_ascii=False, separators=(",", ":")).encode()


def parse(data: bytes, kind: str, name: str, *, is_canonical: bool = True) -> Any:
    """Read an object, refusing what two readers could read in two ways; null counts as absent.

    Args:
        data: Its text, in canonical form unless said otherwise.
        kind: What the schema calls it.
        name: Of the refusal.
        is_canonical: Whether every other form is refused.
    """

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a name occurs twice")
        return {key: value for key, value in pairs if value is not None}

    require(len(data) <= 1 << 24, name, "it is too large")
    try:
        # Numbers that are no integers, and words such as NaN, are handed to int, which refuses.
        document = json.loads(
            data.decode(), object_pairs_hook=members, parse_float=int, parse_constant=int
        )
        is_same = canonical(document) == data
        conform(document, kind, name)
    except (ValueError, RecursionError) as error:
        raise Refused(name, "it is no JSON of our kind, or names a day that never was") from error
    require(is_same or not is_canonical, name, "it is not in its canonical form")
    return document


def conform(value: Any, rule: str, name: str, at: str = "") -> None:
    """Check a value against a rule of the schema; ``at`` is its place, a JSON pointer."""
    if rule[0] == "[":
        require(isinstance(value, list), name, f"{at} is no array")
        for number, item in enumerate(value):
            conform(item, rule[1:-1], name, f"{at}/{number}")
    elif rule[0] == "{" or rule in OBJECTS:
        require(isinstance(value, dict), name, f"{at or '/'} is no object")
        members = OBJECTS.get(rule, dict.fromkeys(value, rule[1:-1]))
        known = {member.rstrip("?") for member in members}
        require(value.keys() <= known, name, f"{at or '/'} has a member that is not known here")
        for member, inner in members.items():
            key = member.rstrip("?")
            if rule[0] == "{":
                matched(key, "NAME", name, f"the name of a member of {at}")
            require(key in value or key != member, name, f"{at}/{key} is missing")
            if key in value:
                conform(value[key], inner, name, f"{at}/{key}")
    elif rule == "COUNT":
        # Not isinstance: True is an integer to Python, and not to JSON.
        require(type(value) is int and value >= 0, name, f"{at} is no count")
    elif rule in TEXTS:
        require(isinstance(value, str), name, f"{at} is no text")
        matched(value, rule, name, at)
        if rule == "TIME":
            moment(value)
    elif rule != "ANY":
        require(value in rule.split("|"), name, f"{at} is none of: {rule}")


def matched(text: str | bytes, rule: str, name: str, at: str = "it") -> tuple[str, ...]:
    """Return the groups of a text that is of a kind as a whole."""
    try:
        found = re.fullmatch(TEXTS[rule], text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError:
        found = None
    if found is None:
        raise Refused(name, f"{at} is no {rule}")
    return found.groups()


def moment(text: str) -> datetime:
    """Return the time that a text states, in UTC where it names no zone.

    Raises:
        ValueError: There is no such day or hour.
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def from_base64(text: str, name: str) -> bytes:
    """Read standard base 64 with padding, in the only spelling that we accept of these bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refused(name, "something in it is no base 64") from error
    require(base64.b64encode(data).decode() == text, name, "base 64 in it is spelled otherwise")
    return data


# ---------------------------------------------------------- keys and what they have signed

SIGNS, COSIGNS = 1, 4
"""Types of keys: of a log or issuer, and of a witness."""


class Key(NamedTuple):
    """A public Ed25519 key that is trusted, and in which time; what C2SP calls a vkey."""

    name: str
    type: int
    public: bytes
    valid_from: datetime = datetime.min.replace(tzinfo=UTC)
    valid_until: datetime = datetime.max.replace(tzinfo=UTC)

    @classmethod
    def parse(cls, vkey: str) -> Key:
        """Read ``name+hex(id)+base64(type and key)``."""
        name, key_id, encoded = matched(vkey, "VKEY", "MalformedKeys")
        material = from_base64(encoded, "MalformedKeys")
        key = cls(name, material[0], material[1:])
        is_right = len(material) == 33 and key.type in {SIGNS, COSIGNS} and key.id.hex() == key_id
        require(is_right, "MalformedKeys", "a key is of no known type, or its id is another's")
        return key

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of one name apart; no security rests on them."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature (RFC 8032)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise Refused("BadSignature", f"a signature by {self.name} is wrong") from error


def read_keys(data: bytes) -> tuple[Key, ...]:
    """Read the list of keys that a service publishes, with the time in which each counts."""
    keys = []
    for item in parse(data, "keys", "MalformedKeys", is_canonical=False)["items"]:
        times: dict[str, Any] = {name: moment(item[name]) for name in item if name != "vkey"}
        keys.append(Key.parse(item["vkey"])._replace(**times))
    return tuple(keys)


class Checkpoint(NamedTuple):
    """A signed note with a log's origin, size and root (C2SP tlog-checkpoint), not verified."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[tuple[str, bytes], ...]

    @classmethod
    def parse(cls, data: bytes) -> Checkpoint:
        """Read a note of three lines, an empty line and signatures, one a line."""
        name = "MalformedCheckpoint"
        require(len(data) <= 1 << 18, name, "it is too large")
        text, origin, size, root, lines = matched(data, "CHECKPOINT", name)
        signed = [matched(line, "SIGNATURE", name) for line in lines.split("\n")]
        signatures = tuple((signer, from_base64(blob, name)) for signer, blob in signed)
        return cls(origin, int(size), from_base64(root, name), text, signatures)

    def by(self, key: Key) -> list[bytes]:
        """Return what stands in the lines with a key's name and id."""
        own = key.name, key.id
        return [blob[4:] for name, blob in self.signatures if (name, blob[:4]) == own]

    def signers(self, keys: Iterable[Key]) -> list[Key]:
        """Return which keys of the log have signed: one at least, and none wrongly."""
        signed = []
        for key in (key for key in keys if (key.name, key.type) == (self.origin, SIGNS)):
            for signature in self.by(key):
                key.verify(self.text.encode(), signature)
                signed.append(key)
        require(bool(signed), "UnknownKey", "no trusted key of the log has signed the checkpoint")
        return signed

    def cosigners(self, witnesses: Iterable[Key]) -> dict[bytes, datetime]:
        """Return which public keys of witnesses have cosigned, whatever their names, and when."""
        seen: dict[bytes, datetime] = {}
        for key in (key for key in witnesses if key.type == COSIGNS):
            for blob in self.by(key):
                seconds = int.from_bytes(blob[:8], "big")
                is_time = len(blob) == 72 and seconds < 253_402_300_800  # the year 10000
                require(is_time, "BadSignature", f"a cosignature by {key.name} is wrong")
                key.verify(f"cosignature/v1\ntime {seconds}\n{self.text}".encode(), blob[8:])
                time = datetime.fromtimestamp(seconds, UTC)
                seen[key.public] = max(time, seen.get(key.public, time))
        return seen


def open_envelope(data: bytes, keys: Sequence[Key]) -> tuple[bytes, list[Key]]:
    """Return what a DSSE envelope holds, and which keys have signed it: one at least.

    A signature has to name its key, as those of our envelopes do, and none may be wrong.
    """
    name = "MalformedEnvelope"
    envelope = parse(data, "envelope", name)
    kind, payload = envelope["payloadType"].encode(), from_base64(envelope["payload"], name)
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signed = []
    for line in envelope["signatures"]:
        for key in (key for key in keys if key.type == SIGNS):
            if line["keyid"] == f"{key.name}+{key.id.hex()}":
                key.verify(message, from_base64(line["sig"], name))
                signed.append(key)
    require(bool(signed), "UnknownKey", "no trusted key has signed the certificate")
    return payload, signed


# ----------------------------------------------------------------- the tree (RFC 9162, 2.1)


def hash_leaf(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def _hash_node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _climbed(node: int, last: int, hashes: Sequence[bytes], name: str) -> list[tuple[bytes, bool]]:
    """Return all hashes but the first, where the climb begins, with whether each stands left."""
    require(all(len(part) == 32 for part in hashes), name, "a hash does not have 32 bytes")
    steps = []
    for sibling in hashes[1:]:
        require(last > 0, name, "the proof is longer than the tree is deep")
        is_left = bool(node & 1) or node == last
        steps.append((sibling, is_left))
        while is_left and node and not node & 1:
            node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    require(last == 0, name, "the proof is shorter than the tree is deep")
    return steps


def verify_inclusion(
    index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf is at this index of the tree of this size and root (2.1.3.2)."""
    require(0 <= index < size, "BadInclusion", "the tree has no leaf at this index")
    reached = leaf_hash
    for sibling, is_left in _climbed(index, size - 1, (leaf_hash, *proof), "BadInclusion"):
        reached = _hash_node(sibling, reached) if is_left else _hash_node(reached, sibling)
    require(reached == root, "BadInclusion", "the proof leads to another root")


def verify_consistency(
    size: int, root: bytes, later_size: int, later_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that a tree of at least one leaf is the beginning of a later one (2.1.4.2)."""
    require(1 <= size <= later_size, "BadConsistency", "there is no proof between these sizes")
    if size == later_size:
        require(root == later_root and not proof, "BadConsistency", "equal sizes, other roots")
        return
    # A tree of 2^k leaves is a node of the later one: its root opens the proof unsaid.
    path = [root, *proof] if size & (size - 1) == 0 else list(proof)
    require(bool(path), "BadConsistency", "the proof is shorter than the tree is deep")
    below = (size & -size).bit_length() - 1  # 2^below leaves are under the first hash
    node, last = (size - 1) >> below, (later_size - 1) >> below
    earlier = later = path[0]
    for sibling, is_left in _climbed(node, last, path, "BadConsistency"):
        earlier = _hash_node(sibling, earlier) if is_left else earlier
        later = _hash_node(sibling, later) if is_left else _hash_node(later, sibling)
    require((earlier, later) == (root, later_root), "BadConsistency", "it leads to other roots")


def read_proof(data: bytes) -> tuple[int, list[bytes], bytes]:
    """Read a C2SP ``tlog-proof``: the index, the hashes, the checkpoint that they lead to."""
    index, lines, checkpoint = matched(data, "PROOF", "MalformedProof")
    hashes = [from_base64(line, "MalformedProof") for line in lines.split("\n")[1:]]
    return int(index), hashes, checkpoint.encode()


# ------------------------------------------------------------------------ the archive

README, PUBLISHED_KEYS, CHECKPOINT = "README.txt", "keys.json", "checkpoint.txt"
ENVELOPE, LEAF, PROOF = "certificate.dsse.json", "certificate.leaf.json", "certificate.tlog-proof"
LAYOUT = re.compile(
    r"README\.txt|keys\.json|checkpoint\.txt"
    r"|(followups/[0-9]{1,4}/)?certificate\.(dsse\.json|leaf\.json|tlog-proof)"
    r"|entries/[0-9]{1,19}\.(json|tlog-proof)|consistency/[0-9]{1,19}\.json"
    r"|reports/[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.json"
)
MOST_FILES = 1 << 14
LARGEST_EVIDENCE = 1 << 26
"""Bytes of all files together; an archive has less than 1024 more for each."""
BROKEN = (
    zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError, LookupError, ArithmeticError,
)  # fmt: skip
"""What zipfile raises on archives that are none, cut short, or made to break it."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """Write evidence as an archive: the same bytes for the same files, always."""
    _require_room(len(files), sum(map(len, files.values())))
    is_known = all(map(LAYOUT.fullmatch, files))
    require(is_known, "MalformedEvidence", "it holds a file that does not belong to it")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Read an archive that is byte for byte what ``pack`` writes of its files, and no other."""
    _require_room(0, len(data) - 1024 * MOST_FILES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            _require_room(len(infos), sum(info.file_size for info in infos))
            is_stored = all(info.compress_type == zipfile.ZIP_STORED for info in infos)
            require(is_stored, "MalformedEvidence", "the archive is compressed")
            files = {info.filename: archive.read(info) for info in infos}
    except BROKEN as error:
        raise Refused("MalformedEvidence", "the archive is no zip, or damaged") from error
    require(pack(files) == data, "MalformedEvidence", "the archive is not as it was packed")
    return files


def read_evidence(path: Path) -> dict[str, bytes]:
    """Read an archive, or the folder into which one was unpacked.

    Raises:
        OSError: It cannot be read.
    """
    if not path.is_dir():
        _require_room(0, path.stat().st_size - 1024 * MOST_FILES)
        return unpack(path.read_bytes())
    found = [file for file in path.rglob("*") if file.is_symlink() or not file.is_dir()]
    are_files = all(file.is_file() and not file.is_symlink() for file in found)
    require(are_files, "MalformedEvidence", "the folder holds a link, or what is no file")
    _require_room(len(found), sum(file.stat().st_size for file in found))
    files = {file.relative_to(path).as_posix(): file.read_bytes() for file in found}
    pack(files)
    return files


def _require_room(count: int, size: int) -> None:
    is_small = count <= MOST_FILES and size <= LARGEST_EVIDENCE
    require(is_small, "MalformedEvidence", "the evidence holds too much")


# ----------------------------------------------------------------------- the certificate


def read_certificate(payload: bytes) -> dict[str, Any]:
    """Return a statement's predicate: its subject is what was published, and it is sound."""
    statement = parse(payload, "statement", "MalformedStatement")
    certificate: dict[str, Any] = statement["predicate"]
    results = [target["result"] for target in certificate["targets"] if "result" in target]
    files = {(f"{result['version_id']}/weights", result["sha256"]) for result in results}
    request = certificate["request"]
    files = files or {(f"commitment/{request['id']}", request["commitment"]["root"])}
    subject = [(file["name"], file["digest"]["sha256"]) for file in statement["subject"]]
    require(subject == sorted(files), "MalformedStatement", "its subject was not published")
    for contradiction in _contradictions(certificate):
        raise Refused("Contradiction", contradiction)
    return certificate


def stated_digests(certificate: Mapping[str, Any]) -> Iterator[str]:
    """Every digest that a certificate states and the log therefore has to state."""
    yield certificate["request"]["commitment"]["root"]
    for target in certificate["targets"]:
        parent, run = target["parent"], target.get("run")
        if run is not None or parent["withdrawal"] == "withdrawn":
            yield parent["sha256"]
        if run is not None:
            yield from (target["result"]["sha256"], run["report_sha256"], *run["inputs"].values())


def limits_for(assurances: Iterable[str]) -> tuple[str, ...]:
    """Return the sentences that a certificate repeats if these assurances occur in it."""
    occurring = {*assurances, "any"}
    return tuple(text for name, text in LIMITS.items() if name in occurring)


def _contradictions(certificate: Mapping[str, Any]) -> Iterator[str]:
    """Yield what cannot both be true, as far as can be seen without the log."""
    request, targets, kind = certificate["request"], certificate["targets"], certificate["kind"]
    issued_at = moment(certificate["issued_at"])
    if not moment(request["received_at"]) <= moment(request["completed_at"]) <= issued_at:
        yield "it was issued before the request was completed, or that before it came"
    done = [target["parent"].get("withdrawn_at") for target in targets]
    done.append(certificate.get("rows", {}).get("done_at"))
    if any(moment(time) > issued_at for time in done if time is not None):
        yield "it was issued before something it reports"
    follows = certificate.get("follows")
    if (kind == "completed") != (follows is None):
        yield "a first certificate follows none, and every other follows one"
    if (kind == "revoked") != ("reason" in (follows or {})):
        yield "a revocation has a reason, and nothing else has one"
    is_pending = any(target["parent"]["withdrawal"] == "pending" for target in targets)
    if kind == "withdrawal_completed" and is_pending:
        yield "everything is said to be destroyed while something waits for it"
    runs = [target["run"] for target in targets if "run" in target]
    if not {*limits_for(run["assurance"] for run in runs)} <= {*certificate["limits"]}:
        yield "it leaves out what it does not say"
    cited = [entry["index"] for entry in certificate["log"]["entries"]]
    if not cited or cited != sorted(set(cited)):
        yield "it cites no entries, or not in the order of the log"
    if len({target["parent"]["version_id"] for target in targets}) != len(targets):
        yield "it speaks twice of one version"
    for target in targets:
        yield from _contradictions_of_target(target)


def _contradictions_of_target(target: Mapping[str, Any]) -> Iterator[str]:
    parent = target["parent"]
    if (parent["withdrawal"] == "withdrawn") != ("withdrawn_at" in parent):
        yield "a version is withdrawn without a time, or has a time and is not"
    if len({"result" in target, "run" in target, "reason" not in target}) != 1:
        yield "a result has a run, and where there is none there is a reason"
    if "run" in target:
        yield from _contradictions_of_run(target["run"])


def _contradictions_of_run(run: Mapping[str, Any]) -> Iterator[str]:
    verdicts = {gate["verdict"] for gate in run["gates"]}
    if "failed" in {run["verdict"], *verdicts}:
        yield "a result was published although a gate failed"
    if (run["verdict"] == "inconclusive") != ("inconclusive" in verdicts):
        yield "the verdict is not the worst of the gates'"
    if (run["assurance"] == "certified") != ("guarantee" in run):
        yield "a bound comes with the assurance certified, and with no other"
    if "selection" in run and run["selection"]["changed"] > run["selection"]["total"]:
        yield "more parameters have changed than there are"
    intervals = (item.get("interval") for item in (*run["measurements"], *run["gates"]))
    ends = [[Decimal(end) for end in interval] for interval in intervals if interval is not None]
    if any(len(pair) != 2 or pair[0] > pair[1] for pair in ends):
        yield "an interval does not have two ends in order"
    elif any(gate["verdict"] != _judged(gate) for gate in run["gates"]):
        yield "a gate's verdict does not follow from its value and limit"


def _judged(gate: Mapping[str, Any]) -> str:
    """Judge as the service does: a limit inside the interval leaves the verdict open."""
    if "value" not in gate:
        return "failed"
    texts = (gate["limit"], gate["value"], *gate.get("interval", ()))
    is_upper = gate["bound"] == "at_most"
    # Negated as it stands: a product would be rounded to 28 digits.
    limit, value, *ends = (n if is_upper else n.copy_negate() for n in map(Decimal, texts))
    if ends and min(ends) <= limit < max(ends):
        return "inconclusive"
    return "passed" if value <= limit else "failed"


# ----------------------------------------------------------------------- the examination


@dataclass(frozen=True)
class Expectations:
    """What whoever verifies trusts, has in hand and wants; trust never comes from the evidence.

    Attributes:
        keys: Keys of the log and of whoever signs certificates.
        witnesses: Keys of trusted witnesses.
        is_quorum: Whether it is enough that these public keys have cosigned the checkpoint.
        pinned: A checkpoint that was kept from before, as the log wrote it.
        consistency: Proof between that and the evidence's, where the evidence has none.
        request_id: The request that the evidence has to be about.
        models: Files whose bytes have to be among the certified ones.
        not_before: A quorum of cosignatures must not be older than this: where none is wanted,
            one of them, or without any the entry that logs the certificate.
    """

    keys: tuple[Key, ...]
    witnesses: tuple[Key, ...] = ()
    is_quorum: Callable[[Set[bytes]], bool] = lambda _: True
    pinned: bytes | None = None
    consistency: bytes | None = None
    request_id: str | None = None
    models: tuple[Path, ...] = ()
    not_before: datetime | None = None


class Link(NamedTuple):
    """A certificate that stands in the log: its statement's digest, and when it was logged."""

    certificate: dict[str, Any]
    sha256: str
    logged_at: datetime


def verify_evidence(files: Mapping[str, bytes], expected: Expectations) -> str:
    """Verify the files of an archive; return a sentence that says what is shown by them.

    Raises:
        Refused: Something is wrong, missing, not trusted or no longer true.
        OSError: A file in hand cannot be read.
    """
    return Examination(files, expected).verify()


class Examination:
    """One verification: the files, what is expected of them, and which of them were needed."""

    def __init__(self, files: Mapping[str, bytes], expected: Expectations) -> None:
        """Read the checkpoint."""
        self.files, self.expected = files, expected
        self.used = {README, PUBLISHED_KEYS}
        read_keys(files.get(PUBLISHED_KEYS, b'{"items":[]}'))
        self.checkpoint = Checkpoint.parse(self.file(CHECKPOINT))

    def file(self, name: str) -> bytes:
        """Return the content of a file that has to be there."""
        require(name in self.files, "MalformedEvidence", f"the evidence lacks {name}")
        self.used.add(name)
        return self.files[name]

    def verify(self) -> str:
        """Take every step, and return the sentence."""
        chain = [self.verified_certificate("")]
        while f"followups/{len(chain)}/{ENVELOPE}" in self.files:
            later = self.verified_certificate(f"followups/{len(chain)}/")
            self.verify_follower(later, chain)
            chain.append(later)
        logged_at = max(link.logged_at for link in chain)
        signers = self.checkpoint.signers(self.expected.keys)
        is_in_time = any(logged_at < key.valid_until for key in signers)
        require(is_in_time, "RetiredKey", "the checkpoint's key was retired before the entry")
        cosigners = self.checkpoint.cosigners(self.expected.witnesses)
        is_seen = self.expected.is_quorum(cosigners.keys())
        require(is_seen, "QuorumMissed", f"only {len(cosigners)} trusted witnesses have cosigned")
        self.verify_pin()
        self.verify_in_hand(chain[0].certificate)
        oldest = self.expected.not_before or datetime.min.replace(tzinfo=UTC)
        recent = {public for public, time in cosigners.items() if time >= oldest}
        newest = max(cosigners.values(), default=logged_at)
        is_recent = newest >= oldest and self.expected.is_quorum(recent)
        require(is_recent, "TooOld", "the evidence is older than wanted")
        left = {name for name in self.files if "consistency/" not in name} - self.used
        require(not left, "MalformedEvidence", "it holds a file that nothing refers to")
        is_revoked = any(link.certificate["kind"] == "revoked" for link in chain)
        require(not is_revoked, "Revoked", "a later certificate takes this one back")
        about, now = chain[0].certificate["request"]["id"], self.checkpoint
        said = f"The certificate of request {about} is signed, and logged among the"
        return f"{said} {now.size} entries of {now.origin}."

    def verified_certificate(self, folder: str) -> Link:
        """Verify a certificate with all that stands behind it."""
        payload, signers = open_envelope(self.file(folder + ENVELOPE), self.expected.keys)
        certificate = read_certificate(payload)
        issued_at = moment(certificate["issued_at"])
        is_in_time = any(key.valid_from <= issued_at < key.valid_until for key in signers)
        require(is_in_time, "RetiredKey", "the certificate's key did not count at its time")
        entry, index, _ = self.verified_entry(folder + LEAF, folder + PROOF)
        digest, about = sha256(payload).hexdigest(), certificate["request"]["id"]
        said = entry["type"], entry["facts"].get("certificate_sha256"), entry.get("request_id")
        is_logged = said == ("certificate.issued", digest, about)
        require(is_logged, "OtherCertificate", "the logged entry is about another certificate")
        is_here = certificate["log"]["origin"] == self.checkpoint.origin
        require(is_here, "OtherLog", "the certificate and the checkpoint name different logs")
        self.verify_sources(certificate, entry["tenant"], index)
        return Link(certificate, digest, moment(entry["time"]))

    def verified_entry(self, leaf_name: str, proof_name: str) -> tuple[dict[str, Any], int, bytes]:
        """Return an entry that is in the log, its place and its leaf."""
        leaf, now = self.file(leaf_name), self.checkpoint
        index, hashes, checkpoint = read_proof(self.file(proof_name))
        entry: dict[str, Any] = parse(leaf, "entry", "MalformedEntry")
        is_known = entry["v"] == 1 and len(leaf) < 1 << 16
        require(is_known, "MalformedEntry", "it is too large, or of a version not known here")
        require(checkpoint == self.files[CHECKPOINT], "OtherLog", "a proof leads elsewhere")
        verify_inclusion(index, now.size, hash_leaf(leaf), hashes, now.root)
        return entry, index, leaf

    def verify_sources(self, certificate: dict[str, Any], tenant: str, logged: int) -> None:
        """Verify the cited entries and the reports: every digest comes from an entry."""
        stated: set[str] = set()
        for cited in certificate["log"]["entries"]:
            name = f"entries/{cited['index']}"
            entry, index, leaf = self.verified_entry(f"{name}.json", f"{name}.tlog-proof")
            stated.update(re.findall("(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", leaf.decode()))
            found = {"index": index, "type": entry["type"], "leaf_hash": hash_leaf(leaf).hex()}
            require(found == cited, "UnloggedFact", "a cited entry is not the one in the log")
            is_before = entry["tenant"] == tenant and index < logged
            require(is_before, "UnloggedFact", "a cited entry is another's, or came too late")
        unstated = {*stated_digests(certificate)} - stated
        require(not unstated, "UnloggedFact", "no cited entry states a digest that it does")
        for run in (target["run"] for target in certificate["targets"] if "run" in target):
            digest = sha256(self.file(f"reports/{run['job_id']}.json")).hexdigest()
            require(digest == run["report_sha256"], "OtherFile", "a report is not as certified")

    def verify_follower(self, later: Link, chain: Sequence[Link]) -> None:
        """Verify that a later certificate follows one of those before it."""
        follows = later.certificate.get("follows", {}).get("certificate_sha256")
        is_same = later.certificate["request"]["id"] == chain[0].certificate["request"]["id"]
        is_next = is_same and follows in {link.sha256 for link in chain}
        require(is_next, "OtherCertificate", "a later certificate does not follow this one")

    def verify_pin(self) -> None:
        """Verify that the log continues, or is continued by, the checkpoint kept from before."""
        if self.expected.pinned is None:
            return
        pinned, now = Checkpoint.parse(self.expected.pinned), self.checkpoint
        require(pinned.origin == now.origin, "OtherLog", "the pinned checkpoint is of another log")
        pinned.signers(self.expected.keys)
        if pinned.size in {0, now.size}:
            is_same = pinned.size == 0 or pinned.root == now.root
            require(is_same, "Fork", "the log has shown two different trees of one size")
            return
        own = self.files.get(f"consistency/{pinned.size}.json")
        proof = own if self.expected.consistency is None else self.expected.consistency
        if proof is None:
            name = "BadConsistency" if pinned.size < now.size else "OlderThanPin"
            raise Refused(name, "nothing connects the evidence with the pinned checkpoint")
        document = parse(proof, "consistency", "MalformedProof", is_canonical=False)
        old, new = sorted((pinned, now), key=lambda checkpoint: checkpoint.size)
        is_between = (document["from"], document["to"]) == (old.size, new.size)
        require(is_between, "BadConsistency", "the proof of consistency is between other sizes")
        hashes = [bytes.fromhex(part) for part in document["hashes"]]
        verify_consistency(old.size, old.root, new.size, new.root, hashes)

    def verify_in_hand(self, certificate: dict[str, Any]) -> None:
        """Verify the request asked for, and the files whose bytes are at hand."""
        is_asked = self.expected.request_id in {None, certificate["request"]["id"]}
        require(is_asked, "OtherRequest", "the certificate is about another request")
        targets = certificate["targets"]
        certified = {target["result"]["sha256"] for target in targets if "result" in target}
        for path in self.expected.models:
            with path.open("rb") as file:
                digest = file_digest(file, "sha256").hexdigest()
            require(digest in certified, "OtherFile", "the file in hand was not certified")


# --------------------------------------------------------------------------- the command


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="lethe-verify", description=main.__doc__)
    add = parser.add_argument
    add("evidence", type=Path, help="evidence.zip, or the folder it was unpacked into")
    add("--key", action="append", default=[], help="a trusted vkey; may be repeated")
    add("--keys", action="append", default=[], type=Path, help="a list of trusted keys with times")
    add("--witness", action="append", default=[], help="vkey of a trusted witness")
    add("--quorum", type=int, help="how many witnesses are needed; by default all")
    add("--checkpoint", type=Path, help="a checkpoint of the log kept from before")
    add("--consistency", type=Path, help="proof between that and the evidence's checkpoint")
    add("--request", help="id of the request that the evidence has to be about")
    add("--model", action="append", default=[], type=Path, help="a file that has to be certified")
    add("--not-before", type=moment, help="refuse evidence older than this time (RFC 3339)")
    return parser


def expected_by(options: argparse.Namespace) -> Expectations:
    """Return what the command line expects."""
    listed = [key for path in options.keys for key in read_keys(path.read_bytes())]
    witnesses = tuple(map(Key.parse, options.witness))
    count = len({key.public for key in witnesses}) if options.quorum is None else options.quorum
    return Expectations(
        keys=(*map(Key.parse, options.key), *listed),
        witnesses=witnesses,
        is_quorum=lambda cosigners: len(cosigners) >= count,
        pinned=options.checkpoint and options.checkpoint.read_bytes(),
        consistency=options.consistency and options.consistency.read_bytes(),
        request_id=options.request,
        models=tuple(options.model),
        not_before=options.not_before,
    )


def answer(verified: Callable[[], str]) -> int:
    """Print the sentence that a verification returns or ends with; return the exit status."""
    try:
        outcome, sentence = Outcome.OK, verified()
    except Refused as error:
        outcome, sentence = error.outcome, str(error)
    except OSError as error:
        outcome, sentence = Outcome.MALFORMED, f"A file given cannot be read: {error.strerror}."
    sys.stdout.write(f"{outcome.name.lower()}: {sentence}\n")
    return outcome


def main(arguments: list[str] | None = None) -> int:
    """Verify one archive or folder; print one sentence.

    Returns:
        0 ok, 1 invalid, 2 malformed, 3 untrusted key, 4 stale.
    """
    given = make_parser().parse_args(arguments)
    return answer(lambda: verify_evidence(read_evidence(given.evidence), expected_by(given)))


if __name__ == "__main__":
    sys.exit(main())
