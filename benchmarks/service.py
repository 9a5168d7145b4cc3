"""The service as benchmarks use it: in a temporary home, over HTTP, with bars on a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.torch import load_file
from torch import nn

from app.cli.steps import jobs_of, register_version, seconds_of
from app.cli.temporary import temporary_service
from app.client import Lethe
from app.client.connection import Document

COLUMNS = {"id": "sample_id", "subject": "subject_id", "split": "split", "label": "label"}
"""How the data sets of the benchmarks name their columns."""


@dataclass(frozen=True)
class Bench:
    """A running service and what goes with it.

    Attributes:
        client: With the admin key.
        folder: For files; removed in the end.
        progress: Bars.
    """

    client: Lethe
    folder: Path
    progress: Progress

    def register(
        self, name: str, policy: dict[str, Any], order: dict[str, Any], weights: bytes
    ) -> Document:
        """Register a model of its own for a policy; return its live version."""
        model_id = self.client.create_model(name, policy)["id"]
        return register_version(self.client, model_id, order, weights, self.progress)

    def result(self, request: Document, version: Document, network: nn.Module) -> Document:
        """Load what a request made of a version into ``network``; return the job's report.

        The report of the job whose result was published; ``seconds_in_all`` counts its
        predecessors too.
        """
        jobs = jobs_of(self.client, request, version["id"])
        result_id = jobs[-1]["result_version_id"]
        file = self.folder / f"{result_id}.safetensors"
        self.client.download_weights(version["model_id"], result_id, file)
        network.load_state_dict(load_file(file))
        network.eval()
        return {**jobs[-1]["report"], "seconds_in_all": seconds_of(jobs)}


@contextmanager
def bench(threads: int = 1) -> Iterator[Bench]:
    """Run the service for the benchmark; nothing of it is left afterwards."""
    bars = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        TemporaryDirectory(prefix="lethe-bench-") as folder,
        Progress(*bars, console=Console(stderr=True), transient=True) as progress,
        temporary_service(threads) as client,
    ):
        yield Bench(client, Path(folder), progress)
