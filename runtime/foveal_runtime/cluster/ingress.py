"""What Ray Serve's gRPC proxies offer: foveal's calls of one message passed on unread, all others refused by name.

Ray calls `add_foveal_to_server` in each proxy (`grpc_servicer_functions`), and replaces what answers a call by what sends it
to a replica. Around that stands here what Ray lacks: a deadline, the request's id, and statuses with foveal's details where Ray
has only a code of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
from grpc_status import rpc_status

from foveal_runtime.access.bearer import HEADER
from foveal_runtime.cluster.calls import LEFT_KEY
from foveal_runtime.cluster.replica import OFFERED
from foveal_runtime.errors import DeadlineError, FovealError, LoadingError, NotOfferedError, OverloadedError, UnavailableError
from foveal_runtime.rpc import request_id
from foveal_runtime.rpc.model_asked import MODEL_KEY, VERSION_KEY
from foveal_runtime.rpc.permissions import ADMIN, ARCHIVE, INFERENCE, SCREENING
from foveal_runtime.rpc.status import status_of

FUNCTION = "foveal_runtime.cluster.ingress.add_foveal_to_server"
_HEALTH = "grpc.health.v1.Health"
_DETAILS_KEY = "grpc-status-details-bin"
_PASSED = (HEADER, MODEL_KEY, VERSION_KEY)
"""Metadata that replicas read. The rest is dropped: some of Ray's own names lead a call elsewhere."""
_RETRY_S = 1.0
_STREAMS = "send Grade or Embed with many studies, index and embed archives with --ray, or ask `foveal serve`"
_NOT_OFFERED = {
    f"/{SCREENING}/": f"streams are not offered through Ray, which would bind each to one replica; {_STREAMS}",
    f"/{ARCHIVE}/": "the archive is not offered through Ray; ask the server that was started with `foveal serve --store`",
    f"/{ADMIN}/": "administration is not offered through Ray, whose every call may reach another replica; see `serve status`",
    f"/{INFERENCE}/": "the KServe protocol is not offered through Ray; ask `foveal serve`",
    f"/{_HEALTH}/": "health is not watched through Ray; ask Check",
}
PASSED_ON = (*(f"/{SCREENING}/{name}" for name in OFFERED), f"/{_HEALTH}/Check")
"""Calls that replicas answer, by gRPC's names."""
Unary = Callable[[bytes, Any], Awaitable[bytes]]


def add_foveal_to_server(servicer: Any, server: Any) -> None:
    """Have a proxy offer foveal's calls.

    Args:
        servicer: not used, as Ray's proxies use none.
        server: of Ray Serve, which replaces the handlers of the calls.
    """
    server.add_generic_rpc_handlers((Ingress(),))


class Ingress(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The calls of one proxy."""

    def __init__(self) -> None:
        # Ray replaces these by name, as of grpc's own handlers. Without a deserialiser a message is passed on as it came:
        # what is wrong with it is told by the replica, as by a server.
        self._method_handlers = {name: grpc.unary_unary_rpc_method_handler(_unplaced) for name in PASSED_ON}

    def service(self, handler_call_details: Any) -> Any:
        """What answers a call; None for one of others."""
        name = handler_call_details.method
        handler = self._method_handlers.get(name)
        if handler is not None:
            return handler._replace(unary_unary=completed(handler.unary_unary))
        return next((_refusing(why) for prefix, why in _NOT_OFFERED.items() if name.startswith(prefix)), None)


async def _unplaced(request: bytes, context: Any) -> bytes:
    raise AssertionError("Ray Serve replaces what answers a call")


def _refusing(why: str) -> Any:
    async def refuse(requests: Any, context: Any) -> None:
        await context.abort_with_status(rpc_status.to_status(status_of(NotOfferedError(why))))

    return grpc.stream_stream_rpc_method_handler(refuse)


def completed(passed_on: Unary) -> Unary:
    """A call with what Ray lacks.

    Args:
        passed_on: Ray's, which sends it to a replica.
    """

    async def call(request: bytes, context: Any) -> bytes:
        name = await request_id.begin(context)
        passing = PassedCall(context, name)
        answer = await passed_on(request, passing)
        if (status := passing.status()) is not None:
            await context.abort_with_status(status)
        return answer

    return call


class PassedCall:
    """A proxy's context as Ray is shown it: it reads metadata of ours alone, and what it sets is kept for the end."""

    def __init__(self, context: Any, name: str) -> None:
        """Args:
        context: of grpc.aio.
        name: of the request.
        """
        self._context = context
        self._code: Any = None
        self._details = ""
        self._trailing: tuple[tuple[str, Any], ...] = ()
        self._metadata = tuple(_passed(context, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        """What replicas read."""
        return self._metadata

    def code(self) -> Any:
        """As it was set."""
        return self._code

    def details(self) -> str:
        """As they were set."""
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, Any], ...]:
        """As it was set."""
        return self._trailing

    def set_code(self, code: Any) -> None:
        """Keep it."""
        self._code = code

    def set_details(self, details: str) -> None:
        """Keep them."""
        self._details = details

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Keep it."""
        self._trailing = tuple(metadata)

    def status(self) -> Any:
        """What the call is refused with; None where it is answered. What a replica said goes out as it is."""
        if self._code in (None, 0, grpc.StatusCode.OK):
            return None
        details = tuple((key, value) for key, value in self._trailing if key == _DETAILS_KEY)
        if details or self._is_plain:
            return _Status(self._code, self._details, details)
        return rpc_status.to_status(status_of(error_of_ray(self._code)))

    @property
    def _is_plain(self) -> bool:
        # Of the health service, whose statuses have no details of ours.
        return bool(self._code is grpc.StatusCode.NOT_FOUND and self._details.startswith("no service of that name"))


def _passed(context: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield from ((key, value) for key, value in context.invocation_metadata() or () if key in _PASSED)
    yield request_id.KEY, name
    yield "request_id", name  # in Ray's logs
    left_s = context.time_remaining()
    if left_s is not None:
        yield LEFT_KEY, f"{left_s:.6f}"


class _Status:
    """What grpc wants of a status."""

    def __init__(self, code: Any, details: str, trailing_metadata: tuple[tuple[str, Any], ...]) -> None:
        self.code, self.details, self.trailing_metadata = code, details, trailing_metadata


def error_of_ray(code: Any) -> FovealError:
    """What a status of Ray's own stands for. Its words may hold a trace, and are left out."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError("as many calls wait for a replica as may; send again later", retry_after_s=_RETRY_S)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError("no replica answered before the deadline; allow more time")
    if code is grpc.StatusCode.NOT_FOUND:
        return LoadingError("no bundle is deployed yet; send again later")
    return UnavailableError("the replica that had the call was lost; send it again")
