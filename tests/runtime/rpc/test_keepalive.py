"""A quiet stream lives: the server bears the pings of its clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority

from foveal_runtime._proto import screening_pb2, screening_pb2_grpc
from foveal_runtime.client import AsyncClient, ClientOptions
from foveal_runtime.client.channel import open_aio_channel
from foveal_runtime.errors import ConfigError, FovealError, TlsError
from foveal_runtime.rpc import grpc_server
from foveal_runtime.rpc.keepalive import KEEPALIVE, Keepalive
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.rpc.server import Server
from foveal_runtime.serving.config import ServeConfig
from foveal_runtime.study.study import Study


async def _answers_after_silence(address: str, keepalive: Keepalive, silent_s: float) -> bool:
    """Whether a GradeStream answers a study, is silent, and answers another."""

    async def requests() -> AsyncIterator[Any]:
        yield screening_pb2.GradeStreamRequest(study=study_to(Study(id="before", note="macula")))
        await asyncio.sleep(silent_s)  # silence is what is tested: no event ends it
        yield screening_pb2.GradeStreamRequest(study=study_to(Study(id="after", note="edema")))

    async with open_aio_channel(address, keepalive=keepalive) as channel:
        stub: Any = screening_pb2_grpc.ScreeningStub(channel)  # type: ignore[no-untyped-call]
        ids = [answer.result.id async for answer in stub.GradeStream(requests())]
    return ids == ["before", "after"]


async def _serve_and_ask(bundle: Path, keepalive: Keepalive, silent_s: float) -> bool:
    server = Server(ServeConfig(bundle=bundle, address="127.0.0.1:0"))
    await server.start()
    try:
        return await _answers_after_silence(server.address, keepalive, silent_s)
    finally:
        await server.stop()


@pytest.mark.slow
async def test_a_quiet_stream_outlives_many_pings(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pings every second; a server that does not know the least pause ends the connection after five of them.
    quick = Keepalive(every_s=1.0, timeout_s=5.0, least_pause_s=0.1)
    monkeypatch.setattr(grpc_server, "KEEPALIVE", quick)
    assert await _serve_and_ask(bundle_path, quick, silent_s=8.0)


@pytest.mark.slow
async def test_a_stream_of_a_client_that_pings_every_ten_seconds_lives(bundle_path: Path) -> None:
    # Java's and Go's clients may do so; the server's own settings.
    assert await _serve_and_ask(bundle_path, Keepalive(every_s=10.0, least_pause_s=KEEPALIVE.least_pause_s), silent_s=75.0)


def test_the_server_bears_twice_the_pings_that_any_client_may_send() -> None:
    settings = dict(KEEPALIVE.server_settings())
    assert settings["grpc.http2.min_ping_interval_without_data_ms"] * 2 <= 10_000
    assert dict(KEEPALIVE.client_settings())["grpc.keepalive_time_ms"] == 60_000
    with pytest.raises(ConfigError):
        Keepalive(every_s=4.0)


def test_grpc_knows_the_name_of_every_setting() -> None:
    from grpc._cython import cygrpc

    library = Path(cygrpc.__file__).read_bytes()  # gRPC ignores a name that it does not know, so nothing else would tell
    assert [name for name, _ in KEEPALIVE.server_settings() if name.encode() not in library] == []
    assert b"grpc.http2.min_recv_ping_interval_without_data_ms" not in library


async def _ask_for(server: Server, options: ClientOptions, seconds: float) -> tuple[int, FovealError | None]:
    """Calls that one client was answered on end, and what ended them."""
    answered, end = 0, time.monotonic() + seconds
    async with AsyncClient(server.address, options) as client:
        while time.monotonic() < end:
            try:
                await client.model()
            except FovealError as error:
                return answered, error
            answered += 1
            await asyncio.sleep(0.02)
    return answered, None


async def test_a_connection_is_made_anew_now_and_then_and_no_call_notices(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_server, "KEEPALIVE", Keepalive(renewed_after_s=0.3))
    server = Server(ServeConfig(bundle=bundle_path, address="127.0.0.1:0"))
    await server.start()
    try:
        answered, failure = await _ask_for(server, ClientOptions(retry_s=0), 2.0)
    finally:
        await server.stop()
    assert failure is None
    assert answered > 20


async def test_a_clients_certificate_that_ends_meanwhile_is_noticed(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_server, "KEEPALIVE", Keepalive(renewed_after_s=0.5))
    authority = Authority(tmp_path)
    own, client = authority.sign("server", "127.0.0.1"), authority.sign("client", ends_in=timedelta(seconds=8))
    config = ServeConfig(bundle=bundle_path, address="127.0.0.1:0", tls_cert=own[0], tls_key=own[1], client_ca=authority.pem)
    server = Server(config)
    await server.start()
    options = ClientOptions(tls_ca=authority.pem, tls_cert=client[0], tls_key=client[1], retry_s=0, timeout_s=10.0)
    try:
        answered, failure = await _ask_for(server, options, 30.0)
    finally:
        await server.stop()
    assert answered > 0
    assert isinstance(failure, TlsError)
    assert "expired" in str(failure)
