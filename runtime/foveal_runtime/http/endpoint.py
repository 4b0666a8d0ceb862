"""One call of the contract as an ASGI endpoint: a body in, the boundary around the service, JSON out. No policy of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf.descriptor import MethodDescriptor  # type: ignore[import-untyped]
from google.protobuf.message_factory import GetMessageClass  # type: ignore[import-untyped]
from google.rpc import code_pb2, status_pb2

from foveal_runtime.errors import DeadlineError, InputError, MediaTypeError
from foveal_runtime.http.call import HttpCall, Receive, Refused, Scope
from foveal_runtime.http.problems import problem_of
from foveal_runtime.http.transcoding import json_of, message_of, read_json
from foveal_runtime.http.uploads import FORM, PHOTOGRAPHS, from_form, from_photograph, place_of
from foveal_runtime.rpc.inbox import LARGE_BYTES
from foveal_runtime.rpc.request_id import KEY
from foveal_runtime.rpc.status import status_of

if TYPE_CHECKING:
    from foveal_runtime.rpc.counts import Counts
    from foveal_runtime.rpc.doors import Inside

log = logging.getLogger(__name__)
JSON = "application/json"
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Answer = tuple[int, Mapping[str, str], bytes]


class Exchange(Protocol):
    """One request and its answer as HTTP writes them."""

    @property
    def is_text(self) -> bool:
        """Whether photographs come as text: reading that takes twice the memory of reading bytes."""
        ...

    def read(self, body: bytes) -> Any:
        """The request's message.

        Raises:
            InputError: the body is none of this call.
        """
        ...

    def write(self, answer: Any) -> Answer:
        """HTTP's status, headers and body of an answer's message."""
        ...


Begin = Callable[[Scope, Mapping[str, str]], Exchange]
"""Begins an exchange, of a scope and its headers."""


class CallEndpoint:
    """Serves one call to whoever sends its request."""

    def __init__(self, inside: Inside, call: MethodDescriptor, begin: Begin) -> None:
        """Args:
        inside: of the server.
        call: of one message.
        begin: how requests and answers are written.
        """
        self._boundary, self._begin, self._traces = inside.boundary, begin, inside.traces
        self._largest = inside.config.max_message_bytes
        service = call.containing_service.full_name
        self._name = f"/{service}/{call.name}"
        self._call = inside.boundary.unary(self._name, getattr(inside.servicers[service], call.name))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        # On a connection that was paused and resumed, asyncio hands the caller of one request on to the next (cpython#140947).
        await asyncio.create_task(self._serve(scope, receive, send), context=Context())

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = HttpCall(scope, receive)
        exchange = self._begin(scope, context.headers)
        # The budget counts three copies of a message: of JSON there are six, with base64 as text, bytes and photograph.
        context.largest_bytes = self._largest // 2 if exchange.is_text else self._largest
        messages = context.messages(self._boundary.received_by, exchange.read)
        if self._traces is None:
            answer = await answered(self._call(messages, context), context)
        else:
            with self._traces.call(self._name.lstrip("/"), context.headers, context.peer()) as failed:
                answer = await answered(self._call(messages, context), context)
                if isinstance(answer, status_pb2.Status):
                    failed(code_pb2.Code.Name(answer.code))
        if isinstance(answer, status_pb2.Status):
            await respond(send, *problem_of(answer, context.answer_headers.get(KEY, "")), context.answer_headers)
        elif answer is not None:
            large = answer.ByteSize() >= LARGE_BYTES // 8
            written = await asyncio.to_thread(exchange.write, answer) if large else exchange.write(answer)
            await respond(send, *written, context.answer_headers)


class ContractExchange:
    """A call of the contract: JSON, or photographs, in; JSON out."""

    def __init__(self, call: MethodDescriptor, limits: Counts, scope: Scope, headers: Mapping[str, str]) -> None:
        """Args:
        call: whose messages they are.
        limits: most elements of each repeated field.
        scope: of ASGI; it says nothing more.
        headers: of the request.
        """
        self._request, self._limits = GetMessageClass(call.input_type), limits
        self._takes_photographs = place_of(call.input_type) is not None
        self._content_type = headers.get("content-type", "")
        self._media_type = self._content_type.partition(";")[0].strip().lower()

    @property
    def is_text(self) -> bool:
        """See `Exchange`."""
        return self._media_type == JSON

    def read(self, body: bytes) -> Any:
        """See `Exchange`."""
        media_type = self._media_type
        if media_type == JSON or (not media_type and not body):
            return message_of(read_json(body), self._request(), self._limits)
        if self._takes_photographs and media_type == FORM:
            return from_form(body, self._content_type, self._request(), self._limits)
        if self._takes_photographs and media_type in PHOTOGRAPHS:
            if not body:
                raise InputError("the body is empty; send the photograph's bytes")
            return from_photograph(body, self._request())
        takes = (JSON, FORM, *PHOTOGRAPHS) if self._takes_photographs else (JSON,)
        raise MediaTypeError(f"content-type is none that this call takes; send one of {', '.join(takes)}")

    def write(self, answer: Any) -> Answer:
        """See `Exchange`."""
        return 200, {"content-type": JSON}, json_of(answer)


async def answered(answering: Awaitable[Any], context: HttpCall) -> Any:
    """What a call ends with: its answer, the status that refuses it, or None when nobody waits for it any more.

    Args:
        answering: the call, which ends in an answer or in `Refused`.
        context: of the call.
    """
    task, gone = asyncio.ensure_future(answering), asyncio.ensure_future(context.gone())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED, timeout=context.time_remaining())
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
        if not task.cancelled():
            return task.result()
    except Refused as refused:
        return refused.status
    finally:
        gone.cancel()
        task.cancel()
    if context.time_remaining() == 0:
        return status_of(DeadlineError("the call did not end before its deadline; allow more time"))
    return None


async def respond(
    send: Send, number: int, headers: Mapping[str, str], body: bytes, more_headers: Mapping[str, str] | None = None
) -> None:
    """Send an answer.

    Args:
        send: of ASGI.
        number: HTTP's status.
        headers: by lower-case name.
        body: whole.
        more_headers: also sent.
    """
    named = {**headers, **(more_headers or {}), "content-length": str(len(body))}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    await send({"type": "http.response.start", "status": number, "headers": raw})
    await send({"type": "http.response.body", "body": body})
