"""What every RPC shares: errors become statuses in one place, and one line is logged a call. Knows no service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_status import rpc_status

from foveal_runtime.errors import FovealError
from foveal_runtime.status import status_of

log = logging.getLogger(__name__)


class Boundary(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """The RPC boundary. A `FovealError` keeps its code and details; anything else is our bug: INTERNAL, a trace in the log."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/foveal."):
            return handler
        name = handler_call_details.method.rpartition("/")[2]
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                _unary(name, handler.unary_unary), handler.request_deserializer, handler.response_serializer
            )
        return grpc.stream_stream_rpc_method_handler(
            _stream(name, handler.stream_stream), handler.request_deserializer, handler.response_serializer
        )


def _unary(name: str, behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def call(request: Any, context: Any) -> Any:
        started = time.perf_counter()
        try:
            response = await behaviour(request, context)
        except asyncio.CancelledError:
            _log(name, "cancelled", started)
            raise
        except Exception as error:  # noqa: BLE001 - the RPC boundary
            await _abort(name, error, context, started)
        _log(name, "OK", started)
        return response

    return call


def _stream(name: str, behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def call(requests: Any, context: Any) -> AsyncIterator[Any]:
        started = time.perf_counter()
        try:
            async for response in behaviour(requests, context):
                yield response
        except asyncio.CancelledError:
            _log(name, "cancelled", started)
            raise
        except Exception as error:  # noqa: BLE001 - the RPC boundary
            await _abort(name, error, context, started)
        _log(name, "OK", started)

    return call


async def _abort(name: str, error: Exception, context: Any, started: float) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, FovealError):
        log.error("%s failed inside foveal", name, exc_info=error)
    status = status_of(error)
    _log(name, type(error).__name__, started)
    await context.abort_with_status(rpc_status.to_status(status))


def _log(name: str, outcome: str, started: float) -> None:
    log.info("%s %s %.1f ms", name, outcome, (time.perf_counter() - started) * 1e3)
