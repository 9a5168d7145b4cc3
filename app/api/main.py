"""The application: routes, problem documents, surroundings and its own description."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.api import errors, openapi, transactions
from app.api.middleware import Surroundings
from app.api.routes import (
    access,
    audit,
    datasets,
    disclosures,
    evidence,
    exports,
    jobs,
    log,
    methods,
    models,
    operations,
    registers,
    requests,
    signatures,
    tiles,
    versions,
    weights,
)
from app.domain.actions import bootstrap
from app.infra import logging

ROUTERS = (
    operations.router,
    operations.guarded,
    access.router,
    datasets.router,
    models.router,
    versions.router,
    weights.router,
    signatures.router,
    requests.router,
    evidence.router,
    disclosures.router,
    jobs.router,
    audit.router,
    exports.router,
    tiles.router,
    log.router,
    registers.router,
    methods.router,
)


@asynccontextmanager
async def first_things(app: FastAPI) -> AsyncIterator[None]:
    """Set up the log, make the default tenant and accept the operator's key, at the first start."""
    logging.configure()
    await transactions.write(bootstrap.ensure_bootstrap)
    yield


def create_app() -> FastAPI:
    """Build the application; nothing is opened before it starts."""
    app = FastAPI(
        title="Lethe",
        summary="Takes training data out of deployed neural networks and proves what it did.",
        version=operations.release(),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=first_things,
        separate_input_output_schemas=True,
    )
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app)
    openapi.install(app)
    app.add_middleware(Surroundings)
    return app


app = create_app()
