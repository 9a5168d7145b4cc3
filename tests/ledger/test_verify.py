"""Right evidence is accepted, and the command says how it ended."""

import json
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from app.ledger.__main__ import main
from app.ledger.certificates import Gate
from app.ledger.verify import Outcome, pack, read_evidence, verify_evidence
from tests.ledger.case import (
    ISSUER,
    LOG,
    MODEL,
    ORIGIN,
    WITNESS_KEYS,
    WITNESSES,
    BuiltLog,
    at,
    at_least,
    certificate,
    facts,
    filled,
    good_case,
    issue,
    pack_files,
    run,
    trusting,
    with_followup,
)
from tests.ledger.forging import CASE, FILES, certified, cosigned, evidence_of

ROOT = Path(__file__).parents[2]


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
    expected = replace(trusting(), witnesses=WITNESS_KEYS, is_quorum=at_least(2))

    verify_evidence(files, expected)


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
    shown = verify_evidence(read_evidence(archive), trusting())
    seconds = time.perf_counter() - began

    assert shown == verify_evidence(read_evidence(folder), trusting())
    assert seconds < 1


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


@pytest.mark.parametrize(
    ("quorum", "cosigners", "status"),
    [("none", (), 0), ("group all all a b\nquorum all", (0, 1), 0),
     ("group all all a b\nquorum all", (0, 2), 3), ("quorum a", (), 3), ("quorum a", (0,), 0)],
)  # fmt: skip
def test_the_command_takes_whom_to_trust_from_a_policy(
    quorum: str, cosigners: tuple[int, ...], status: int, tmp_path: Path
) -> None:
    path, policy = tmp_path / "evidence.zip", tmp_path / "trust.txt"
    path.write_bytes(pack(cosigned(*cosigners)))
    lines = [f"log {LOG.key}"]
    lines += [f"witness {n} {w.key}" for n, w in zip("abc", WITNESSES, strict=True)]
    lines.append(quorum if quorum != "none" else "quorum none")
    policy.write_text("\n".join(lines))
    options = ["--key", str(ISSUER.key), "--policy", str(policy)]

    assert main([str(path), *options]) == status
    # A witness named beside the policy has to have cosigned besides.
    more = ["--witness", str(WITNESSES[2].key)]
    assert main([str(path), *options, *more]) == (status if 2 in cosigners else 3)
    policy.write_text("quorum")
    assert main([str(path), *options]) == 2


def test_times_of_a_key_count_although_a_policy_has_none(tmp_path: Path) -> None:
    path, policy, keys = (tmp_path / name for name in ("evidence.zip", "trust.txt", "keys.json"))
    path.write_bytes(pack(FILES))
    policy.write_text(f"log {LOG.key}\nquorum none\n")
    keys.write_text(json.dumps({"items": [{"vkey": str(LOG.key), "valid_until": at(3)}]}))
    options = ["--key", str(ISSUER.key), "--policy", str(policy)]

    assert main([str(path), *options]) == 0
    assert main([str(path), *options, "--keys", str(keys)]) == 3


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


def test_evidence_or_a_model_that_is_not_there_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    keys = ["--key", str(LOG.key), "--key", str(ISSUER.key)]
    assert main([str(path), *keys]) == Outcome.MALFORMED
    path.write_bytes(pack(FILES))
    assert main([str(path), *keys, "--model", str(tmp_path / "absent")]) == Outcome.MALFORMED
