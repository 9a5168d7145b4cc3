"""The kind of route every resource uses: knows the caller before it reads the body.

FastAPI reads and parses a body before it runs dependencies. Here the key comes first, then
ids that cannot exist, then the media type, and only then the body, strictly.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from anyio import to_thread
from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.api import auth, strict_json
from app.api.errors import BadRequest, UnsupportedMediaType
from app.api.idempotency import Replay
from app.domain.errors import NotFound
from app.infra.ids import PREFIXES

ID = re.compile(rf"({'|'.join(PREFIXES)})_[0-9a-z]{{26}}")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """A request whose ``json`` is read by ``strict_json``."""

    async def json(self) -> Any:
        """Return the parsed body.

        Raises:
            BadJson: It cannot be parsed.
        """
        if not hasattr(self, "_document"):
            self._document = strict_json.read(await self.body())
        return self._document


class PublicRoute(APIRoute):
    """A route that asks for no key."""

    async def admit(self, http_request: Request) -> None:
        """Let everybody in."""

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's handler into the checks that come before it."""
        handler = super().get_route_handler()
        takes_json = self.body_field is not None

        async def answer(plain: Request) -> Response:
            http_request = StrictRequest(plain.scope, plain.receive)
            await self.admit(http_request)
            for name, value in http_request.path_params.items():
                if name.endswith("_id") and not ID.fullmatch(str(value)):
                    raise NotFound
            if takes_json:
                await _check_json(http_request)
            try:
                response = await handler(http_request)
            except Replay as replay:
                return replay.answer
            keeper = getattr(http_request.state, "keeper", None)
            if keeper is not None:
                await keeper.keep(response)
            return response

        return answer


class ApiRoute(PublicRoute):
    """A route for holders of a key."""

    async def admit(self, http_request: Request) -> None:
        """Find the caller.

        Raises:
            Unauthenticated: No key, or an unknown, expired or revoked one.
        """
        header = http_request.headers.get("authorization")
        http_request.state.client = await to_thread.run_sync(auth.authenticate, header)


async def _check_json(http_request: Request) -> None:
    """Refuse other media types, encodings and unreadable JSON before FastAPI sees them.

    Raises:
        UnsupportedMediaType: It is not plain JSON.
        BadRequest: It cannot be read.
    """
    media_type = http_request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = http_request.headers.get("content-encoding", "identity").lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType("this route takes application/json")
    if encoding != "identity":
        raise UnsupportedMediaType("compressed bodies are not accepted")
    try:
        await http_request.json()
    except strict_json.BadJson as error:
        raise BadRequest(str(error), code="malformed-json") from None
