"""The gRPC server: binds services to an address, tells health truthfully, drains when it stops. Computes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from foveal_runtime import __version__
from foveal_runtime.errors import FovealError
from foveal_runtime.lifecycle import Event, tell
from foveal_runtime.rpc.admin_service import AdminService, Looked
from foveal_runtime.rpc.admission import Admission
from foveal_runtime.rpc.admits import admits
from foveal_runtime.rpc.archive_service import ArchiveService
from foveal_runtime.rpc.audited import Audited, begin_trail, bundle_ref
from foveal_runtime.rpc.budget import ByteBudget
from foveal_runtime.rpc.call import Boundary, InWork
from foveal_runtime.rpc.doors import Door, Inside, OpenDoor
from foveal_runtime.rpc.entrance import Entrance
from foveal_runtime.rpc.gauges import Gauges
from foveal_runtime.rpc.grpc_server import make_server
from foveal_runtime.rpc.health_service import Health
from foveal_runtime.rpc.inference_service import InferenceService
from foveal_runtime.rpc.latency import RecentCalls
from foveal_runtime.rpc.limit_messages import limits_to
from foveal_runtime.rpc.metrics import Metrics, Observers
from foveal_runtime.rpc.permissions import ADMIN, ARCHIVE, SCREENING
from foveal_runtime.rpc.served_archive import ServedArchive
from foveal_runtime.rpc.served_drift import ServedDrift
from foveal_runtime.rpc.served_replicas import ServedReplicas
from foveal_runtime.rpc.service import ScreeningService
from foveal_runtime.rpc.services import add_services, routed
from foveal_runtime.rpc.traces import Traces
from foveal_runtime.rpc.watchers import Watchers
from foveal_runtime.serving.host import ModelHost
from foveal_runtime.serving.memory import trim

if TYPE_CHECKING:
    from foveal_runtime.access.watching import Watched
    from foveal_runtime.audit.trail import Trail
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.rpc.certificates import ServerFiles
    from foveal_runtime.serving.config import ServeConfig

log = logging.getLogger(__name__)

_RELOAD_CHECK_S = 2.0
_TRIM_EVERY_S = 5.0
_LAST_BYTES_S = 0.5
"""For answers that are on their way when the last call is over."""


class Server:
    """A running server. `start`, then `stop`; `running.run` does both and listens to signals."""

    def __init__(self, config: ServeConfig, open_door: OpenDoor | None = None) -> None:
        """Args:
        config: what it is told.
        open_door: a second way in, which `start` opens; None is none.
        """
        self.config = config
        self._open_door = open_door
        self.door: Door | None = None
        """Once it has started."""
        self.host = ModelHost(config.model)
        """The default model."""
        self._router = routed(config, self.host)
        self._trail: Trail | None = None
        self._audited = Audited()
        self._archive = ServedArchive(config, self._tell_health)
        self._replicas = ServedReplicas(self._archive)
        self._drift = ServedDrift(config, self.host)
        self._recent = RecentCalls()
        self._watchers = Watchers()
        self._named: dict[ModelHost, str] = {}  # where each model's path led when it was last loaded
        self._server: Any = None
        self._entrance: Entrance | None = None
        self._in_work = InWork()
        self._archive_calls = Admission("archive calls", config.max_archive_calls, config.archive.connections_max)
        self._budget = ByteBudget.of(config)
        self._health = Health()
        self._metrics = Metrics() if config.metrics else None
        self._traces = Traces(config.traces) if config.traces else None
        self.address = config.address
        """Where it listens; with port 0, the port it got."""

    async def start(self) -> Bundle:
        """Load and test the bundle, open the archive, and serve.

        Raises:
            ConfigError: the address can't be listened on, or a certificate, the tokens or the audit trail can't be opened.
            CheckFailed: the audit trail's chain is broken.
            FovealError: the bundle or the store is unusable.
        """
        config, metrics = self.config, self._metrics
        self._begin_trail()
        self._drift.begin()
        self._entrance = entrance = Entrance(config) if metrics is None else Entrance(config, metrics.refused)
        admit = admits(self.host, self._archive_calls, self._audited)
        boundary = Boundary.of(config, self._call_ended, budget=self._budget, gate=entrance.gate, admit=admit)
        self._in_work = boundary.in_work
        self._server = make_server(config, boundary, self._traces)
        servicers = self._add_services(entrance.certificate)
        self.address = entrance.bind(self._server)
        if self._open_door is not None:
            self.door = self._open_door(
                Inside(
                    config=config,
                    boundary=boundary,
                    servicers=servicers,
                    health=self._health,
                    traces=self._traces,
                    certificate=entrance.certificate,
                )
            )
        if metrics is not None:
            self._offer(metrics, entrance)
        self._watchers.keep("tokens and certificate", entrance.watch)
        self._tell_health()
        # Listening before loading: a supervisor sees NOT_SERVING and not a refused connection.
        await self._server.start()
        try:
            if self.door is not None:
                await self.door.open()
            if config.store:
                self._archive.begin()
            bundle = await self._load(self.host)
            for _, host in self._router.hosts():
                if host is not self.host:
                    await self._load(host)
            if config.store:
                await self._archive.open(bundle.manifest)
                self.host.pinned_space = True
                self._watchers.keep("archive", self._archive.watch)
                if self._archive.measures_recall:
                    self._watchers.keep("recall", self._archive.measure)
        except BaseException:
            await self.stop(drain=False)
            raise
        self._started()
        return bundle

    def _started(self) -> None:
        """Tell that it serves, and begin what goes on while it does."""
        tell(Event.START, f"foveal {__version__} has started on {self.address}", version=__version__, address=self.address)
        self.host.on_change = self._tell_health
        for name, host in self._router.hosts():
            host.test_regularly()
            host.history.begin(name, host.bundle)
            self._watchers.keep(f"{name} link", partial(self._watch_link, host))
        self._watchers.keep("memory", self._trim_regularly)
        if self.config.drift is not None:
            self._watchers.keep("drift", self._drift.keep)
        self._tell_health()

    def _add_services(self, certificate: Watched[ServerFiles] | None) -> Mapping[str, Any]:
        config, archive = self.config, self._archive
        observers = [told for told in (self._metrics, self._traces) if told is not None]
        limits = limits_to(config, self._budget.total)
        screening = ScreeningService(self._router, config, limits, Observers(*observers), self._audited, self._drift.graded)
        return add_services(
            self._server,
            screening,
            ArchiveService(screening, self.host, archive.get, self._archive_calls, self._audited),
            AdminService(self._looked(certificate), partial(self._load_again, self.host)),
            InferenceService(screening, self._router, self._health),
            self._health,
            reflect=config.reflection,
        )

    def _looked(self, certificate: Watched[ServerFiles] | None) -> Looked:
        return Looked(
            router=self._router,
            archive_alive=lambda: self._archive.alive,
            audited=self._audited,
            certificate=certificate,
            recent=self._recent,
            drift=self._drift,
            replicas=self._replicas,
        )

    def _call_ended(self, name: str, outcome: str, seconds: float) -> None:
        self._recent.call_ended(name, outcome, seconds)
        if self._metrics is not None:
            self._metrics.call_ended(name, outcome, seconds)

    def _offer(self, metrics: Metrics, entrance: Entrance) -> None:
        counted = self._archive.count if self.config.store else None
        metrics.register(Gauges(self.host, asyncio.get_running_loop(), self._budget, counted, self._trail))
        metrics.register(entrance)
        metrics.register(self._drift)
        metrics.register(self._replicas)
        log.info("metrics on %s", metrics.listen(self.config.metrics))

    def _begin_trail(self) -> None:
        if self.config.audit is None:
            return
        self._trail = trail = begin_trail(self.config.audit, self.config, self.host.min_gradable)
        self._audited, loop = Audited(trail), asyncio.get_running_loop()
        trail.on_change = lambda: _soon(loop, self._tell_health)

    def _tell_health(self) -> None:
        # Who may answer nothing should get no calls.
        screening = self.host.healthy and not self._audited.refusal
        self._health.set(SCREENING, screening)
        self._health.set(ARCHIVE, screening and bool(self._archive.alive))
        self._health.set(ADMIN, True)
        # The archive's health is the archive's alone: grading goes on without it.
        self._health.set("", screening)

    async def _watch_link(self, host: ModelHost) -> None:
        """Load a new bundle when the symbolic link that was named at the start points elsewhere."""
        while True:
            await asyncio.sleep(_RELOAD_CHECK_S)
            if await asyncio.to_thread(os.path.realpath, host.path) != self._named[host]:
                await self._reload(host)

    async def _trim_regularly(self) -> None:
        while True:
            await asyncio.sleep(_TRIM_EVERY_S)
            await asyncio.to_thread(trim)

    async def reload(self) -> None:
        """Load every bundle again beside the current one, test it, and swap; keep the current one where that fails.

        Tokens and certificate are read first, where they have changed.
        """
        if self._entrance is not None:
            await self._entrance.look(at_once=True)
        for _, host in self._router.hosts():
            await self._reload(host)

    async def _reload(self, host: ModelHost) -> None:
        with contextlib.suppress(FovealError):
            await self._load_again(host)

    async def _load_again(self, host: ModelHost) -> Bundle:
        try:
            return await self._load(host)
        except FovealError as error:
            host.history.refused(error)
            raise

    async def _load(self, host: ModelHost) -> Bundle:
        self._named[host] = await asyncio.to_thread(os.path.realpath, host.path)
        bundle = await host.load()
        if self._trail is not None:
            self._trail.note({"call": "server", "verdict": "serving", "bundle": bundle_ref(bundle)})
        return bundle

    async def stop(self, *, drain: bool = True) -> None:
        """Refuse new calls, finish what was accepted within `drain_s`, and end everything. Idempotent."""
        await self._health.close()
        await self._watchers.end()
        # gRPC waits for every call, those too that only watch the health: ours are over sooner.
        stopping = asyncio.create_task(self._server.stop(self.config.drain_s if drain else 0))
        closing = asyncio.create_task(self._close_door())
        over = asyncio.create_task(self._in_work.none())
        await asyncio.wait((stopping, over), return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        await self._server.stop(_LAST_BYTES_S)
        await asyncio.gather(stopping, closing)
        if self._router.shadow is not None:
            await self._router.shadow.close()
        for _, host in self._router.hosts():
            await host.close()
        await self._archive.close()
        await self._drift.close()
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.close)  # a scrape may be waiting for this loop
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
        if self._trail is not None:
            self._trail.note({"call": "server", "verdict": "stopped"})
            await asyncio.to_thread(self._trail.close)
            self._trail = None

    async def _close_door(self) -> None:
        if self.door is not None:
            await self.door.close()


def _soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call on a loop from another thread; not at all when it is closed: nobody is left to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
