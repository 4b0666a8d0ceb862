"""A call that came through Ray Serve's proxy as the services know one: what gRPC names a context, made from what Ray passes on.

Knows no service. Ray passes on who calls and the metadata, but neither the deadline nor a way to send metadata first: the proxy
(`ingress`) sends the request's id itself, and puts the deadline among the metadata.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

LEFT_KEY = "x-foveal-left-s"
"""Metadata that the proxy adds: seconds until the caller gives up."""


class Refused(Exception):
    """A call ended with an error."""

    def __init__(self, status: Any) -> None:
        super().__init__(status.code)
        self.status = status


class RayCall:
    """One call. Lives in a replica."""

    def __init__(self, context: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        context: `ray.serve.grpc_util.RayServegRPCContext`, or what has the same methods.
        clock: in seconds.
        """
        self._context, self._clock = context, clock
        pairs = tuple(context.invocation_metadata())
        self._metadata = tuple((key, value) for key, value in pairs if key != LEFT_KEY)
        left = next((value for key, value in pairs if key == LEFT_KEY), None)
        self._end = None if left is None else clock() + float(left)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """As the caller sent it."""
        return self._metadata

    def auth_context(self) -> Any:
        """Names in the caller's certificate; empty without TLS."""
        return self._context.auth_context()

    def peer(self) -> str:
        """The other end of the proxy's connection."""
        return str(self._context.peer())

    def time_remaining(self) -> float | None:
        """Seconds until the caller gives up; None when it said nothing."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    async def send_initial_metadata(self, metadata: Any) -> None:
        """Nothing: the proxy has sent it."""

    async def abort_with_status(self, status: Any) -> None:
        """End the call.

        Raises:
            Refused: always.
        """
        raise Refused(status)

    async def abort(self, code: Any, details: str = "") -> None:
        """End the call, for services of others.

        Raises:
            Refused: always.
        """
        raise Refused(_Plain(code, details))

    def answer_refused(self, refused: Refused) -> None:
        """Have Ray answer with a status and all its details."""
        status = refused.status
        self._context.set_code(status.code)
        self._context.set_details(status.details)
        self._context.set_trailing_metadata(list(status.trailing_metadata))


class _Plain:
    """A status without details."""

    def __init__(self, code: Any, details: str) -> None:
        self.code, self.details, self.trailing_metadata = code, details, ()


class NoAnswer:
    """Stands for the message of a call that was refused: gRPC sends none beside an error."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - as protobuf's
        """Nothing."""
        return b""
