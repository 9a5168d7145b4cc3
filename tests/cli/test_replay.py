"""``lethe replay`` in a process of its own, on what workers did before it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app.infra.migrate import upgrade_to_head
from tests.domain.conftest import forget_settings
from tests.workers.test_replaying import LATER, SOON, corrected, deleted, served

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A data folder with a correction whose inputs are held, and a deletion that is over."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LETHE_HOME", str(home))
        forget_settings()
        upgrade_to_head(f"sqlite:///{home / 'lethe.db'}")
        jobs = {
            "correction": served(home, corrected, LATER, "sparse_newton")[2],
            "deletion": served(home, deleted, SOON, "sparse_newton")[2],
        }
        forget_settings()
    return home, jobs


def run(home: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "replay", *arguments],
        cwd=ROOT,
        env={**os.environ, "LETHE_HOME": str(home), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.stderr or done.returncode == 2, done.stderr
    return done.returncode, done.stdout


def test_a_correction_is_repeated_bit_for_bit_by_another_process(
    worked: tuple[Path, dict[str, str]],
) -> None:
    home, jobs = worked
    status, said = run(home, jobs["correction"])

    assert status == 0, said
    assert said.splitlines()[-1].startswith("identical: every bit is as published (sha256:")


def test_other_kernels_agree_within_the_tolerance_and_on_the_selected_set(
    worked: tuple[Path, dict[str, str]],
) -> None:
    home, jobs = worked
    status, said = run(home, jobs["correction"], ATEN_CPU_CAPABILITY="default")

    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        # This machine has no other kernels.
        assert status == 0
        return
    assert status == 3, said
    assert "not comparable bit for bit: cpu_capability: DEFAULT instead of" in said
    assert "agrees within the tolerance" in said
    assert "and the same 14 scalars were changed" in said


def test_a_deletion_that_is_over_cannot_be_repeated(worked: tuple[Path, dict[str, str]]) -> None:
    home, jobs = worked
    status, said = run(home, jobs["deletion"])

    assert status == 5
    assert said.startswith("cannot be replayed: the requests it served have ended")


def test_wrong_usage_has_a_status_of_its_own(worked: tuple[Path, dict[str, str]]) -> None:
    home, _ = worked
    assert run(home, "job_none") == (2, "there is no job job_none\n")
    assert run(home)[0] == 2
