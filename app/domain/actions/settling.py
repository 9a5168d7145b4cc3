"""A request comes to rest: to withdrawal when every target is terminal, or to a person."""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.actions.queueing import advance, enqueue
from app.domain.audit import Actor
from app.domain.base import move
from app.domain.catalog import Model, Version, VersionTaint
from app.domain.jobs import JOB_DONE_STATES, Job
from app.domain.requests import TARGET_DONE_STATES, Request, Target
from app.infra import clock

WITHDRAW = "withdraw"
UNSETTLED = ("accepted", "scheduled", "running", "publishing", "needs_attention")
INTERRUPTIBLE = ("scheduled", "running", "publishing", "withdrawing")


def settle(tx: Session, actor: Actor, request: Request) -> None:
    """Begin the withdrawal of what a request condemns, if nothing is left to unlearn."""
    if request.state not in UNSETTLED:
        return
    waiting = select(Target.id).where(
        Target.request_id == request.id, Target.state.not_in(TARGET_DONE_STATES)
    )
    if tx.scalar(waiting.limit(1)) is None:
        move(tx, request, "withdrawing", actor)
        queue_withdrawal(tx, actor, request)


def queue_withdrawal(tx: Session, actor: Actor, request: Request) -> Job:
    """Queue the job that destroys weights and rows, after the owners' delay."""
    delay = timedelta(seconds=_delay_seconds(tx, request))
    return enqueue(
        tx,
        actor,
        tenant_id=request.tenant_id,
        kind=WITHDRAW,
        request_id=request.id,
        not_before=clock.database_now(tx) + delay,
    )


def hand_to_a_person(tx: Session, actor: Actor, request: Request, **facts: object) -> None:
    """Make visible that the service cannot go on with a request by itself."""
    if request.state in INTERRUPTIBLE:
        move(tx, request, "needs_attention", actor, **facts)


def pending_withdrawal(tx: Session, request: Request) -> Job | None:
    """Return the job that is to end a request, if it is queued or running."""
    return tx.scalar(
        select(Job).where(
            Job.request_id == request.id,
            Job.kind == WITHDRAW,
            Job.state.not_in(JOB_DONE_STATES),
        )
    )


def has_begun_withdrawal(tx: Session, request: Request) -> bool:
    """Tell whether rows of a request may be gone already."""
    query = select(Job.id).where(
        Job.request_id == request.id, Job.kind == WITHDRAW, Job.attempts > 0
    )
    return tx.scalar(query.limit(1)) is not None


def call_back(tx: Session, actor: Actor, request: Request) -> None:
    """Take a request back from a withdrawal that has not begun: there is more to unlearn."""
    ending = pending_withdrawal(tx, request)
    if ending is not None:
        advance(tx, ending, "cancelled", actor, reason="more-to-unlearn")
    if request.state == "withdrawing":
        move(tx, request, "scheduled", actor)


def _delay_seconds(tx: Session, request: Request) -> float:
    """The longest delay of the models whose superseded weights will go."""
    targeted = select(Target.model_id).where(Target.request_id == request.id)
    condemned = (
        select(Version.model_id)
        .join(VersionTaint, VersionTaint.version_id == Version.id)
        .where(VersionTaint.request_id == request.id, Version.state == "superseded")
    )
    models = tx.scalars(select(Model).where(Model.id.in_(targeted.union(condemned))))
    return max((float(model.policy["withdraw_after_seconds"]) for model in models), default=0.0)
