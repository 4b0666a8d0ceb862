"""The HTTP side of a server as an ASGI application: routes, and what holds for every request. Listens to nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from foveal_runtime.errors import NotFoundError
from foveal_runtime.http.call import Receive, Scope
from foveal_runtime.http.console import console_routes
from foveal_runtime.http.endpoint import JSON, Begin, CallEndpoint, ContractExchange, Send, respond
from foveal_runtime.http.inference import AskExchange, InferExchange
from foveal_runtime.http.openapi import document
from foveal_runtime.http.origins import Origins
from foveal_runtime.http.problems import problem
from foveal_runtime.http.routes import OPEN, Route, calls, protocol_routes, routes, streams
from foveal_runtime.rpc.counts import counts

if TYPE_CHECKING:
    from foveal_runtime.rpc.doors import Inside

log = logging.getLogger(__name__)
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Of every answer that does not set them itself: nothing of it is kept, guessed at, or told to another site."""


def make_app(inside: Inside) -> Callable[[Any, Any, Any], Any]:
    """The application of a server."""
    app = Starlette(
        routes=[
            *(StarletteRoute(route.path, endpoint, methods=[route.verb]) for route, endpoint in _endpoints(inside)),
            *(StarletteRoute(path, _stream, methods=["POST"]) for path in streams()),
            *console_routes(),
            *(StarletteRoute(path, answer, methods=["GET"]) for path, answer in _open_answers(inside).items()),
        ],
        exception_handlers={HTTPException: _refuse, Exception: _fail},
    )
    app.router.redirect_slashes = False
    return Guarded(app, Origins(inside.config.http, inside.config.http_origins))


def _endpoints(inside: Inside) -> Iterator[tuple[Route, CallEndpoint]]:
    limits = counts(inside.config.max_studies)
    contract = {
        call.full_name: CallEndpoint(inside, call, partial(ContractExchange, call, limits)) for call in calls().values()
    }
    for route in routes():
        yield route, contract[route.call.full_name]
    for route in protocol_routes():
        begin: Begin = InferExchange if route.call.name == "ModelInfer" else partial(AskExchange, route.call)
        yield route, CallEndpoint(inside, route.call, begin)


def _open_answers(inside: Inside) -> Mapping[str, Callable[[Request], Response]]:
    """By the paths of `OPEN`."""
    contract = json.dumps(document(counts(inside.config.max_studies)), ensure_ascii=False).encode()

    def healthz(request: Request) -> Response:
        return _json(200, {"status": "SERVING"})

    def readyz(request: Request) -> Response:
        serving = inside.health.is_serving()
        return _json(200 if serving else 503, {"status": "SERVING" if serving else "NOT_SERVING"})

    def openapi(request: Request) -> Response:
        return Response(contract, media_type=JSON)

    return dict(zip(OPEN, map(_awaited, (healthz, readyz, openapi, healthz, readyz)), strict=True))


def _awaited(answer: Callable[[Request], Response]) -> Any:
    async def endpoint(request: Request) -> Response:
        return answer(request)

    return endpoint


def _json(number: int, content: Mapping[str, str]) -> Response:
    return Response(json.dumps(content), number, media_type=JSON)


class Guarded:
    """An application to which no page of elsewhere gets, and whose answers are nobody's to keep."""

    def __init__(self, app: Any, origins: Origins) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                ours = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in there]
                message = {**message, "headers": [*message["headers"], *ours]}
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self._origins.refusal(scope["scheme"], headers):
            await respond(send_guarded, *problem(403, "ORIGIN_REFUSED", refusal))
        elif scope["query_string"]:
            # Proxies write what follows the path into their logs.
            await respond(send_guarded, *problem(400, "INVALID_INPUT", "parameters belong in the body, not behind the path"))
        else:
            await self._app(scope, receive, send_guarded)


async def _stream(request: Request) -> Response:
    detail = (
        "a call of many messages is offered over gRPC alone; send its studies one request each, or in one request of the others"
    )
    return _response(*problem(404, NotFoundError.reason, detail))


async def _refuse(request: Request, error: Exception) -> Response:
    """A path that is none, or a method that it has not."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"the path takes {(error.headers or {}).get('Allow', 'another method')}"
        answer = problem(405, "METHOD_NOT_ALLOWED", detail)
    else:
        answer = problem(404, NotFoundError.reason, "no such path; /openapi.json lists them")
    return _response(*answer, more_headers=error.headers)


async def _fail(request: Request, error: Exception) -> Response:
    log.error("a request over HTTP failed inside foveal", exc_info=error)
    return _response(*problem(500, "INTERNAL", f"internal error ({type(error).__name__}); see the server's log"))


def _response(number: int, headers: Mapping[str, str], body: bytes, more_headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, number, {**headers, **(more_headers or {})})
