"""Datasets, models and versions, as the client sees them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.client.connection import Document
from app.client.transfers import Progress, Transfers, quiet

PATIENCE_SECONDS = 600.0


class Catalog(Transfers):
    """Registers and reads datasets, models and versions."""

    def create_dataset(
        self,
        name: str,
        *,
        id: str,
        subject: str | None = None,
        split: str | None = None,
        label: str | None = None,
        idempotency_key: str | None = None,
    ) -> Document:
        """Register a dataset; the others are names of its columns."""
        columns = {"id": id, "subject": subject, "split": split, "label": label}
        body = {"name": name, "columns": columns}
        return self.post("/v1/datasets", body, idempotency_key=idempotency_key)

    def datasets(self) -> Iterator[Document]:
        """Yield the datasets."""
        return self.pages("/v1/datasets")

    def dataset(self, dataset_id: str) -> Document:
        """Read a dataset."""
        return self.get(f"/v1/datasets/{dataset_id}")

    def delete_dataset(self, dataset_id: str, *, if_match: str | None = None) -> None:
        """Delete a dataset and its rows."""
        self.delete(f"/v1/datasets/{dataset_id}", if_match=if_match)

    def upload_content(
        self,
        dataset_id: str,
        file: Path | bytes,
        *,
        on_suppressed: str = "refuse",
        progress: Progress = quiet,
    ) -> Document:
        """Upload a revision as Parquet; then ``wait_for_dataset``."""
        return self.send_file(
            f"/v1/datasets/{dataset_id}/content",
            file,
            progress=progress,
            parameters={"on_suppressed": on_suppressed},
        )

    def wait_for_dataset(self, dataset_id: str, timeout: float = PATIENCE_SECONDS) -> Document:
        """Wait until the newest revision is ready or refused."""
        return self.until_state_leaves(f"/v1/datasets/{dataset_id}", ("indexing",), timeout)

    def revisions(self, dataset_id: str) -> Iterator[Document]:
        """Yield a dataset's revisions."""
        return self.pages(f"/v1/datasets/{dataset_id}/revisions")

    def revision(self, dataset_id: str, number: int) -> Document:
        """Read one revision."""
        return self.get(f"/v1/datasets/{dataset_id}/revisions/{number}")

    def create_model(
        self,
        name: str,
        policy: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Document:
        """Register a model."""
        body: Document = {"name": name}
        if policy is not None:
            body["policy"] = dict(policy)
        return self.post("/v1/models", body, idempotency_key=idempotency_key)

    def models(self) -> Iterator[Document]:
        """Yield the models."""
        return self.pages("/v1/models")

    def model(self, model_id: str) -> Document:
        """Read a model."""
        return self.get(f"/v1/models/{model_id}")

    def delete_model(self, model_id: str, *, if_match: str | None = None) -> None:
        """Delete a model; its versions are withdrawn."""
        self.delete(f"/v1/models/{model_id}", if_match=if_match)

    def policy(self, model_id: str) -> Document:
        """Read a model's policy."""
        return self.get(f"/v1/models/{model_id}/policy")

    def put_policy(
        self, model_id: str, policy: Mapping[str, Any], *, if_match: str | None = None
    ) -> Document:
        """Replace a model's policy; one that was read may be changed and given back."""
        body = {name: value for name, value in policy.items() if name != "etag"}
        return self.put(f"/v1/models/{model_id}/policy", body, if_match=if_match)

    def methods(self) -> list[Document]:
        """Return the methods that a policy may name."""
        items: list[Document] = self.get("/v1/methods")["items"]
        return items

    def create_version(
        self, model_id: str, version: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Document:
        """Register a version."""
        path = f"/v1/models/{model_id}/versions"
        return self.post(path, version, idempotency_key=idempotency_key)

    def versions(self, model_id: str) -> Iterator[Document]:
        """Yield a model's versions."""
        return self.pages(f"/v1/models/{model_id}/versions")

    def version(self, model_id: str, version_id: str) -> Document:
        """Read a version."""
        return self.get(_version(model_id, version_id))

    def upload_weights(
        self, model_id: str, version_id: str, file: Path | bytes, *, progress: Progress = quiet
    ) -> Document:
        """Upload a version's weights as safetensors; then ``wait_for_version``."""
        return self.send_file(f"{_version(model_id, version_id)}/weights", file, progress=progress)

    def wait_for_version(
        self, model_id: str, version_id: str, timeout: float = PATIENCE_SECONDS
    ) -> Document:
        """Wait until a version's weights are validated or refused."""
        states = ("validating", "candidate")
        return self.until_state_leaves(_version(model_id, version_id), states, timeout)

    def download_weights(
        self, model_id: str, version_id: str, file: Path, *, progress: Progress = quiet
    ) -> str:
        """Download a version's weights; return their digest, checked."""
        path = f"{_version(model_id, version_id)}/weights"
        return self.fetch_file(path, file, progress=progress)

    def download_signature(self, model_id: str, version_id: str, file: Path) -> str:
        """Download the signature of a version's weights, ``model.sig``; return its digest."""
        return self.fetch_file(f"{_version(model_id, version_id)}/model.sig", file)

    def model_keys(self) -> list[Document]:
        """Return the public keys that verify these signatures, with their times."""
        items: list[Document] = self.get("/v1/model-keys")["items"]
        return items

    def downloads(self, model_id: str, version_id: str) -> Iterator[Document]:
        """Yield who downloaded a version."""
        return self.pages(f"{_version(model_id, version_id)}/downloads")

    def report(self, model_id: str, version_id: str) -> Document:
        """Read a version's verification report."""
        return self.get(f"{_version(model_id, version_id)}/report")

    def withdraw_version(
        self, model_id: str, version_id: str, *, if_match: str | None = None
    ) -> Document:
        """Withdraw a version for good."""
        return self.post(f"{_version(model_id, version_id)}/withdrawal", if_match=if_match)


def _version(model_id: str, version_id: str) -> str:
    return f"/v1/models/{model_id}/versions/{version_id}"
