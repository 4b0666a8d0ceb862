"""The gRPC server: binds services to an address, tells health truthfully, drains on SIGTERM. Computes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from foveal_runtime._proto import archive_pb2, archive_pb2_grpc, screening_pb2, screening_pb2_grpc
from foveal_runtime.errors import ConfigError, FovealError, LoadingError
from foveal_runtime.rpc.archive_service import ArchiveService
from foveal_runtime.rpc.call import Boundary
from foveal_runtime.rpc.metrics import Metrics
from foveal_runtime.rpc.service import ScreeningService
from foveal_runtime.serving.host import ModelHost
from foveal_runtime.serving.memory import few_arenas, trim

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.serving.config import ServeConfig
    from foveal_runtime.store import Archive

log = logging.getLogger(__name__)

SCREENING = screening_pb2.DESCRIPTOR.services_by_name["Screening"].full_name
ARCHIVE = archive_pb2.DESCRIPTOR.services_by_name["Archive"].full_name
_STORE_CHECK_S = 2.0
_RELOAD_CHECK_S = 2.0
_TRIM_EVERY_S = 5.0
_QUEUED = ("Grade", "GradeExam", "Embed")
"""Unary calls that wait for a worker."""
_FIRST_RECALL_S = 60.0


class Server:
    """A running server. `start`, then `stop`; `run` does both and listens to signals."""

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.host = ModelHost(config)
        self._archive: Archive | None = None
        self._archive_alive = False
        self._watchers: list[asyncio.Task[None]] = []
        self._named = ""  # where the configured path led when it was last loaded
        self._server: Any = None
        self._health = health.aio.HealthServicer()
        self._metrics = Metrics() if config.metrics else None
        self.address = config.address
        """Where it listens; with port 0, the port it got."""

    async def start(self) -> Bundle:
        """Load and test the bundle, open the archive, and serve.

        Raises:
            ConfigError: the address can't be listened on, or a certificate can't be read.
            FovealError: the bundle or the store is unusable.
        """
        config = self.config
        observe = {} if self._metrics is None else {"observe": self._metrics.call_ended}
        self._server = grpc.aio.server(
            interceptors=(Boundary(**observe, admit=dict.fromkeys(_QUEUED, self._check_time)),),
            options=(
                ("grpc.max_receive_message_length", config.max_message_bytes),
                ("grpc.max_send_message_length", config.max_message_bytes),
                ("grpc.so_reuseport", 0),  # two servers on one port would share the callers between them
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),  # vanished clients are noticed and their work is dropped
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ),
        )
        screening = ScreeningService(self.host, config)
        screening_pb2_grpc.add_ScreeningServicer_to_server(screening, self._server)
        archive_pb2_grpc.add_ArchiveServicer_to_server(
            ArchiveService(screening, self.host, self._open_archive_or_none), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SCREENING, ARCHIVE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._bind()
        if self._metrics is not None:
            log.info("metrics on %s", self._metrics.listen(config.metrics))
        await self._tell_health()
        # Listening before loading: a supervisor sees NOT_SERVING and not a refused connection.
        await self._server.start()
        self._named = await asyncio.to_thread(os.path.realpath, config.bundle)
        try:
            bundle = await self.host.load()
            if config.store:
                await self._open_archive(bundle)
        except BaseException:
            await self.stop(drain=False)
            raise
        self.host.on_change = self._on_change
        self.host.test_regularly()
        self._watchers.append(asyncio.create_task(self._watch_link()))
        self._watchers.append(asyncio.create_task(self._trim_regularly()))
        await self._tell_health()
        return bundle

    def _bind(self) -> None:
        config = self.config
        host, _, port = config.address.rpartition(":")
        _probe(host.strip("[]"), int(port))
        try:
            if config.tls_cert is not None and config.tls_key is not None:
                bound = self._server.add_secure_port(
                    config.address, _credentials(config.tls_cert, config.tls_key, config.client_ca)
                )
            else:
                bound = self._server.add_insecure_port(config.address)
        except RuntimeError as error:
            raise ConfigError(f"can't listen on {config.address} ({error}); choose another with --address HOST:PORT") from None
        self.address = f"{host}:{bound}"

    async def _open_archive(self, bundle: Bundle) -> None:
        try:
            from foveal_runtime.store import Archive
        except ModuleNotFoundError as error:
            raise ConfigError(f"--store needs {error.name!r}, which is not installed; install foveal[store]") from None
        from foveal_runtime.store.patients import read_key

        config, manifest = self.config, bundle.manifest
        options = config.archive
        if config.hash_patients is not None:
            options = replace(options, patient_key=read_key(config.hash_patients))
        self._archive = await Archive.open(
            config.store,
            space_id=manifest.space_id,
            dim=manifest.embedding_dim,
            collection=config.collection,
            options=options,
        )
        self._archive_alive = True
        self.host.pinned_space = True
        self._watchers.append(asyncio.create_task(self._watch_archive(self._archive)))
        self._watchers.append(asyncio.create_task(self._measure_archive(self._archive)))

    def _open_archive_or_none(self) -> Archive | None:
        """The archive; None when none was asked for.

        Raises:
            LoadingError: it was asked for and is not open yet: the port answers before the start is over.
        """
        if self._archive is None and self.config.store:
            raise LoadingError("the archive is not open yet; wait for the health service to say SERVING, and send again")
        return self._archive

    def _on_change(self) -> None:
        task = asyncio.get_running_loop().create_task(self._tell_health())
        task.add_done_callback(lambda done: done.exception())

    async def _tell_health(self) -> None:
        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        screening = self.host.healthy
        archive = screening and self._archive is not None and self._archive_alive
        await self._health.set(SCREENING, serving if screening else not_serving)
        await self._health.set(ARCHIVE, serving if archive else not_serving)
        whole = screening and (archive or not self.config.store)
        await self._health.set("", serving if whole else not_serving)

    async def _watch_archive(self, archive: Archive) -> None:
        while True:
            await asyncio.sleep(_STORE_CHECK_S)
            alive = await archive.alive()
            if alive != self._archive_alive:
                log.log(logging.INFO if alive else logging.ERROR, "store is %s", "back" if alive else "lost")
                self._archive_alive = alive
                await self._tell_health()

    async def _measure_archive(self, archive: Archive) -> None:
        """Compare the approximate search with the exact one now and then, for `Stats` and the metrics."""
        from foveal_runtime.store.monitor import measure_recall

        every_s = self.config.archive.recall_every_s
        wait_s = min(_FIRST_RECALL_S, every_s)
        while every_s:
            await asyncio.sleep(wait_s)
            wait_s = every_s
            try:
                await measure_recall(archive, sample=archive.options.recall_sample)
                stats = await archive.stats()
            except FovealError as error:
                log.warning("recall could not be measured: %s", error)
                continue
            if self._metrics is not None:
                self._metrics.archive(stats)

    def _check_time(self, context: Any) -> None:
        self.host.model.batcher.check_time(1, context.time_remaining())

    async def _watch_link(self) -> None:
        """Load a new bundle when the symbolic link that was named at the start points elsewhere."""
        while True:
            await asyncio.sleep(_RELOAD_CHECK_S)
            if await asyncio.to_thread(os.path.realpath, self.config.bundle) != self._named:
                await self.reload()

    async def _trim_regularly(self) -> None:
        while True:
            await asyncio.sleep(_TRIM_EVERY_S)
            await asyncio.to_thread(trim)

    async def reload(self) -> None:
        """Load the bundle again beside the current one, test it, and swap; keep the current one when that fails."""
        self._named = await asyncio.to_thread(os.path.realpath, self.config.bundle)
        try:
            bundle = await self.host.load()
            log.info("now serving bundle %s", bundle.sha256[:12])
        except FovealError as error:
            log.error("new bundle is not served, the old one is kept: %s", error)

    async def stop(self, *, drain: bool = True) -> None:
        """Refuse new calls, finish what was accepted within `drain_s`, and end everything. Idempotent."""
        await self._health.enter_graceful_shutdown()
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers.clear()
        await self._server.stop(self.config.drain_s if drain else 0)
        await self.host.close()
        if self._archive is not None:
            archive, self._archive = self._archive, None
            await archive.close()
        if self._metrics is not None:
            self._metrics.close()

    async def run(self, announce: Callable[[Server, Bundle], None]) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP loads the bundle again.

        Args:
            announce: called once the server is SERVING.
        """
        few_arenas()
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        starting = asyncio.create_task(self.start())
        waiting = asyncio.create_task(stopping.wait())
        reloads: set[asyncio.Task[None]] = set()

        async def reload_once_serving() -> None:
            await asyncio.wait((starting,))
            if not starting.cancelled() and starting.exception() is None:
                await self.reload()

        def reload_soon() -> None:
            task = asyncio.create_task(reload_once_serving())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload_soon)  # before the start: by default it ends the process
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        try:
            await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
                return
            announce(self, starting.result())
            await waiting
            log.info("stopping: finishing what was accepted")
            await self.stop()
        finally:
            waiting.cancel()


def _probe(host: str, port: int) -> None:
    """Say in one line why an address can't be listened on; gRPC would print a page of its own first."""
    if port == 0:
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"address {host}:{port} can't be resolved ({error}); give HOST:PORT of this machine") from None
    family, kind, protocol, _, target = found[0]
    with socket.socket(family, kind, protocol) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
            probe.listen(1)
        except OSError as error:
            raise ConfigError(
                f"can't listen on {host}:{port} ({os.strerror(error.errno or 0)}); stop what uses it, or choose another with "
                f"--address HOST:PORT"
            ) from None


def _credentials(cert: Path, key: Path, client_ca: Path | None) -> Any:
    try:
        chain, private = cert.read_bytes(), key.read_bytes()
        roots = client_ca.read_bytes() if client_ca is not None else None
    except OSError as error:
        raise ConfigError(f"TLS file can't be read ({error}); check --tls-cert, --tls-key and --client-ca") from None
    return grpc.ssl_server_credentials([(private, chain)], root_certificates=roots, require_client_auth=roots is not None)
