"""Models and their policies."""

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from app.api.answers import created, gone, listed, tagged
from app.api.dependencies import (
    IfMatch,
    IfNoneMatch,
    Look,
    ModelReader,
    ModelWriter,
    Once,
    Paging,
    Tx,
)
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.api.schemas.base import Listing
from app.api.schemas.models import ModelIn, ModelOut, PolicyIn, PolicyOut
from app.domain.actions import models
from app.domain.catalog import Model
from app.domain.errors import Conflict, NotFound, Refused, StaleVersion
from app.domain.queries import catalog

router = APIRouter(prefix="/v1/models", tags=["Models"], route_class=ApiRoute)


@router.post("", status_code=201, response_model=ModelOut, responses=problems(Conflict, Refused))
def create_model(body: ModelIn, caller: ModelWriter, tx: Once) -> Response:
    """Register a model; its versions come next."""
    model = models.create_model(tx, caller.actor, caller.tenant_id, body.order())
    return created(model, ModelOut.of(model, None), f"/v1/models/{model.id}")


@router.get("", response_model=Listing[ModelOut])
def list_models(caller: ModelReader, tx: Look, page: Paging) -> Response:
    """List the models."""
    part = catalog.models(tx, caller.tenant_id, page.order)
    live = catalog.live_version_ids(tx, [model.id for model in part.items])
    return listed(
        page, [ModelOut.of(model, live.get(model.id)) for model in part.items], part.next_cursor
    )


@router.get("/{model_id}", response_model=ModelOut, responses=problems(NotFound))
def get_model(
    model_id: str, caller: ModelReader, tx: Look, if_none_match: IfNoneMatch = None
) -> Response:
    """Show a model."""
    model = catalog.load(tx, Model, caller.tenant_id, model_id)
    return tagged(model, _document(tx, model), if_none_match=if_none_match)


@router.delete("/{model_id}", status_code=204, responses=problems(Conflict, NotFound, StaleVersion))
def delete_model(model_id: str, caller: ModelWriter, tx: Tx, if_match: IfMatch) -> Response:
    """Delete a model; all its versions are withdrawn."""
    models.delete_model(tx, caller.actor, caller.tenant_id, model_id, if_match)
    return gone()


@router.get("/{model_id}/policy", response_model=PolicyOut, responses=problems(NotFound))
def get_policy(
    model_id: str, caller: ModelReader, tx: Look, if_none_match: IfNoneMatch = None
) -> Response:
    """Show a model's policy, defaults filled in."""
    model = catalog.load(tx, Model, caller.tenant_id, model_id)
    return tagged(model, PolicyOut(**model.policy), if_none_match=if_none_match)


@router.put(
    "/{model_id}/policy",
    response_model=PolicyOut,
    responses=problems(Conflict, NotFound, StaleVersion, Refused),
)
def put_policy(
    model_id: str, body: PolicyIn, caller: ModelWriter, tx: Tx, if_match: IfMatch
) -> Response:
    """Replace a model's policy; what is left out takes its default."""
    model = models.put_policy(tx, caller.actor, caller.tenant_id, model_id, body.given(), if_match)
    return tagged(model, PolicyOut(**model.policy))


def _document(tx: Session, model: Model) -> ModelOut:
    return ModelOut.of(model, catalog.live_version_ids(tx, [model.id]).get(model.id))
