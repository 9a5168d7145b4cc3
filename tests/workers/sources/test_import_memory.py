"""Importing does not hold the file in memory, even when it is one row group."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS, WIDTH = 300_000, 784
PART = 20_000

# Prints by how many kB the anonymous memory of a fresh process grows at most.
IMPORT = """
import sys, threading
from pathlib import Path
from app.infra.rows import Roles
from workers.sources.parquet import import_parquet

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])

before, most, done = anonymous(), 0, threading.Event()
def watch():
    global most
    while not done.wait(0.01):
        most = max(most, anonymous())
watcher = threading.Thread(target=watch)
watcher.start()
imported = import_parquet(Path(sys.argv[1]), Path(sys.argv[2]), Roles("id"))
done.set()
watcher.join()
print(imported.rows, most - before)
"""


def test_one_row_group_of_235_megabytes_adds_less_than_150(tmp_path: Path) -> None:
    # Each list in turn repeats one byte: the file is small, what is decoded is not.
    pixels = np.repeat(np.arange(PART, dtype=np.int64).astype(np.uint8), WIDTH)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(pixels), WIDTH)
    image = pa.chunked_array([lists] * (ROWS // PART))
    table = pa.table({"id": pa.array(np.arange(ROWS)), "image": image})
    pq.write_table(table, tmp_path / "f.parquet", row_group_size=ROWS, compression="zstd")
    assert pq.ParquetFile(tmp_path / "f.parquet").num_row_groups == 1

    rows, grown = grown_by(tmp_path)
    assert rows == ROWS
    assert grown < 150_000


def test_a_text_that_every_row_repeats_is_not_written_out_at_once(tmp_path: Path) -> None:
    # 58 kB of Parquet: the text stands once in a dictionary; its rows take 600 MB.
    count = 20_000
    table = pa.table({"id": pa.array(np.arange(count)), "text": ["y" * 30_000] * count})
    pq.write_table(table, tmp_path / "f.parquet", row_group_size=count)
    rows, grown = grown_by(tmp_path)
    assert rows == count
    assert grown < 150_000


def grown_by(folder: Path) -> tuple[int, int]:
    """Import in a process of its own; return the rows and by how many kB it grew."""
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT, str(folder / "f.parquet"), str(folder / "rows")],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    rows, grown = map(int, ran.stdout.split())
    return rows, grown
