"""The methods a policy may name."""

from fastapi import APIRouter

from app.api.dependencies import Caller
from app.api.routing import ApiRoute
from app.api.schemas.methods import MethodOut, MethodsOut
from app.domain import methods

router = APIRouter(prefix="/v1", tags=["Models"], route_class=ApiRoute)


@router.get("/methods")
def list_methods(caller: Caller) -> MethodsOut:
    """List the methods: what each does, needs and promises, and its parameters."""
    return MethodsOut(items=[MethodOut(**item) for item in methods.items()])
