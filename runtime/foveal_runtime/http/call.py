"""A request over HTTP as the services know a call: what gRPC names a context, and the one message that arrives on it.

Knows no route and no JSON.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from google.rpc import status_pb2

from foveal_runtime.access.bearer import HEADER
from foveal_runtime.errors import FovealError, InputError, MediaTypeError, MessageSizeError
from foveal_runtime.rpc import request_id
from foveal_runtime.rpc.inbox import Received
from foveal_runtime.rpc.model_asked import MODEL_KEY, VERSION_KEY

Scope = Mapping[str, Any]
Receive = Callable[[], Any]
Parse = Callable[[bytes], Any]
TIMEOUT_HEADER = "x-foveal-timeout"
"""Seconds that a caller waits; what gRPC calls the deadline."""
CERTIFICATE = "foveal_certificate"
"""In a scope's state: what `SSLSocket.getpeercert` says of the caller."""
_METADATA = (HEADER, request_id.KEY, MODEL_KEY, VERSION_KEY)
_LONGEST_TIMEOUT_S = 86_400.0


class Refused(Exception):
    """A call ended with an error."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.code)
        self.status = status


class HttpCall:
    """One request. Lives on one event loop."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        """Args:
        scope: of ASGI.
        receive: of ASGI.
        """
        self.largest_bytes = 0
        """That its body may have; whoever knows what it is says so before it is received."""
        self.headers: dict[str, str] = {}
        """By lower-case name; of a name that comes twice the last."""
        self._metadata: list[tuple[str, str]] = []
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            self.headers[key] = text
            if key in _METADATA:
                self._metadata.append((key, text))
        self._receive = receive
        self._peer, self._certificate = _peer_of(scope["client"]), scope["state"].get(CERTIFICATE) or {}
        self._complete = asyncio.Event()
        self.answer_headers: dict[str, str] = {}
        """To send with the answer."""
        self._began = asyncio.get_running_loop().time()
        self.timeout_s: float | None = None
        self._wrong: FovealError | None = None
        try:
            self.timeout_s = _timeout_of(self.headers.get(TIMEOUT_HEADER))
            if self.headers.get("content-encoding", "identity").lower() != "identity":
                raise MediaTypeError("the body is compressed; send it as it is, photographs are compressed already")
        except InputError as error:
            self._wrong = error

    # What gRPC's contexts have, as far as foveal asks for it.

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Headers that are metadata of a call."""
        return tuple(self._metadata)

    def auth_context(self) -> dict[str, list[bytes]]:
        """Names in the caller's certificate."""
        subject = [pair for group in self._certificate.get("subject", ()) for pair in group]
        common = [value.encode() for name, value in subject if name == "commonName"]
        others = [value.encode() for _, value in self._certificate.get("subjectAltName", ())]
        return {
            **({"x509_common_name": common} if common else {}),
            **({"x509_subject_alternative_name": others} if others else {}),
        }

    def peer(self) -> str:
        """The other end, as gRPC writes it."""
        return self._peer

    def time_remaining(self) -> float | None:
        """Seconds until the caller gives up; None when it said nothing."""
        if self.timeout_s is None:
            return None
        return max(0.0, self._began + self.timeout_s - asyncio.get_running_loop().time())

    async def send_initial_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Keep it for the answer."""
        self.answer_headers.update(metadata)

    async def abort_with_status(self, status: Any) -> None:
        """End the call.

        Raises:
            Refused: always.
        """
        rich = dict(status.trailing_metadata)["grpc-status-details-bin"]
        raise Refused(status_pb2.Status.FromString(rich))

    # The message and its sender.

    async def messages(
        self, receive_by: Callable[[Parse], Callable[[bytes], Received]], parse: Parse
    ) -> AsyncIterator[Received]:
        """The one message, which is received when it is asked for.

        Args:
            receive_by: of the boundary.
            parse: of a body.

        Raises:
            InputError: a header does not fit, or the body is too large.
            CancelledError: the caller has gone.
        """
        if self._wrong is not None:
            raise self._wrong
        yield receive_by(parse)(await self._body())

    async def _body(self) -> bytes:
        said = self.headers.get("content-length", "")
        if said.isdecimal() and int(said) > self.largest_bytes:
            raise self._too_large()
        parts, size = [], 0
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise asyncio.CancelledError
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            if size > self.largest_bytes:
                raise self._too_large()
            if not event.get("more_body", False):
                self._complete.set()
                return b"".join(parts)

    def _too_large(self) -> MessageSizeError:
        return MessageSizeError(f"the body has more than {self.largest_bytes} bytes; send fewer or smaller studies at once")

    async def gone(self) -> None:
        """Wait until the caller goes without its answer."""
        await self._complete.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _timeout_of(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_TIMEOUT_S:
        raise InputError(
            f"{TIMEOUT_HEADER} is no number of seconds above 0 and up to {_LONGEST_TIMEOUT_S:.0f}; send one such as 30"
        )
    return seconds


def _peer_of(client: tuple[str, int] | None) -> str:
    if client is None:
        return "unix:"
    host, port = client
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
