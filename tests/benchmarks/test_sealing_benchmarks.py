"""The log's benchmarks keep the bars that do not depend on how busy the machine is."""

import subprocess
import sys

from benchmarks.sealing import tall
from benchmarks.sealing.apart import apart


def test_a_log_of_some_thousand_entries() -> None:
    found = apart("scale", entries=3000)

    assert (found["size"], found["faults"]) == (3000, 0)
    assert found["hashes"] == 12
    assert min(found[name] for name in ("appended", "sealed", "derived")) > 0
    assert 0 < found["inclusion_median"] <= found["inclusion_slowest"]


def test_proofs_of_a_tree_that_nobody_holds() -> None:
    found = tall.measure(40_000)

    assert (found["leaves"], found["inclusion"]) == (40_000, 16)
    assert found["consistency"] <= 17
    assert found["growth"] < 32


def test_the_command_says_whether_the_bars_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sealing", "tall", "--leaves", "1000"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1000 leaves: 10 hashes prove a leaf, ")
