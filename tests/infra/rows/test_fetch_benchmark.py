"""The benchmark of fetching a forget set runs and its stores agree."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_all_stores_fetch_the_same_rows(tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            *(sys.executable, str(ROOT / "benchmarks" / "fetch.py")),
            *("--rows", "300", "--wanted", "50", "--repeats", "2", "--folder", str(tmp_path)),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )

    lines = ran.stdout.splitlines()
    assert lines[0].startswith("50 ids of 300 rows x 784 bytes")
    assert [line.split("  ")[0].strip() for line in lines[1:]] == ["row store", "LMDB", "Parquet"]
    assert list(tmp_path.iterdir()) == []
