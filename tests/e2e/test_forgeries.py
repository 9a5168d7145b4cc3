"""Evidence of a real service, forged in every way: each forgery is refused by its own name.

The forger has the service's data folder with its keys. Whoever verifies is offline, and has the
public keys, and in some cases a checkpoint kept from before or the model.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.cli.verifier import build_verifier
from app.client.connection import Document
from app.ledger.proofs import LogProof
from app.ledger.verify import (
    Checkpoint,
    Expectations,
    Refused,
    pack,
    read_evidence,
    read_keys,
    unpack,
    verify_evidence,
)
from tests.e2e.controller import Controller
from tests.e2e.forgers import PROOF, Forger, statement_of, stolen_leaves, stolen_signers
from tests.e2e.material import make_material
from tests.e2e.service import Service, eventually, running_service

LENIENT: dict[str, Any] = {"gates": {}, "method": "sparse_newton"}
CERTIFICATE = "certificate.dsse.json"


@dataclass(frozen=True)
class Loot:
    """What a service handed out, and what was stolen from it.

    Attributes:
        first: Evidence about the first request, when it was new.
        second: Evidence about another request, from later.
        after_rotation: Evidence about a third one, signed with the second key.
        regrown: Evidence about the first one, from a log that was rolled back and grew again.
        model: The version that the first request led to.
        published: Public keys of the log with their times, as the service lists them.
        kept: Checkpoint that the verifier kept: after the second request.
        retired: Forger with the key that was rotated out.
        current: Forger with the newest key.
        refusals: What the service said when it was started over yesterday's database.
    """

    first: dict[str, bytes]
    second: dict[str, bytes]
    after_rotation: dict[str, bytes]
    regrown: dict[str, bytes]
    model: Path
    published: bytes
    kept: bytes
    retired: Forger
    current: Forger
    refusals: str

    @property
    def trusting(self) -> Expectations:
        return Expectations(keys=read_keys(self.published))


def deletion(controller: Controller, dataset_id: str, sample_id: str) -> Document:
    request = controller.submit_deletion(dataset_id, sample_ids=[sample_id], regulation="gdpr")
    done = controller.finished(request["id"])
    controller.wait_for_certificate(done["id"])
    return done


def evidence_of(
    controller: Controller, request_id: str, folder: Path, since: int | None = None
) -> dict[str, bytes]:
    path = folder / "evidence.zip"
    query = "" if since is None else f"?since={since}"
    controller.fetch_file(f"/v1/requests/{request_id}/evidence.zip{query}", path)
    return read_evidence(path)


def size_of(note: bytes) -> int:
    return Checkpoint.parse(note).size


def copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def restart(service: Service) -> None:
    for name in ("api", "worker", "sweeper"):
        if name in service.processes:
            service.kill(name)
        service.start(name)
    eventually(service.is_ready, what="the API")


def rolled_back(service: Service, controller: Controller, yesterday: Path, size: int) -> str:
    """Start over yesterday's database, let its log grow again; return what was said before that."""
    for name in ("api", "worker", "sweeper"):
        service.kill(name)
    database = service.home / "lethe.db"
    for path in service.home.glob("lethe.db*"):
        path.unlink()
    shutil.copy(yesterday, database)
    restart(service)
    controller.create_model("the first entry after yesterday")
    eventually(lambda: "SmallerTree" in service.log("sweeper"), what="the refusal to sign")
    assert size_of(controller.checkpoint()) < size
    # The forger takes away what the service remembers as well, which does not help, and then lets
    # it remember yesterday.
    (service.home / "log.checkpoint").unlink()
    eventually(lambda: "KeptLost" in service.log("sweeper"), what="the next refusal to sign")
    said = service.log("sweeper")
    (service.home / "log.checkpoint").write_bytes(controller.checkpoint())
    while size_of(controller.checkpoint()) <= size:
        controller.create_model("more entries")
    return said


@pytest.fixture(scope="module")
def loot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loot]:
    folder = tmp_path_factory.mktemp("loot")
    with running_service(folder / "home") as service, Controller(service) as controller:
        material = make_material("forge", seed=41)
        ours = controller.register(material, folder, LENIENT)
        one = deletion(controller, ours.dataset_id, material.ids[3])
        result = one["targets"][0]["result_version_id"]
        model = folder / "model.safetensors"
        controller.download_weights(ours.model_id, result, model)
        first = evidence_of(controller, one["id"], folder)
        copy_database(service.home / "lethe.db", folder / "yesterday.db")

        two = deletion(controller, ours.dataset_id, material.ids[4])
        second = evidence_of(controller, two["id"], folder)
        kept = controller.checkpoint()
        leaves = stolen_leaves(service.home)

        rotate = [sys.executable, "-m", "app.cli.main", "log", "rotate"]
        subprocess.run(rotate, env=service.environment, check=True, capture_output=True)
        changed_at = datetime.fromisoformat(controller.log_keys()[1]["valid_from"])
        eventually(lambda: datetime.now(UTC) > changed_at, what="the end of the old key")
        three = deletion(controller, ours.dataset_id, material.ids[5])
        after_rotation = evidence_of(controller, three["id"], folder)
        published = json.dumps({"items": controller.log_keys()}).encode()
        retired, current = (Forger(leaves, signer) for signer in stolen_signers(service.home))

        refusals = rolled_back(service, controller, folder / "yesterday.db", size_of(kept))
        regrown = evidence_of(controller, one["id"], folder, size_of(kept))
        yield Loot(
            first,
            second,
            after_rotation,
            regrown,
            model,
            published,
            kept,
            retired,
            current,
            refusals,
        )


def refusal(files: Mapping[str, bytes], expected: Expectations) -> str:
    """Return the name under which evidence is refused."""
    with pytest.raises(Refused) as refused:
        verify_evidence(dict(files), expected)
    return refused.value.name


def test_what_was_handed_out_is_accepted(loot: Loot) -> None:
    verify_evidence(loot.first, replace(loot.trusting, models=(loot.model,)))
    for files in (loot.second, loot.after_rotation):
        verify_evidence(files, loot.trusting)
    verify_evidence(loot.second, replace(loot.trusting, pinned=loot.first["checkpoint.txt"]))
    # The forger's tools make evidence that is accepted, as long as nothing is forged with them.
    rebuilt = loot.retired.rebuilt(loot.first)
    verify_evidence(rebuilt, replace(loot.trusting, pinned=loot.kept))


def test_one_changed_field_is_refused(loot: Loot) -> None:
    envelope = json.loads(loot.first[CERTIFICATE])
    payload = bytearray(envelope["payload"].encode())
    middle = len(payload) // 2
    payload[middle] = ord("A") if payload[middle] != ord("A") else ord("B")
    envelope["payload"] = payload.decode()
    text = json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()
    assert refusal({**loot.first, CERTIFICATE: text}, loot.trusting) == "BadSignature"

    request = statement_of(loot.first)["predicate"]["request"]
    counts = {**request["counts"], "samples": 2}
    forged = loot.retired.resigned(loot.first, request={**request, "counts": counts})
    assert refusal(forged, loot.trusting) == "OtherCertificate"

    [entry, *_] = sorted(name for name in loot.first if name.startswith("entries/"))
    entry = entry.replace(PROOF, ".json")
    forged = {**loot.first, entry: loot.first[entry].replace(b'"actor":"', b'"actor":"x')}
    assert refusal(forged, loot.trusting) == "BadInclusion"

    [report] = [name for name in loot.first if name.startswith("reports/")]
    forged = {**loot.first, report: loot.first[report].replace(b"accuracy", b"accurate", 1)}
    assert refusal(forged, loot.trusting) == "OtherFile"


def test_one_changed_field_is_refused_even_if_the_whole_log_is_rewritten(loot: Loot) -> None:
    cited = statement_of(loot.first)["predicate"]["log"]["entries"]
    accepted = next(item["index"] for item in cited if item["type"] == "request.accepted")
    forger = loot.retired.instead(accepted, b'"samples":1', b'"samples":2')
    assert refusal(forger.rebuilt(loot.first), loot.trusting) == "UnloggedFact"


def test_a_dropped_entry_is_missed(loot: Loot) -> None:
    cited = statement_of(loot.first)["predicate"]["log"]["entries"]
    for item in (cited[0], cited[-1]):
        names = {f"entries/{item['index']}.json", f"entries/{item['index']}{PROOF}"}
        kept = {name: content for name, content in loot.first.items() if name not in names}
        assert refusal(kept, loot.trusting) == "MalformedEvidence"
        log = statement_of(loot.first)["predicate"]["log"]
        log["entries"] = [other for other in log["entries"] if other != item]
        assert refusal(loot.retired.resigned(kept, log=log), loot.trusting) == "OtherCertificate"
    # Dropped from the log itself, everything after it moves up.
    forger = replace(loot.retired, leaves=loot.retired.leaves[1:])
    assert refusal(forger.rebuilt(loot.first), loot.trusting) == "OtherCertificate"


def test_two_swapped_entries_are_refused(loot: Loot) -> None:
    cited = statement_of(loot.first)["predicate"]["log"]["entries"]
    one, two = (f"entries/{item['index']}" for item in cited[:2])
    swapped = dict(loot.first)
    swapped[f"{one}.json"], swapped[f"{two}.json"] = (
        loot.first[f"{two}.json"],
        loot.first[f"{one}.json"],
    )
    assert refusal(swapped, loot.trusting) == "BadInclusion"
    swapped[f"{one}{PROOF}"], swapped[f"{two}{PROOF}"] = (
        loot.first[f"{two}{PROOF}"],
        loot.first[f"{one}{PROOF}"],
    )
    assert refusal(swapped, loot.trusting) == "UnloggedFact"
    leaves = list(loot.retired.leaves)
    places = [item["index"] for item in cited[:2]]
    leaves[places[0]], leaves[places[1]] = leaves[places[1]], leaves[places[0]]
    forger = replace(loot.retired, leaves=leaves)
    assert refusal(forger.rebuilt(loot.first), loot.trusting) == "UnloggedFact"


def test_what_is_truncated_is_refused(loot: Loot) -> None:
    archive = pack(loot.first)
    for length in (0, 1, len(archive) // 2, len(archive) - 1):
        with pytest.raises(Refused) as refused:
            unpack(archive[:length])
        assert refused.value.name == "MalformedEvidence"
    proof = LogProof.parse(loot.first[f"certificate{PROOF}"])
    short = bytes(replace(proof, hashes=proof.hashes[:-1]))
    assert refusal({**loot.first, f"certificate{PROOF}": short}, loot.trusting) == "BadInclusion"
    note = loot.first["checkpoint.txt"][:-100]
    forged = {name: content.replace(loot.first["checkpoint.txt"], note)
              for name, content in loot.first.items()}  # fmt: skip
    assert refusal(forged, loot.trusting) == "MalformedCheckpoint"
    leaf = loot.first["certificate.leaf.json"][:-1]
    forged = {**loot.first, "certificate.leaf.json": leaf}
    assert refusal(forged, loot.trusting) == "MalformedEntry"


def test_another_request_s_certificate_does_not_stand_in(loot: Loot) -> None:
    asked = statement_of(loot.first)["predicate"]["request"]["id"]
    forged = {**loot.first, CERTIFICATE: loot.second[CERTIFICATE]}
    assert refusal(forged, loot.trusting) == "OtherCertificate"
    expected = replace(loot.trusting, request_id=asked)
    verify_evidence(loot.first, expected)
    assert refusal(loot.second, expected) == "OtherRequest"
    disguised = statement_of(loot.second)["predicate"]["request"] | {"id": asked}
    forged = loot.retired.resigned(loot.second, request=disguised)
    assert refusal(forged, expected) == "OtherCertificate"


def test_a_forked_log_is_recognised(loot: Loot) -> None:
    forger = loot.retired.instead(0, b'"actor":"', b'"actor":"x')
    same_size = forger.rebuilt(loot.second, size_of(loot.kept))
    # To whoever kept nothing a fork is as good as any log.
    verify_evidence(same_size, loot.trusting)
    assert refusal(same_size, replace(loot.trusting, pinned=loot.kept)) == "Fork"
    pinned = replace(loot.trusting, pinned=loot.first["checkpoint.txt"])
    assert refusal(same_size, pinned) == "BadConsistency"


def test_a_database_rolled_back_to_yesterday_is_not_signed(loot: Loot) -> None:
    assert "SmallerTree" in loot.refusals
    assert "KeptLost" in loot.refusals
    assert "OtherRoot" not in loot.refusals


def test_a_log_that_was_rolled_back_is_recognised(loot: Loot) -> None:
    verify_evidence(loot.regrown, loot.trusting)
    assert f"consistency/{size_of(loot.kept)}.json" in loot.regrown
    pinned = replace(loot.trusting, pinned=loot.kept)
    assert refusal(loot.regrown, pinned) == "BadConsistency"
    yesterday = {name: content for name, content in loot.first.items() if "consist" not in name}
    assert refusal(yesterday, pinned) == "OlderThanPin"


def test_a_retired_key_is_refused(loot: Loot) -> None:
    old = loot.retired.resigned(loot.after_rotation)
    assert refusal(old, loot.trusting) == "RetiredKey"
    old = loot.retired.resigned_checkpoint(loot.after_rotation)
    assert refusal(old, loot.trusting) == "RetiredKey"
    # What it signed in its time still counts; the new one did not count then.
    verify_evidence(loot.first, loot.trusting)
    assert refusal(loot.current.resigned(loot.first), loot.trusting) == "RetiredKey"
    only_new = replace(loot.trusting, keys=loot.trusting.keys[1:])
    assert refusal(loot.first, only_new) == "UnknownKey"


@pytest.mark.parametrize("place", [0, 8, 1000, -1])
def test_one_changed_byte_of_the_model_is_refused(loot: Loot, tmp_path: Path, place: int) -> None:
    content = bytearray(loot.model.read_bytes())
    content[place] ^= 1
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert refusal(loot.first, replace(loot.trusting, models=(path,))) == "OtherFile"


def test_a_proof_with_garbage_after_it_is_refused(loot: Loot) -> None:
    for name in (
        f"certificate{PROOF}",
        next(n for n in loot.first if n.startswith("entries/") and n.endswith(PROOF)),
    ):
        proof = LogProof.parse(loot.first[name])
        for garbage in (bytes(32), proof.hashes[-1]):
            long = bytes(replace(proof, hashes=(*proof.hashes, garbage)))
            assert refusal({**loot.first, name: long}, loot.trusting) == "BadInclusion"
        for extra in (b"\n", b"garbage\n"):
            forged = {**loot.first, name: loot.first[name] + extra}
            assert refusal(forged, loot.trusting) == "OtherLog"


def test_the_one_file_verifier_says_the_same(loot: Loot, tmp_path: Path) -> None:
    verifier, path, pin = (tmp_path / name for name in ("verify.pyz", "evidence.zip", "kept.txt"))
    build_verifier(verifier)
    pin.write_bytes(loot.kept)
    keys = tmp_path / "keys.json"
    keys.write_bytes(loot.published)
    cases: list[tuple[str, dict[str, bytes], list[str]]] = [
        ("ok: The certificate of request ", loot.first, ["--model", str(loot.model)]),
        ("invalid: BadConsistency: ", loot.regrown, ["--checkpoint", str(pin)]),
        ("untrusted: RetiredKey: ", loot.retired.resigned(loot.after_rotation), []),
        ("invalid: OtherFile: ", loot.first, ["--model", str(pin)]),
    ]
    for start, files, more in cases:
        path.write_bytes(pack(files))
        done = subprocess.run(
            [sys.executable, "-I", str(verifier), str(path), "--keys", str(keys), *more],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={},
        )
        assert done.stdout.startswith(start), done
        assert not done.stderr
