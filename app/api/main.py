"""The application: routes, problem documents, surroundings and its own description."""

from fastapi import FastAPI

from app.api import errors, openapi
from app.api.middleware import Surroundings
from app.api.routes import (
    access,
    audit,
    datasets,
    jobs,
    methods,
    models,
    operations,
    requests,
    versions,
    weights,
)

ROUTERS = (
    operations.router,
    operations.guarded,
    access.router,
    datasets.router,
    models.router,
    versions.router,
    weights.router,
    requests.router,
    jobs.router,
    audit.router,
    methods.router,
)


def create_app() -> FastAPI:
    """Build the application; nothing is opened before the first request."""
    app = FastAPI(
        title="Lethe",
        summary="Takes training data out of deployed neural networks and proves what it did.",
        version=operations.release(),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=True,
    )
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app)
    openapi.install(app)
    app.add_middleware(Surroundings)
    return app


app = create_app()
