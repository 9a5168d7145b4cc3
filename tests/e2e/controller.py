"""What a controller does with the service, in the words of the tests."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.client import ApiProblem, Lethe
from app.client.connection import Document
from tests.e2e.material import COLUMNS, Material, version_order
from tests.e2e.service import KEY, PATIENCE_SECONDS, Service, eventually


@dataclass(frozen=True)
class Registered:
    """Ids of what was registered."""

    dataset_id: str
    model_id: str
    version_id: str


class Controller(Lethe):
    """The client with one key, and a few steps that most tests begin with."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.url, KEY)

    def upload(self, dataset_id: str, file: Path, on_suppressed: str = "refuse") -> Document:
        """Upload a revision and wait for its import; return the revision."""
        self.upload_content(dataset_id, file, on_suppressed=on_suppressed)
        self.wait_for_dataset(dataset_id, PATIENCE_SECONDS)
        return max(self.revisions(dataset_id), key=lambda revision: revision["revision"])

    def dataset_of(self, material: Material, folder: Path, rows: list[int] | None = None) -> str:
        """Register a data set and import its rows."""
        dataset_id: str = self.create_dataset("rows", **COLUMNS)["id"]
        revision = self.upload(dataset_id, material.parquet(folder, rows))
        assert revision["state"] == "ready", revision
        return dataset_id

    def version_of(self, model_id: str, weights: bytes, order: dict[str, Any]) -> Document:
        """Register a version, upload its weights and wait until it is judged."""
        version_id = self.create_version(model_id, order)["id"]
        self.upload_weights(model_id, version_id, weights)
        return self.wait_for_version(model_id, version_id, PATIENCE_SECONDS)

    def register(
        self, material: Material, folder: Path, policy: dict[str, Any] | None = None, **order: Any
    ) -> Registered:
        """Register a data set, a model and a live version."""
        dataset_id = self.dataset_of(material, folder)
        model_id = self.create_model("classifier", policy)["id"]
        found = self.version_of(model_id, material.weights(), version_order(dataset_id, **order))
        assert found["state"] == "live", found
        return Registered(dataset_id, model_id, found["id"])

    def finished(self, request_id: str) -> Document:
        """Wait until a request is done; a person's attention is not what the test wants."""

        def look() -> Document | None:
            found = self.request(request_id)
            assert found["state"] != "needs_attention", (found, self.errors_of(found))
            return found if found["done"] else None

        return eventually(look, what=f"request {request_id}") or {}

    def reached(self, request_id: str, state: str) -> Document:
        """Wait until a request is in a state."""

        def look() -> Document | None:
            found = self.request(request_id)
            return found if found["state"] == state else None

        return eventually(look, what=f"{state} of {request_id}") or {}

    def errors_of(self, request: Document) -> list[Any]:
        return [
            self.job(job)["error"] for target in request["targets"] for job in target["job_ids"]
        ]

    def live_version(self, model_id: str) -> Document:
        return self.version(model_id, self.model(model_id)["live_version_id"])

    def is_withdrawn(self, model_id: str, version_id: str, folder: Path) -> bool:
        """Whether a version is gone for those who want to download it."""
        with pytest.raises(ApiProblem) as problem:
            self.download_weights(model_id, version_id, folder / "none")
        return (problem.value.status, problem.value.code) == (410, "withdrawn")


def require_one_entry_per_change(entries: Iterable[Document]) -> None:
    """Every entity's entries form one chain: each begins where the one before ended."""
    chains: dict[tuple[str, str], list[Document]] = {}
    for entry in entries:
        if entry["to"] is not None:
            key = (entry["entity"]["kind"], entry["entity"]["id"])
            chains.setdefault(key, []).append(entry)
    for key, chain in chains.items():
        assert chain[0]["from"] is None, (key, chain[0])
        states = [entry["from"] for entry in chain[1:]]
        assert states == [entry["to"] for entry in chain[:-1]], (key, chain)
