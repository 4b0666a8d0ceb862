"""Calls are sent again while the server is away or full, photographs too, and only then."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from bundles import photograph
from grpc_status import rpc_status
from servers import RunningServer

from foveal_runtime._proto import screening_pb2, screening_pb2_grpc
from foveal_runtime.cli.local_server import free_address
from foveal_runtime.client import AsyncClient, Client, ClientOptions
from foveal_runtime.client.retries import Attempts, Retries
from foveal_runtime.errors import DeadlineError, FovealError, InputError, OverloadedError, UnavailableError
from foveal_runtime.rpc.status import status_of
from foveal_runtime.study.study import Study

PHOTOGRAPH = bytes(range(256)) * (2 << 12)
"""2 MiB: eight times what gRPC's own retries keep of a call."""


class Refuser(screening_pb2_grpc.ScreeningServicer):
    """Fails the first calls, answers the rest, and keeps when each came and how many bytes of photograph it had."""

    def __init__(self, failures: int, error: FovealError | None) -> None:
        self.failures, self.error = failures, error
        self.came: list[float] = []
        self.sizes: list[int] = []

    def Grade(self, request: Any, context: Any) -> Any:
        self.came.append(time.monotonic())
        self.sizes.append(len(request.studies[0].image.encoded))
        self._fail(context)
        return screening_pb2.GradeResponse(results=[screening_pb2.GradeResult()])

    def GradeStream(self, requests: Any, context: Any) -> Any:
        self.came.append(time.monotonic())
        self._fail(context)
        yield screening_pb2.GradeStreamResponse()

    def _fail(self, context: Any) -> None:
        if len(self.came) > self.failures:
            return
        if self.error is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")  # as a proxy or a dying server, with no word of foveal's
        context.abort_with_status(rpc_status.to_status(status_of(self.error)))


@contextlib.contextmanager
def refusing(failures: int, error: FovealError | None = None) -> Iterator[tuple[Refuser, str]]:
    """A server that fails its first calls, and its address."""
    refuser = Refuser(failures, error)
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 64 << 20)])
    screening_pb2_grpc.add_ScreeningServicer_to_server(refuser, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield refuser, f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def _blocking(address: str, studies: list[Study], options: ClientOptions | None = None) -> Any:
    with Client(address, options) as client:
        return client.grade(studies)


def _of_an_event_loop(address: str, studies: list[Study], options: ClientOptions | None = None) -> Any:
    async def ask() -> Any:
        async with AsyncClient(address, options) as client:
            return await client.grade(studies)

    return asyncio.run(ask())


Ask = Callable[..., Any]
both = pytest.mark.parametrize("ask", [_blocking, _of_an_event_loop])


@both
@pytest.mark.parametrize("error", [None, UnavailableError("a worker was replaced; send again")])
def test_a_call_with_a_photograph_is_sent_again_while_the_server_is_away(ask: Ask, error: FovealError | None) -> None:
    with refusing(2, error) as (refuser, address):
        assert len(ask(address, [Study(image=PHOTOGRAPH)]).results) == 1
    assert refuser.sizes == [len(PHOTOGRAPH)] * 3


@both
def test_a_full_server_is_asked_again_no_sooner_than_it_said(ask: Ask) -> None:
    with refusing(1, OverloadedError("the queue is full; send again later", retry_after_s=0.5)) as (refuser, address):
        assert len(ask(address, [Study(image=PHOTOGRAPH)]).results) == 1
    first, second = refuser.came
    assert second - first >= 0.5


@both
def test_a_full_server_that_will_be_free_after_the_deadline_is_not_asked_again(ask: Ask) -> None:
    with refusing(1, OverloadedError("the queue is full; send again later", retry_after_s=9.0)) as (refuser, address):
        with pytest.raises(OverloadedError) as caught:
            ask(address, [Study(note="macula")], ClientOptions(timeout_s=5.0))
        assert caught.value.retry_after_s == 9.0
    assert len(refuser.came) == 1


@both
@pytest.mark.parametrize("error", [InputError("no study was sent; send one"), DeadlineError("too late; allow more")])
def test_what_would_fail_again_is_sent_once(ask: Ask, error: FovealError) -> None:
    with refusing(1, error) as (refuser, address), pytest.raises(type(error)):
        ask(address, [Study(note="macula")])
    assert len(refuser.came) == 1


def test_retries_can_be_switched_off() -> None:
    with refusing(1) as (refuser, address), pytest.raises(UnavailableError):
        _blocking(address, [Study(note="macula")], ClientOptions(retry_s=0))
    assert len(refuser.came) == 1


def test_streams_are_never_sent_again() -> None:
    with refusing(1) as (refuser, address), Client(address) as client, pytest.raises(UnavailableError):
        list(client.grade_stream(iter([Study(note="macula")])))
    assert len(refuser.came) == 1


@pytest.mark.parametrize("kind", [pytest.param(Client, marks=pytest.mark.slow), AsyncClient])
def test_a_call_outlives_a_server_that_is_killed_and_started_again(kind: type[Any], bundle_path: Path) -> None:
    address, studies = free_address(), [Study(image=photograph(width=1600, height=1200, format="PNG"))]
    assert len(studies[0].image or b"") > 1 << 20

    async def ask(client: Any) -> Any:
        answer = client.grade(studies)
        return await answer if kind is AsyncClient else answer

    async def outlive() -> None:
        client = kind(address)
        with RunningServer(bundle_path, "--address", address) as first:
            assert (await ask(client)).results[0].HasField("grade")
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
        second = RunningServer(bundle_path, "--address", address)
        start = threading.Thread(target=second.__enter__)
        start.start()
        try:
            assert (await ask(client)).results[0].HasField("grade")
        finally:
            start.join()
            second.__exit__(None, None, None)
            closed = client.close()
            if kind is AsyncClient:
                await closed

    asyncio.run(outlive())


class Clock:
    """Seconds that pass when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _patience_s(options: ClientOptions, failure: FovealError, *, reached: bool) -> float:
    """Seconds until a call that always fails in an instant is given up."""
    clock, retries = Clock(), Retries(options)
    retries.reached = reached
    attempts = Attempts(options, retries, clock, lambda: 0.5)
    begun = clock.now_s
    while (pause_s := attempts.pause_s(failure)) is not None:
        clock.now_s += pause_s
    return clock.now_s - begun


def test_a_server_that_never_answered_is_given_up_soon_and_one_that_did_is_waited_for() -> None:
    away = UnavailableError("no foveal server answers")
    assert 1 < _patience_s(ClientOptions(), away, reached=False) < 2
    assert 16 < _patience_s(ClientOptions(), away, reached=True) < 20
    assert 16 < _patience_s(ClientOptions(), UnavailableError("loading", retry_after_s=1.0), reached=False) < 20
    assert 3 < _patience_s(ClientOptions(timeout_s=5), away, reached=True) < 5
