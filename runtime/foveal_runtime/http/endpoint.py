"""One call of the contract as an ASGI endpoint: a body in, the boundary around the service, JSON out. No policy of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import MethodDescriptor  # type: ignore[import-untyped]
from google.protobuf.message_factory import GetMessageClass  # type: ignore[import-untyped]
from google.rpc import status_pb2

from foveal_runtime.errors import DeadlineError, InputError, MediaTypeError
from foveal_runtime.http.call import HttpCall, Receive, Refused, Scope
from foveal_runtime.http.problems import problem_of
from foveal_runtime.http.transcoding import json_of, message_of, read_json
from foveal_runtime.http.uploads import FORM, PHOTOGRAPHS, from_form, from_photograph, place_of
from foveal_runtime.rpc.inbox import LARGE_BYTES
from foveal_runtime.rpc.request_id import KEY
from foveal_runtime.rpc.status import status_of

if TYPE_CHECKING:
    from foveal_runtime.rpc.call import Boundary
    from foveal_runtime.rpc.counts import Counts

log = logging.getLogger(__name__)
JSON = "application/json"
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Answer = tuple[int, Mapping[str, str], bytes]


class CallEndpoint:
    """Serves one call to whoever sends its request message, as JSON or as photographs."""

    def __init__(self, boundary: Boundary, call: MethodDescriptor, servicer: Any, limits: Counts, largest_bytes: int) -> None:
        """Args:
        boundary: of the server.
        call: of one message.
        servicer: that answers it.
        limits: most elements of each repeated field.
        largest_bytes: of a body.
        """
        self._boundary, self._limits, self._largest = boundary, limits, largest_bytes
        self._request = GetMessageClass(call.input_type)
        self._takes_photographs = place_of(call.input_type) is not None
        name = f"/{call.containing_service.full_name}/{call.name}"
        self._call = boundary.unary(name, getattr(servicer, call.name))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        context = HttpCall(scope, receive, self._largest)
        content_type = context.headers.get("content-type", "")
        messages = context.messages(self._boundary.received_by, lambda body: self._parse(body, content_type))
        answer = await answered(self._call(messages, context), context)
        if isinstance(answer, status_pb2.Status):
            await respond(send, *problem_of(answer, context.answer_headers.get(KEY, "")), context.answer_headers)
        elif answer is not None:
            large = answer.ByteSize() >= LARGE_BYTES // 8
            body = await asyncio.to_thread(json_of, answer) if large else json_of(answer)
            await respond(send, 200, {"content-type": JSON}, body, context.answer_headers)

    def _parse(self, body: bytes, content_type: str) -> Any:
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type == JSON or (not media_type and not body):
            return message_of(read_json(body), self._request(), self._limits)
        if self._takes_photographs and media_type == FORM:
            return from_form(body, content_type, self._request(), self._limits)
        if self._takes_photographs and media_type in PHOTOGRAPHS:
            if not body:
                raise InputError("the body is empty; send the photograph's bytes")
            return from_photograph(body, self._request())
        takes = (JSON, FORM, *PHOTOGRAPHS) if self._takes_photographs else (JSON,)
        raise MediaTypeError(f"content-type is none that this call takes; send one of {', '.join(takes)}")


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
