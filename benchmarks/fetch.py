"""Fetch a forget set: 1,000 ids of 1,000,000 rows x 784 bytes to one tensor.

Row store, LMDB and Parquet answer the same question in one process, in turns, on one thread
and with a warm page cache; medians count. Every answer is compared with the others.

    python benchmarks/fetch.py
    python benchmarks/fetch.py --rows 20000 --repeats 3
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.infra.rows import Cells, ColumnSpec, PackedStrings, Roles, RowBatch, RowStore, RowWriter

WIDTH = 784
BLOCK = 1 << 16
"""Rows written at once, and rows in one row group of Parquet."""

Ids = NDArray[np.str_]
Images = NDArray[np.uint8]
Fetch = Callable[[list[str]], Tensor]


def images(start: int, count: int) -> Images:
    """Return rows ``start ..`` of the data set, the same ones whenever they are asked for."""
    return np.random.default_rng(start).integers(0, 256, (count, WIDTH), dtype=np.uint8)


def blocks(ids: Ids) -> list[tuple[int, Ids]]:
    """Return the data set in blocks: where each begins and its ids."""
    return [(start, ids[start : start + BLOCK]) for start in range(0, len(ids), BLOCK)]


def row_store(folder: Path, ids: Ids) -> Fetch:
    """Fill a row store; return how to fetch from it."""
    spec = ColumnSpec("image", "list", "uint8", WIDTH, nullable=False)
    writer = RowWriter.create(folder / "rows", [spec], Roles("id"))
    for start, part in blocks(ids):
        pixels = {"image": Cells(images(start, len(part)))}
        writer.append(RowBatch(PackedStrings.of(part.tolist()), pixels))
    writer.finish()
    store = RowStore.open(folder / "rows")

    def fetch(wanted: list[str]) -> Tensor:
        values, _ = store.read("image", store.find(wanted))
        return torch.from_numpy(np.asarray(values))

    return fetch


def lmdb_store(folder: Path, ids: Ids) -> Fetch:
    """Fill LMDB, in the order of the ids as it likes best; return how to fetch from it."""
    size = 3 * len(ids) * (WIDTH + 64) + (1 << 24)
    environment = lmdb.open(str(folder / "lmdb"), map_size=size, sync=False)
    for start, part in blocks(ids):
        pixels = images(start, len(part))
        with environment.begin(write=True) as transaction:
            for place in np.argsort(part):
                transaction.put(str(part[place]).encode(), pixels[place].tobytes())

    def fetch(wanted: list[str]) -> Tensor:
        with environment.begin(buffers=True) as transaction:
            found = [
                np.frombuffer(transaction.get(name.encode()) or b"", np.uint8) for name in wanted
            ]
            return torch.from_numpy(np.stack(found))

    return fetch


def parquet_file(folder: Path, ids: Ids) -> Fetch:
    """Write Parquet as most people have it; return how to fetch the touched groups from it."""
    path = folder / "rows.parquet"
    schema = pa.schema([("id", pa.string()), ("image", pa.list_(pa.uint8(), WIDTH))])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        for start, part in blocks(ids):
            pixels = pa.array(images(start, len(part)).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(pixels, WIDTH)
            table = pa.table([pa.array(part.tolist()), column], schema=schema)
            writer.write_table(table, row_group_size=BLOCK)
    file = pq.ParquetFile(path, memory_map=True)

    def fetch(wanted: list[str]) -> Tensor:
        stored = file.read(columns=["id"], use_threads=False)["id"]
        rows = pc.index_in(pa.array(wanted), stored.combine_chunks()).to_numpy()
        result = np.empty((len(wanted), WIDTH), np.uint8)
        for group in np.unique(rows // BLOCK):
            inside = np.flatnonzero(rows // BLOCK == group)
            column = file.read_row_group(int(group), columns=["image"], use_threads=False)["image"]
            taken = column.take(pa.array(rows[inside] - group * BLOCK)).combine_chunks()
            result[inside] = taken.flatten().to_numpy().reshape(-1, WIDTH)
        return torch.from_numpy(result)

    return fetch


def milliseconds(call: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1e3


def main() -> None:
    """Fill the stores, fetch in turns, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--wanted", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--folder", type=Path, help="where to put about three times the data")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    numbers = rng.choice(arguments.rows * 7, arguments.rows, replace=False)
    ids = np.array([f"s{number:012x}" for number in numbers])
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        measure(folder, ids, min(arguments.wanted, arguments.rows), arguments.repeats)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, ids: Ids, wanted: int, repeats: int) -> None:
    """Fetch ``wanted`` ids ``repeats`` times from each store and print the table.

    Raises:
        RuntimeError: Two stores give different answers.
    """
    makers = {"row store": row_store, "LMDB": lmdb_store, "Parquet": parquet_file}
    stores = {name: make(folder, ids) for name, make in makers.items()}
    rng = np.random.default_rng(1)
    times: dict[str, list[float]] = {name: [] for name in stores}
    for turn in range(repeats):
        asked = rng.choice(ids, wanted, replace=False).tolist()
        # Reading Parquet takes seconds: three times are enough to see it.
        names = [name for name in stores if name != "Parquet" or turn < 3]
        answers = {}
        for name in names:
            answers[name] = stores[name](asked)  # warms whatever the store has to warm
            times[name].append(milliseconds(partial(stores[name], asked)))
        if not all(torch.equal(answer, answers["row store"]) for answer in answers.values()):
            raise RuntimeError("the stores disagree")
    fastest = statistics.median(times["row store"])
    print(f"{wanted:,} ids of {len(ids):,} rows x {WIDTH} bytes to a uint8 tensor, warm, median")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:<10} {median:12.3f} ms {median / fastest:12.1f} x the row store")


if __name__ == "__main__":
    main()
