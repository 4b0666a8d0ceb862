"""HTTP/1.1 on a socket: uvicorn in the server's own event loop, TLS from the files that gRPC shows, limits of connections.

Knows no route. Signals are the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from foveal_runtime.errors import ConfigError
from foveal_runtime.http.call import CERTIFICATE
from foveal_runtime.http.problems import problem
from foveal_runtime.rpc.address import check_free

if TYPE_CHECKING:
    from foveal_runtime.access.watching import Watched
    from foveal_runtime.rpc.certificates import ServerFiles

REQUEST_S = 30.0
"""In which the head of a request has to come, from its first byte on or from when the connection was opened."""
KEEP_ALIVE_S = 75.0
"""Between two requests on one connection: longer than a proxy keeps its own open."""
MAX_HEADER_BYTES = 32 << 10
_BACKLOG = 1024
_TICK_S = 1.0


class Protocol(H11Protocol):
    """uvicorn's, which also knows the caller's certificate and waits for no request for ever."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.app_state = {**self.app_state, CERTIFICATE: tls.getpeercert()}
        self._patience = self.loop.call_later(REQUEST_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._patience.cancel()
        elif self._patience.cancelled():
            # A request that begins, or the rest of one that was refused: neither may go on for ever.
            self._patience = self.loop.call_later(REQUEST_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Of what is no HTTP. Once an answer has begun, nothing can be said any more."""
        number, headers, body = problem(400, "INVALID_INPUT", "the request is no HTTP/1.1")
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        raw += [(b"connection", b"close"), (b"content-length", str(len(body)).encode())]
        try:
            for event in (h11.Response(status_code=number, headers=raw), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()
        except h11.LocalProtocolError:
            self.transport.abort()


class _Uvicorn(uvicorn.Server):
    """One that leaves signals to the server, and wakes once a second, for the `Date` of its answers, and not ten times."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Take no more connections, and end when the requests in work have."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _TICK_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """An application on an address. Lives on one event loop."""

    def __init__(self, app: Any, address: str, certificate: Watched[ServerFiles] | None, *, connections: int, drain_s: float):
        """Args:
        app: of ASGI.
        address: HOST:PORT; port 0 takes a free one.
        certificate: TLS files as they were read last; None is plain text.
        connections: that may be open at once.
        drain_s: that requests in work may take when it ends.
        """
        self.address = address
        self._config = uvicorn.Config(
            app,
            http=Protocol,
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=connections,
            backlog=_BACKLOG,
            timeout_keep_alive=round(KEEP_ALIVE_S),
            timeout_graceful_shutdown=round(drain_s) or 1,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
        self._certificate = certificate
        self._server: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address can't be listened on.
        """
        # What strangers send that is no HTTP is no event of ours.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        listening = _bound(self.address)
        host = self.address.rpartition(":")[0]
        self.address = f"{host}:{listening.getsockname()[1]}"
        self._config.load()
        if self._certificate is not None:
            self._config.ssl = tls_context(self._certificate)
        self._server = _Uvicorn(self._config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))

    async def close(self) -> None:
        """Take no more connections, let requests in work end, and close. Idempotent."""
        if self._server is None or self._serving is None:
            return
        self._server.end()
        await asyncio.gather(self._serving, return_exceptions=True)


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    check_free(host, int(port), "--http")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(target)
        found.listen(_BACKLOG)
    except OSError as error:
        raise ConfigError(f"can't listen on {address} ({error}); choose another with --http HOST:PORT") from None
    found.setblocking(False)
    return found


def tls_context(files: Watched[ServerFiles]) -> ssl.SSLContext:
    """TLS as gRPC does it: each new connection gets the files as they were read last; open ones keep theirs."""
    given = files.value
    context = newest = _context(given)

    def choose(connection: Any, name: str | None, first: ssl.SSLContext) -> None:
        # Before each handshake, whether the caller names a host or not.
        nonlocal given, newest
        if files.value is not given:
            given = files.value
            newest = _context(given)
        connection.context = newest

    context.sni_callback = choose
    return context


def _context(files: ServerFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # Python reads certificates from paths alone; what was checked and is in memory gets one that nobody else has.
    chain, key = _in_memory(files.chain), _in_memory(files.key)
    try:
        context.load_cert_chain(f"/proc/self/fd/{chain}", f"/proc/self/fd/{key}")
    finally:
        os.close(chain)
        os.close(key)
    if files.authorities is not None:
        context.load_verify_locations(cadata=files.authorities.decode("ascii", "ignore"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _in_memory(data: bytes) -> int:
    descriptor = os.memfd_create("foveal-tls", os.MFD_CLOEXEC)
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
