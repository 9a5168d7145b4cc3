"""What uploads cost the service in anonymous memory, from the first byte to the last job.

A large network is uploaded and its curvature prepared; many rows are imported; zeros are sent
where Parquet and safetensors belong. Each on a service of its own, and each process of it is
held to the same bar.

    python benchmarks/memory.py
    python benchmarks/memory.py --weights 60 --rows 30000 --zeros 64
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from app.cli.steps import wait_for_curvature
from app.cli.temporary import temporary_service
from app.client import ApiProblem, Lethe
from app.client.connection import Document
from benchmarks.anonymous import Memory, Watch, descendants
from workers.weights import save_weights

MEGABYTE = 2**20
MOST_GROWTH = 300.0
"""MB of anonymous memory that a process may grow by."""
MOST_API = 200.0
"""MB that the API's process may be resident with, mapped files included."""
PATIENCE_SECONDS = 3600.0
SIDE = 4096
INPUTS, CLASSES = 784, 10
BLOCK = 20_000
FEW_ROWS = 400
"""Rows that the network is measured on: what they cost grows with the network, not with them."""


@dataclass(frozen=True)
class Sizes:
    """How much is sent.

    Attributes:
        weights: MB of the network.
        rows: Rows imported.
        width: Bytes in each.
        zeros: MB of zeros.
    """

    weights: int = 500
    rows: int = 1_000_000
    width: int = INPUTS
    zeros: int = 2048


def rows_file(path: Path, rows: int, width: int) -> Path:
    """Write rows of random bytes as Parquet; nine in ten are for training."""
    generator = np.random.default_rng(0)
    schema = pa.schema([
        ("id", pa.string()),
        ("split", pa.string()),
        ("label", pa.int64()),
        ("image", pa.list_(pa.uint8(), width)),
    ])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=["split"]) as writer:
        for start in range(0, rows, BLOCK):
            numbers = range(start, min(start + BLOCK, rows))
            pixels = generator.integers(0, 256, len(numbers) * width, dtype=np.uint8)
            columns = [
                pa.array([f"row-{number}" for number in numbers]),
                pa.array(["test" if number % 10 == 0 else "train" for number in numbers]),
                pa.array([number % CLASSES for number in numbers], pa.int64()),
                pa.FixedSizeListArray.from_arrays(pa.array(pixels), width),
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=BLOCK)
    return path


def layers_of(megabytes: int) -> list[dict[str, Any]]:
    """Describe a dense network of at least so many MB; each square layer has 64 of them."""
    squares = max(1, math.ceil(megabytes * MEGABYTE / (4 * SIDE**2)))
    sizes = [INPUTS, *[SIDE] * (squares + 1), CLASSES]
    layers: list[dict[str, Any]] = [{"type": "flatten"}]
    for incoming, outgoing in pairwise(sizes):
        layers += [
            {"type": "linear", "in_features": incoming, "out_features": outgoing},
            {"type": "relu"},
        ]
    return layers[:-1]


def weights_file(path: Path, layers: list[dict[str, Any]]) -> Path:
    """Write random weights whose outputs are neither zero nor huge."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for number, layer in enumerate(layers):
        if layer["type"] == "linear":
            incoming, outgoing = layer["in_features"], layer["out_features"]
            weight = torch.randn(outgoing, incoming, generator=generator)
            tensors[f"{number}.weight"] = weight.mul_((2 / incoming) ** 0.5)
            tensors[f"{number}.bias"] = torch.zeros(outgoing)
    save_weights(tensors, path)
    return path


def import_rows(client: Lethe, file: Path) -> str:
    """Import rows as a data set of its own; return its id.

    Raises:
        RuntimeError: They were refused.
    """
    roles = {"id": "id", "split": "split", "label": "label"}
    dataset_id: str = client.create_dataset("rows", **roles)["id"]
    client.upload_content(dataset_id, file)
    dataset = client.wait_for_dataset(dataset_id, PATIENCE_SECONDS)
    if dataset["state"] != "ready":
        raise RuntimeError(str(list(client.revisions(dataset_id))))
    return dataset_id


def begin_version(client: Lethe, dataset_id: str, layers: list[dict[str, Any]]) -> Document:
    """Register a model and a version that waits for its weights."""
    model_id = client.create_model("network")["id"]
    order = {
        "dataset_id": dataset_id,
        "training_split": "train",
        "holdout_split": "test",
        "architecture": {"builder": "sequential", "config": {"layers": layers}},
        "inputs": {"kind": "image", "column": "image", "shape": [1, 28, 28], "scale": 1 / 255},
        "objective": "cross_entropy",
    }
    return client.create_version(model_id, order)


def upload_network(client: Lethe, version: Document, file: Path) -> None:
    """Upload weights and wait for all that follows.

    Raises:
        RuntimeError: They were refused, or have no curvature.
    """
    client.upload_weights(version["model_id"], version["id"], file)
    found = client.wait_for_version(version["model_id"], version["id"], PATIENCE_SECONDS)
    if found["state"] != "live":
        raise RuntimeError(str(found["error"]))
    wait_for_curvature(client, version["id"])
    ends = [entry["to"] for entry in client.audit_entries(version_id=version["id"])]
    if "failed" in ends:
        raise RuntimeError("the curvature could not be computed")


def send_zeros(client: Lethe, version: Document, file: Path) -> None:
    """Send zeros as weights and as content.

    Raises:
        RuntimeError: They were not refused as they should be.
    """
    codes = []
    try:
        client.upload_weights(version["model_id"], version["id"], file)
    except ApiProblem as problem:
        codes.append(problem.code)
    dataset_id = client.create_dataset("zeros", id="id")["id"]
    client.upload_content(dataset_id, file)
    client.wait_for_dataset(dataset_id, PATIENCE_SECONDS)
    codes += [revision["error"]["code"] for revision in client.revisions(dataset_id)]
    if codes != ["unsupported-format", "not-parquet"]:
        raise RuntimeError(str(codes))


def watched(act: Callable[[], object]) -> list[Memory]:
    """Watch this program's services while something is done."""
    with Watch(descendants) as watch:
        act()
    return watch.figures()


def measure(sizes: Sizes, folder: Path) -> Iterator[tuple[str, list[Memory]]]:
    """Yield what was done and what it cost each process."""
    layers = layers_of(sizes.weights)
    with temporary_service() as client:
        few = rows_file(folder / "few.parquet", FEW_ROWS, INPUTS)
        version = begin_version(client, import_rows(client, few), layers)
        weights = weights_file(folder / "weights.safetensors", layers)
        title = f"{weights.stat().st_size / MEGABYTE:.0f} MB of weights until curvature is kept"
        yield title, watched(partial(upload_network, client, version, weights))
        weights.unlink()
    with temporary_service() as client:
        many = rows_file(folder / "many.parquet", sizes.rows, sizes.width)
        title = f"import of {sizes.rows} rows x {sizes.width} bytes"
        yield title, watched(partial(import_rows, client, many))
        many.unlink()
    with temporary_service() as client:
        version = begin_version(client, import_rows(client, few), layers)
        zeros = folder / "zeros"
        with zeros.open("wb") as file:
            file.truncate(sizes.zeros * MEGABYTE)
        title = f"{sizes.zeros} MB of zeros as weights and as content"
        yield title, watched(partial(send_zeros, client, version, zeros))


def table_of(title: str, figures: list[Memory]) -> list[str]:
    """Return the lines of one measurement."""
    lines = [title, f"  {'process':12}{'before':>9}{'most':>9}{'growth':>9}{'resident':>10}"]
    for memory in figures:
        sizes = (memory.before / 1024, memory.most / 1024, memory.growth)
        row = "".join(f"{size:9.1f}" for size in sizes)
        lines.append(f"  {memory.name:12}{row}{memory.resident / 1024:10.1f}")
    return lines


def holds(figures: list[Memory]) -> bool:
    """Say whether every process keeps its bars."""
    return all(
        memory.growth < MOST_GROWTH and (memory.name != "api" or memory.resident / 1024 < MOST_API)
        for memory in figures
    ) and {"api", "worker", "pool child", "sweeper"} <= {memory.name for memory in figures}


def main() -> None:
    """Measure, print the table in MB, exit with 1 when a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, size in vars(Sizes()).items():
        parser.add_argument(f"--{name}", type=int, default=size)
    sizes = Sizes(**vars(parser.parse_args()))
    all_hold = True
    with tempfile.TemporaryDirectory(prefix="lethe-memory-") as folder:
        for title, figures in measure(sizes, Path(folder)):
            print("\n".join(table_of(title, figures)), flush=True)
            all_hold &= holds(figures)
    print(f"bars: growth < {MOST_GROWTH:.0f} MB, API resident < {MOST_API:.0f} MB:", end=" ")
    print("kept" if all_hold else "BROKEN")
    sys.exit(not all_hold)


if __name__ == "__main__":
    main()
