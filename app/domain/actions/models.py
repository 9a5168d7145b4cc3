"""Models are registered, given a policy and deleted."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import audit, policy
from app.domain.actions.versions import withdraw
from app.domain.audit import Actor
from app.domain.base import begin, move
from app.domain.catalog import Model, Version
from app.domain.orders import ModelOrder
from app.domain.queries.catalog import load
from app.domain.texts import refuse_if, text_faults
from app.infra.ids import new_id

MOST_NAME = 200


def create_model(tx: Session, actor: Actor, tenant_id: str, order: ModelOrder) -> Model:
    """Register a model.

    Raises:
        Refused: An unusable name or policy.
    """
    refuse_if(text_faults(order.name, "/name", most=MOST_NAME))
    model = Model(
        id=new_id("mdl"),
        tenant_id=tenant_id,
        state="active",
        name=order.name,
        policy=policy.complete(order.policy, "/policy"),
    )
    begin(tx, model, actor)
    return model


def put_policy(
    tx: Session,
    actor: Actor,
    tenant_id: str,
    model_id: str,
    wanted: Mapping[str, Any],
    if_match: str | None = None,
) -> Model:
    """Replace a model's policy; jobs that are queued keep the one they were queued under.

    Raises:
        NotFound: There is no such model.
        StaleVersion: It is not the one the caller has read.
        Refused: ``invalid-policy``.
    """
    model = load(tx, Model, tenant_id, model_id, lock=True)
    model.require_etag(if_match)
    model.policy = policy.complete(wanted)
    tx.flush()
    audit.append(
        tx,
        tenant_id=tenant_id,
        type="model.policy_replaced",
        actor=actor,
        entity_kind=model.KIND,
        entity_id=model.id,
        links=audit.Links(facts={"policy": model.policy}),
    )
    return model


def delete_model(
    tx: Session, actor: Actor, tenant_id: str, model_id: str, if_match: str | None = None
) -> Model:
    """Delete a model and withdraw all its versions.

    Raises:
        NotFound: There is no such model.
        StaleVersion: It is not the one the caller has read.
    """
    model = load(tx, Model, tenant_id, model_id, lock=True)
    model.require_etag(if_match)
    for version in tx.scalars(
        select(Version).where(Version.model_id == model.id).order_by(Version.id)
    ):
        if version.state != "withdrawn":
            withdraw(tx, actor, version)
    move(tx, model, "deleted", actor)
    return model
