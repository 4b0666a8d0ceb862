"""What every RPC shares: errors become statuses in one place, and one line is logged a call. Knows no service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import grpc
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from grpc_status import rpc_status

from foveal_runtime.errors import FovealError, InputError
from foveal_runtime.lifecycle import ACCESS, Event, tell
from foveal_runtime.rpc import access, request_id, shares
from foveal_runtime.rpc.budget import ByteBudget
from foveal_runtime.rpc.counts import check_counts, counts
from foveal_runtime.rpc.inbox import LARGE_BYTES, Inbox, Received
from foveal_runtime.rpc.pace import Pace
from foveal_runtime.rpc.permissions import is_guarded
from foveal_runtime.rpc.shares import CallShares
from foveal_runtime.rpc.status import status_of

if TYPE_CHECKING:
    from foveal_runtime.serving.config import ServeConfig

log = logging.getLogger(__name__)
_access = logging.getLogger(ACCESS)
Observe = Callable[[str, str, float], None]
Admit = Callable[[Any], None]
Check = Callable[[Any], None]
Unary = Callable[[Any, Any], Awaitable[Any]]
_PATIENCE_S = 5.0
"""That a call of one message waits for room at most, and half of its own time: streams wait as long as it takes."""


class InWork:
    """Counts calls: `with in_work:` around each. Lives on one event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._count += 1
        self._none.clear()

    def __exit__(self, *exception: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def none(self) -> None:
        """Wait until there is none."""
        await self._none.wait()


class Boundary(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """The RPC boundary. A `FovealError` keeps its code and details; anything else is our bug: INTERNAL, a trace in the log."""

    def __init__(
        self,
        observe: Observe = lambda name, outcome, seconds: None,
        *,
        budget: ByteBudget,
        calls: CallShares,
        gate: access.Gate | None = None,
        admit: Mapping[str, Admit] | None = None,
        check: Check = lambda request: None,
    ) -> None:
        """Args:
        observe: told of every call that ended: its name, `OK` or the error's class, and how long it took.
        budget: of the bytes that are received and unanswered.
        calls: how many may be in work.
        gate: who may make which call; None lets everybody make all.
        admit: by the name of a unary call, what is asked with its context before its message is received, and may raise a
            `FovealError`: under overload most of what a refusal costs is receiving photographs that nobody will look at.
        check: raises a `FovealError` for a message that nobody may walk.
        """
        self._check = check
        self._observe = observe
        self.in_work = InWork()
        """Our own calls; those of other services, such as watchers of the health service, are not waited for."""
        self._gate, self._admit = gate, admit or {}
        self._budget, self._calls, self._pace = budget, calls, Pace()

    @classmethod
    def of(
        cls,
        config: ServeConfig,
        observe: Observe = lambda name, outcome, seconds: None,
        *,
        budget: ByteBudget,
        gate: access.Gate | None,
        admit: Mapping[str, Admit],
    ) -> Self:
        """With the limits of a server's settings; the rest as when it is made."""
        calls = CallShares(config.max_calls, config.calls_per_caller, config.max_calls_per_s)
        check = partial(check_counts, limits=counts(config.max_studies))
        return cls(observe, budget=budget, calls=calls, gate=gate, admit=admit, check=check)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not is_guarded(handler_call_details.method):
            return handler
        method = handler_call_details.method
        if handler.unary_unary is not None:
            # On the wire a call of one message is a stream of one. Served as a stream, it can be refused without reading it,
            # and one whose photograph still arrives is in work.
            return grpc.stream_unary_rpc_method_handler(
                self.unary(method, handler.unary_unary),
                self.received_by(handler.request_deserializer),
                handler.response_serializer,
            )
        return grpc.stream_stream_rpc_method_handler(
            self._stream(method, handler.stream_stream),
            self.received_by(handler.request_deserializer),
            handler.response_serializer,
        )

    def received_by(self, parse: Callable[[bytes], Any]) -> Callable[[bytes], Received]:
        """What receives the bytes of a message.

        Args:
            parse: of a message; what is wrong with one is a `DecodeError` or an `InputError`.
        """
        return _parsed(parse, self._check)

    def unary(self, method: str, behaviour: Unary) -> Unary:
        """A call of one message, in a stream of one.

        Args:
            method: gRPC's name of it.
            behaviour: takes the message and the context, and gives the answer.
        """
        admit, behaviour = self._admit.get(_name(method), lambda context: None), _single(behaviour)

        async def call(requests: AsyncIterator[Received], context: Any) -> Any:
            async with self._call(method, requests, context, bulk=False) as inbox:
                admit(context)
                return await behaviour(inbox, context)

        return call

    def _stream(
        self, method: str, behaviour: Callable[[Any, Any], AsyncIterator[Any]]
    ) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def call(requests: AsyncIterator[Received], context: Any) -> AsyncIterator[Any]:
            async with self._call(method, requests, context, bulk=True) as inbox:
                async for response in behaviour(inbox, context):
                    yield response

        return call

    @asynccontextmanager
    async def _call(self, method: str, requests: AsyncIterator[Received], context: Any, *, bulk: bool) -> AsyncIterator[Inbox]:
        """What holds while a call is in work, and what becomes of its end, however it ends; gives its messages.

        A stream waits for room as long as it takes, a call of one message for `_PATIENCE_S`.
        """
        name, started = _name(method), time.perf_counter()
        await request_id.begin(context)
        try:
            entered = None if self._gate is None else self._gate.enter(method, context)
        except FovealError as error:
            await _abort(name, error, context, started, self._observe)
            raise  # not reached: abort raises
        caller = shares.begin(context, bulk=bulk, name="" if entered is None else entered.name)
        if entered is not None and bulk:
            requests = entered.each(requests)
        left_s = context.time_remaining()
        patience_s = _PATIENCE_S if left_s is None else min(_PATIENCE_S, left_s / 2)
        inbox = Inbox(requests, self._budget, caller, None if bulk else patience_s, self._pace)
        try:
            with self.in_work, self._calls(caller):
                yield inbox
        except asyncio.CancelledError:
            _ended(name, "cancelled", started, self._observe)
            raise
        except Exception as error:  # noqa: BLE001 - the RPC boundary
            await _abort(name, error, context, started, self._observe)
        finally:
            inbox.close()
        _ended(name, "OK", started, self._observe)


def _name(method: str) -> str:
    """`Grade` of `/foveal.v1.Screening/Grade`."""
    return method.rpartition("/")[2]


def _parsed(deserialise: Callable[[bytes], Any], check: Check) -> Callable[[bytes], Received]:
    """A deserialiser that returns the error it should raise: raised there, gRPC would call it INTERNAL, without details.

    A large message is left to whoever asked for it to parse.
    """

    def parse(data: bytes) -> Any:
        try:
            message = deserialise(data)
            check(message)
        except DecodeError:
            return InputError("request is no message of this call; compare with proto/foveal/v1, and send text as UTF-8")
        except InputError as error:
            return error
        return message

    def receive(data: bytes) -> Received:
        # gRPC calls this on the event loop.
        if len(data) >= LARGE_BYTES:
            return Received(data, len(data), parse)
        return Received(parse(data), len(data))

    return receive


def _single(behaviour: Unary) -> Unary:
    """A call of one message, of the stream that it arrives in."""

    async def call(requests: AsyncIterator[Any], context: Any) -> Any:
        async for request in requests:
            return await behaviour(request, context)
        raise InputError("call has no message; send one")

    return call


async def _abort(name: str, error: Exception, context: Any, started: float, observe: Observe) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, FovealError):
        log.error("%s failed inside foveal", name, exc_info=error)
    status = status_of(error)
    _ended(name, type(error).__name__, started, observe)
    await context.abort_with_status(rpc_status.to_status(status))


def _ended(name: str, outcome: str, started: float, observe: Observe) -> None:
    seconds = time.perf_counter() - started
    observe(name, outcome, seconds)
    if _access.isEnabledFor(logging.INFO):
        caller, milliseconds, who = shares.current().name, round(seconds * 1e3, 1), access.current()
        text = f"{name} {outcome} {milliseconds:.1f} ms, from {caller}{f' by {who}' if who else ''}"
        tell(Event.CALL, text, log=ACCESS, method=name, outcome=outcome, ms=milliseconds, caller=caller, token=who)
