"""grpc.health.v1 for our server: no watcher holds up a change of state, another watcher or the end of the server.

The servicer of grpcio-health-checking writes to a watcher inside the lock that a change of state needs: one that opens no
flow-control window keeps a wrong state for everybody, and SIGTERM waiting.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_WRITE_S = 5.0
"""A watcher that does not take a state for so long is let go."""
_LAST_WORD_S = 1.0
"""Watchers are told that the server ends, this long at most."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """States by service name; "" is the whole server. Lives on one event loop."""

    def __init__(self) -> None:
        self._states: dict[str, Any] = {"": NOT_SERVING}
        self._changed = asyncio.Event()
        self._watching: set[asyncio.Task[Any]] = set()
        self._closing = False

    def set(self, service: str, serving: bool) -> None:
        """Say how a service is; nobody is waited for. After `close` nothing changes any more."""
        if not self._closing:
            self._states[service] = SERVING if serving else NOT_SERVING
            self._tell()

    def is_serving(self, service: str = "") -> bool:
        """Whether a service answers; "" is the whole server."""
        return bool(self._states.get(service) == SERVING)

    def _tell(self) -> None:
        told, self._changed = self._changed, asyncio.Event()
        told.set()

    async def close(self) -> None:
        """Everything is NOT_SERVING from here on; watchers are told, and let go."""
        self._states = dict.fromkeys(self._states, NOT_SERVING)
        self._closing = True
        self._tell()
        if self._watching:
            _, late = await asyncio.wait(self._watching, timeout=_LAST_WORD_S)
            for task in late:
                task.cancel()

    async def Check(self, request: Any, context: Any) -> Any:
        """The state now."""
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no service of that name; the reflection service lists them")
        return health_pb2.HealthCheckResponse(status=state)

    async def Watch(self, request: Any, context: Any) -> None:
        """The state now and each one that lasts long enough to be told."""
        task = asyncio.current_task()
        assert task is not None
        self._watching.add(task)
        last = None
        try:
            while True:
                changed, closing = self._changed, self._closing
                state = self._states.get(request.service, _UNKNOWN)
                if state != last:
                    async with asyncio.timeout(_WRITE_S):
                        await context.write(health_pb2.HealthCheckResponse(status=state))
                    last = state
                if closing:
                    return
                await changed.wait()
        except TimeoutError:
            return
        finally:
            self._watching.discard(task)
