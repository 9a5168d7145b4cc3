"""A version is downloaded with its signature, and the public package verifies both."""

from pathlib import Path

import httpx
import pytest
from model_signing import verifying

from app.client import ApiProblem, Lethe
from app.infra.settings import settings
from app.infra.signing.model_keys import rotate_model_keys
from tests.api.conftest import Service, running
from tests.api.registered import VERSION, live_version, ready_dataset
from tests.api.test_conventions import problem

DATABASES = ("sqlite",)


def downloaded(client: Lethe, folder: Path) -> Path:
    """Download a version as a client would keep it; return the folder."""
    live = live_version(client)
    model = folder / "model"
    model.mkdir()
    file = model / f"{live.version_id}.safetensors"
    client.download_weights(live.model_id, live.version_id, file)
    client.download_signature(live.model_id, live.version_id, model / "model.sig")
    return model


def verify(model: Path, key: str) -> None:
    pem = model.parent / "key.pem"
    pem.write_text(key)
    config = verifying.Config().use_elliptic_key_verifier(public_key=pem)
    config.verify(model, model / "model.sig")


def test_the_public_package_verifies_what_is_downloaded(client: Lethe, tmp_path: Path) -> None:
    model = downloaded(client, tmp_path)
    [key] = client.model_keys()
    assert key["valid_until"] is None

    verify(model, key["public_key"])

    [weights] = model.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="mismatch"):
        verify(model, key["public_key"])


def test_a_signature_takes_what_a_download_takes(
    service: Service, client: Lethe, http: httpx.Client
) -> None:
    model_id = client.create_model("m")["id"]
    version = client.create_version(model_id, {**VERSION, "dataset_id": ready_dataset(client)})
    path = f"/v1/models/{model_id}/versions/{version['id']}/model.sig"
    problem(http.get(path), 409, "weights-not-offered")
    live = live_version(client)
    with (
        service.client(service.key("models:read")) as reader,
        pytest.raises(ApiProblem, match="403"),
    ):
        reader.download_signature(live.model_id, live.version_id, Path("unwritten"))
    with (
        service.client(service.tenant()[1]) as stranger,
        pytest.raises(ApiProblem, match="404"),
    ):
        stranger.download_signature(live.model_id, live.version_id, Path("unwritten"))
    client.withdraw_version(live.model_id, live.version_id)
    problem(http.get(f"{live.path}/model.sig"), 410, "withdrawn")


def test_after_a_rotation_and_a_restart_old_signatures_verify_with_the_old_key(
    tmp_path: Path,
) -> None:
    folders = {name: tmp_path / name for name in ("home", "before", "after")}
    for folder in folders.values():
        folder.mkdir()
    with running(folders["home"]) as service, service.client() as client:
        before = downloaded(client, folders["before"])
        rotate_model_keys(settings())
    with running(folders["home"]) as service, service.client() as client:
        after = downloaded(client, folders["after"])
        old, new = client.model_keys()
    assert old["valid_until"] == new["valid_from"]

    verify(before, old["public_key"])
    verify(after, new["public_key"])
    with pytest.raises(ValueError, match="Key mismatch"):
        verify(before, new["public_key"])
