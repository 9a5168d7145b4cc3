"""Signatures of versions in the OpenSSF model-signing format, and the keys that verify them."""

from typing import Any

from fastapi import APIRouter, Response

from app.api.answers import plain
from app.api.dependencies import Downloader, Look, ModelReader
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.api.schemas.signatures import ModelKeyOut, ModelKeysOut
from app.domain.actions import versions
from app.domain.errors import Conflict, Gone, NotFound
from app.domain.queries import catalog
from app.infra import clock
from app.infra.signing import NoSigningKey
from app.infra.signing.model_keys import model_keys
from app.ledger.model_signatures import BUNDLE_TYPE, SIGNATURE_FILE, ModelFile, sign_model

BUNDLE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A Sigstore bundle.", "content": {BUNDLE_TYPE: {}}}
}

router = APIRouter(prefix="/v1", tags=["Weights"], route_class=ApiRoute)


@router.get(
    "/models/{model_id}/versions/{version_id}/model.sig",
    response_class=Response,
    responses=BUNDLE | problems(Conflict, Gone, NotFound),
)
def get_signature(model_id: str, version_id: str, caller: Downloader, tx: Look) -> Response:
    """Sign a version's weights, to be kept beside them as ``model.sig``.

    It is about a folder that holds the file as it is downloaded, ``<version id>.safetensors``.

    Raises:
        NotFound: This service has no key to sign models with.
    """
    version = catalog.version(tx, caller.tenant_id, model_id, version_id)
    versions.require_offered(version)
    file = ModelFile(f"{version.id}.safetensors", (version.digest or "").removeprefix("sha256:"))
    try:
        private = model_keys().signer(clock.now())
    except NoSigningKey as error:
        raise NotFound("Models are not signed here", code="model-not-signed") from error
    return Response(
        sign_model(private, version.id, file),
        headers={"Content-Disposition": f'attachment; filename="{SIGNATURE_FILE}"'},
        media_type=BUNDLE_TYPE,
    )


@router.get("/model-keys", response_model=ModelKeysOut)
def list_model_keys(caller: ModelReader) -> Response:
    """List the public keys that sign models, with the times in which each counts."""
    try:
        items = [ModelKeyOut.model_validate(item) for item in model_keys().document()]
    except NoSigningKey:
        items = []
    return plain(ModelKeysOut(items=items))
