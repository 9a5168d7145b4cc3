"""The demonstration: its own arithmetic, and the whole of it against the real service."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.testing import assert_close

from app.cli.demo.command import judge
from app.cli.demo.digits import CLASSES, load_digits
from app.cli.demo.ending import ending_on_sigterm
from app.cli.demo.figures import Figures
from app.cli.demo.network import ARCHITECTURE, network
from app.cli.demo.story import Outcome, Told, disagreements
from app.cli.demo.training import (
    LEVEL,
    Plan,
    Trained,
    accuracy,
    membership_auc,
    same_mix,
    train_until_level,
)
from app.cli.temporary import temporary_service
from app.unlearning import architectures
from tests.e2e.service import eventually

DEMO = [sys.executable, "-m", "app.cli.main", "demo", "--seeds", "1", "--most-epochs"]


def started_in(folder: Path) -> list[psutil.Process]:
    """The processes that were told of this folder by their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            told = process.environ().values()
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in value for value in told):
            found.append(process)
    return found


def demonstration(folder: Path, epochs: int) -> "subprocess.Popen[str]":
    """Start the command with a folder for everything temporary."""
    return subprocess.Popen(
        [*DEMO, str(epochs)],
        env={**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_demonstration_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    with demonstration(tmp_path, epochs=14) as command:
        output, _ = command.communicate(timeout=240)

    assert command.returncode == 0, output
    for line in (
        "before correction",
        "after correction",
        "before deletion",
        "after deletion",
        "retrained from scratch",
        "request.fulfilled",
        "rows.erased",
        "of the lost accuracy is back",
        "of the retraining time",
    ):
        assert line in output
    assert started_in(tmp_path) == []
    assert list(tmp_path.glob("lethe-*")) == []


def test_interrupted_demonstration_leaves_nothing(tmp_path: Path) -> None:
    with demonstration(tmp_path, epochs=1) as command:
        assert command.stdout is not None
        seen = ""
        while "the service is up" not in seen:
            line = command.stdout.readline()
            assert line, seen
            seen += line
        assert started_in(tmp_path)
        command.send_signal(signal.SIGTERM)
        output, _ = command.communicate(timeout=60)

    assert command.returncode == 128 + signal.SIGTERM, seen + output
    deadline = time.monotonic() + 10
    while started_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert started_in(tmp_path) == []
    assert list(tmp_path.glob("lethe-*")) == []


def test_sigterm_ends_work_that_lost_the_first_exception() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        with suppress(SystemExit):  # as in a finaliser, where Python drops what is raised
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        time.sleep(30)

    with pytest.raises(SystemExit) as ended, ending_on_sigterm():
        work()

    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_temporary_service_is_not_led_to_the_database_of_the_surroundings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    monkeypatch.setenv("LETHE_DATABASE_URL", f"sqlite:///{elsewhere}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with temporary_service() as client:
        assert list(client.datasets()) == []
        client.create_model("of the demonstration")

    assert not elsewhere.exists()


def test_error_brings_the_last_words_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def stumble() -> None:
        (log,) = tmp_path.glob("lethe-*/service.log")
        # It answers a moment before it says so.
        assert eventually(lambda: "Lethe listens on http://127.0.0.1:" in log.read_text())
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError) as error, temporary_service():
        stumble()

    assert "Lethe listens on http://127.0.0.1:" in error.value.__notes__[0]


@pytest.mark.parametrize("seed", range(5))
def test_who_leaves_owns_few_enough_rows_and_nobody_who_may_owns_more(seed: int) -> None:
    digits = load_digits(seed)
    rows = np.bincount(digits.writers[~digits.is_held_out])
    few = rows[rows <= 0.05 * rows.sum()]

    assert rows[digits.leaving_writer()] == few.max()
    assert rows.max() > few.max()  # the busiest would be retrained for


def test_a_third_of_the_training_labels_are_one_too_high_and_no_held_out_one() -> None:
    digits = load_digits(seed=5)

    wrong = digits.labels != digits.truth
    assert np.array_equal(wrong, digits.is_flipped)
    assert not (wrong & digits.is_held_out).any()
    assert np.array_equal(digits.labels[wrong], (digits.truth[wrong] + 1) % CLASSES)
    assert 0.3 < wrong[~digits.is_held_out].mean() < 0.4


def test_network_is_the_one_that_is_registered() -> None:
    torch.manual_seed(3)
    own = network().state_dict()

    built = architectures.initialise(ARCHITECTURE, 3).state_dict()

    assert list(own) == list(built)
    for name, tensor in own.items():
        assert torch.equal(tensor, built[name]), name


def test_membership_auc_counts_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    members = torch.randint(4, (7,), generator=generator).float()
    strangers = torch.randint(4, (5,), generator=generator).float()
    weights = torch.rand(5, generator=generator).double()

    wins = sum(
        float(weight) * (1.0 if member < stranger else 0.5 if member == stranger else 0.0)
        for member in members.tolist()
        for stranger, weight in zip(strangers.tolist(), weights.tolist(), strict=True)
    )
    assert_close(membership_auc(members, strangers, weights), wins / (7 * float(weights.sum())))


def test_strangers_get_the_label_mix_of_the_members() -> None:
    members = torch.tensor([0, 0, 0, 2])
    strangers = torch.tensor([0, 1, 2, 2, 0])

    weights = same_mix(members, strangers)

    mix = [float(weights[strangers == label].sum()) for label in range(3)]
    assert mix == [3.0, 0.0, 1.0]


def test_training_ends_where_accuracy_has_levelled_off() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(600, 8)
    labels = (inputs @ torch.randn(8, 3)).argmax(1)
    held_out = (inputs[:300], labels[:300])
    plan = Plan(lambda: nn.Sequential(nn.Linear(8, 3)), 0.03, 16, seed=1)
    seen: list[tuple[float, float]] = []

    def watch(trained: Trained) -> None:
        seen.append((accuracy(trained.model, *held_out), trained.seconds))

    found = train_until_level(plan, (inputs[300:], labels[300:]), held_out, 12, watch)

    reached = [value for value, _ in seen]
    assert reached[found.epochs - 1] >= max(reached) - LEVEL
    assert all(value < max(reached) - LEVEL for value in reached[: found.epochs - 1])
    assert accuracy(found.model, *held_out) == reached[found.epochs - 1]
    assert found.seconds == seen[found.epochs - 1][1]


REPORT = {
    "measurements": [
        {"name": "holdout_accuracy", "after": 0.95},
        {"name": "holdout_loss", "after": 0.2},
    ],
    "cost": {"parameters_changed": 5, "parameters_total": 100},
}
OUTCOME = Outcome(
    before=Figures(accuracy=0.75, loss=0.7, auc=0.6),
    after=Figures(accuracy=0.95, loss=0.2, auc=0.5),
    retrained=Figures(accuracy=0.97, loss=0.1, auc=0.5),
    seconds=1.0,
    retraining_seconds=4.0,
    changed_share=0.05,
    report=REPORT,
)


@contextmanager
def judged(correction: Outcome) -> Iterator[tuple[list[str], str]]:
    """Faults found in a story with this correction, and what was printed."""
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    faults = judge(console, [Told(1, correction, OUTCOME, [])])
    yield faults, console.export_text()
    console.file.close()


def test_good_story_has_no_fault_and_prints_the_time_share() -> None:
    with judged(OUTCOME) as (faults, printed):
        assert faults == []
        assert "25.0% of the retraining time" in printed


@pytest.mark.parametrize(
    ("correction", "fault"),
    [
        (replace(OUTCOME, after=Figures(0.93, 0.2, 0.5)), "only 81.8% of the lost accuracy"),
        (replace(OUTCOME, changed_share=0.06), "changed 6.00% of the parameters"),
        (replace(OUTCOME, faults=["the digest is wrong"]), "seed 1: the digest is wrong"),
    ],
)
def test_bad_story_is_faulted(correction: Outcome, fault: str) -> None:
    with judged(correction) as (faults, _):
        assert [fault in found for found in faults] == [True]


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        (replace(OUTCOME, changed_share=0.04), "parameters changed"),
        (replace(OUTCOME, after=Figures(0.94, 0.2, 0.5)), "holdout_accuracy"),
        (replace(OUTCOME, after=Figures(0.95, 0.21, 0.5)), "holdout_loss"),
    ],
)
def test_report_that_is_not_confirmed_from_outside_is_named(seen: Outcome, name: str) -> None:
    assert disagreements(OUTCOME) == []
    assert [line.partition(":")[0] for line in disagreements(seen)] == [name]
