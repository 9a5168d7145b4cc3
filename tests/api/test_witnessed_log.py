"""A service that has witnesses: what it shows of them, and evidence that they stand behind."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from app.cli.witness import trust
from app.client import ApiProblem, Lethe
from app.infra import signing
from app.infra.settings import settings
from app.ledger.__main__ import main as verify
from app.ledger.checkpoints import Checkpoint, cosigned_at
from app.ledger.notes import Note
from tests.api.conftest import Service, running
from tests.api.registered import live_version
from tests.ledger.case import WITNESSES
from tests.sealed import append, seal
from tests.servers import free_port
from tests.witness.witnesses import RunningWitness
from tests.witness.witnesses import running as running_witness
from workers.cosigning import Cosigning
from workers.supervision import Sealer

DOWN = WITNESSES[0].key


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWitness]:
    with running_witness(tmp_path_factory.mktemp("witness")) as started:
        yield started


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, witness: RunningWitness) -> Iterator[Service]:
    """One that asks a witness, and another one that does not answer and is not needed."""
    home = tmp_path_factory.mktemp("home")
    (home / "witnesses.txt").write_text(
        f"witness north {witness.key} {witness.address}\n"
        f"witness south {DOWN} http://127.0.0.1:{free_port()}\n"
        "group one any north south\nquorum one\n"
    )
    with running(home) as started:
        trust(witness.home, str(signing.keyring().keys[0].trusted.key))
        yield started


def ask() -> None:
    """Ask all witnesses, as the supervision does."""
    for name, party in settings().witness_policy.witnesses.items():
        Cosigning(name, party.key, party.url or "", timedelta(hours=1)).tick()


def size_of(note: bytes) -> int:
    return Checkpoint.parse(Note.parse(note).text).size


def figures(client: Lethe) -> dict[str, float]:
    lines = (line for line in client.metrics().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_checkpoints_are_shown_with_their_cosignatures(
    client: Lethe, witness: RunningWitness
) -> None:
    append(2)
    size = seal()
    with pytest.raises(ApiProblem) as missing:
        client.checkpoint(cosigned=True)
    assert (missing.value.status, missing.value.code) == (404, "nothing-cosigned")
    assert size_of(client.checkpoint()) == size
    ask()
    note = Note.parse(client.checkpoint())
    assert cosigned_at(note, witness.key) is not None
    append(1)
    assert seal() == size + 1
    assert size_of(client.checkpoint()) == size + 1
    assert client.checkpoint(cosigned=True) == bytes(note)


def test_a_witness_that_does_not_answer_is_seen(client: Lethe, witness: RunningWitness) -> None:
    append(1)
    seal()
    ask()
    append(1)
    size = seal()
    append(1)
    seen = figures(client)
    assert seen["lethe_log_size"] == seen["lethe_log_signed_size"] == size
    assert seen["lethe_log_unsealed"] >= 1
    assert seen["lethe_log_checkpoint_age_seconds"] < 60
    assert seen["lethe_log_quorum_size"] == size - 1
    assert seen['lethe_witness_size{witness="north"}'] == size - 1
    assert seen['lethe_witness_age_seconds{witness="north"}'] < 60
    assert seen['lethe_witness_size{witness="south"}'] == 0
    assert seen['lethe_witness_age_seconds{witness="south"}'] == float("inf")


def test_evidence_is_verified_offline_with_a_policy(
    client: Lethe, witness: RunningWitness, tmp_path: Path
) -> None:
    live = live_version(client)
    request = client.submit_deletion(live.dataset_id, sample_ids=["nobody"])
    Sealer().tick()
    policy, file = tmp_path / "trust.txt", tmp_path / "evidence.zip"
    log_key = client.log_keys()[0]["vkey"]
    policy.write_text(f"log {log_key}\nwitness w {witness.key}\nquorum w\n")
    client.download_evidence(request["id"], file)
    assert verify([str(file), "--policy", str(policy)]) == 3
    kept = tmp_path / "kept.txt"
    kept.write_bytes(client.checkpoint())
    ask()
    append(3)
    seal()
    client.download_evidence(request["id"], file)
    assert verify([str(file), "--policy", str(policy), "--checkpoint", str(kept)]) == 0
    # A reader who has kept a newer checkpoint than the one with a quorum goes on as well.
    kept.write_bytes(client.checkpoint())
    assert size_of(kept.read_bytes()) > size_of(client.checkpoint(cosigned=True))
    assert verify([str(file), "--policy", str(policy), "--checkpoint", str(kept)]) == 0
    policy.write_text(f"log {log_key}\nwitness w {DOWN}\nquorum w\n")
    assert verify([str(file), "--policy", str(policy)]) == 3


def test_other_questions_are_refused(http: httpx.Client) -> None:
    assert http.get("/v1/log/checkpoint?cosigned=perhaps").status_code == 422
