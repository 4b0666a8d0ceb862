"""The bundle that is being served and its workers: load, test, swap for another, test again. Knows nothing of gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.signing import read_public_key
from foveal_runtime.engine.choice import AUTO, resolve
from foveal_runtime.engine.grading import Reason, check_abstains, check_operating_point
from foveal_runtime.errors import CheckFailed, FovealError, LoadingError, SpaceMismatchError, UnavailableError
from foveal_runtime.lifecycle import Event, tell
from foveal_runtime.photo.imaging import ImageLimits
from foveal_runtime.photo.site import read_site
from foveal_runtime.serving import oom
from foveal_runtime.serving.batching import Batcher
from foveal_runtime.serving.history import History
from foveal_runtime.serving.kept import loaded, planned
from foveal_runtime.serving.supervisor import Worker
from foveal_runtime.serving.workerspec import Replay, WorkerSpec

if TYPE_CHECKING:
    from pathlib import Path

    from foveal_runtime.engine.compiled import Compiled
    from foveal_runtime.engine.selftest import SelfTestReport
    from foveal_runtime.sandbox.confine import Confinement
    from foveal_runtime.serving.spec import ModelSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A loaded bundle and its workers."""

    bundle: Bundle
    batcher: Batcher
    spec: ModelSpec
    """As it is served: with the workers, threads and batch that were measured for it, where nobody chose others."""
    compiled: Compiled | None = None
    first_test: tuple[float, SelfTestReport] | None = None
    """The self-test that it was loaded with: when it ended, on the monotonic clock, and its report."""

    async def close(self) -> None:
        """End the workers, and give back what they were loaded from."""
        await self.batcher.close()
        self.bundle.close()
        if self.compiled is not None:
            self.compiled.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class HostStatus:
    """How a host is, as `Admin.GetStatus` tells it."""

    healthy: bool
    reason: str
    """Why it is not; empty when it is."""
    workers_ready: int
    workers_wanted: int
    lost_by_cause: dict[str, int]
    """Workers that were lost since the bundle was loaded: `died` and `hung`."""
    queued_studies: int
    queued_bytes: int
    decoding_bytes: int | None
    """Memory for the photographs that all workers decode now; None where nobody counts it."""
    last_test: tuple[float, SelfTestReport] | None
    """When the last self-test of what is served ended, on the monotonic clock, and its report; None before the first."""
    processes: dict[str, int]
    """Process ids by name: `server`, `worker 0`, …"""


class ModelHost:
    """Serves one model at a time."""

    def __init__(self, spec: ModelSpec) -> None:
        """Args:
        spec: of the bundle; nothing is opened yet.
        """
        self._spec = spec
        # Read once: a key file that is replaced while serving changes nothing.
        self._key = None if spec.require_signature is None else read_public_key(spec.require_signature)
        self.min_gradable = None if spec.quality is None else read_site(spec.quality).min_gradable
        """Probability from which a photograph passes the gradability check; None is the check's own."""
        self._model: Model | None = None
        self.history = History()
        self._swapping = asyncio.Lock()
        self._drift: str = ""
        self._tests: asyncio.Task[None] | None = None
        self._testing: asyncio.Task[SelfTestReport] | None = None
        self._waiting_for_test = 0
        self._last_test: tuple[float, SelfTestReport] | None = None
        self.confinement: Confinement | None = None
        """What its workers' processes can't do; None before the first is up."""
        self.pinned_space = False
        """True while an archive of the served space is open: another space is then refused."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when health may have changed."""

    @property
    def path(self) -> Path:
        """Where the bundle was asked to be; a link may lead elsewhere by now."""
        return self._spec.bundle

    @property
    def model(self) -> Model:
        """What is served.

        Raises:
            LoadingError: nothing yet.
            UnavailableError: the last self-test failed.
        """
        if self._model is None:
            raise LoadingError("the bundle is still being loaded; send again later")
        if self._drift:
            raise UnavailableError(f"the self-test failed on this machine ({self._drift}); no answer can be trusted")
        return self._model

    @property
    def bundle(self) -> Bundle:
        """The bundle that is loaded, also when its self-test failed.

        Raises:
            LoadingError: nothing is loaded yet.
        """
        if self._model is None:
            raise LoadingError("the bundle is still being loaded; send again later")
        return self._model.bundle

    @property
    def served(self) -> ModelSpec:
        """How the loaded bundle is served."""
        return self._spec if self._model is None else self._model.spec

    @property
    def healthy(self) -> bool:
        """A bundle is loaded, passed its last self-test, and a worker is up."""
        return self._model is not None and not self._drift and self._model.batcher.live_workers > 0

    def status(self) -> HostStatus:
        """How it is now."""
        batcher = None if self._model is None else self._model.batcher
        ready = 0 if batcher is None else batcher.live_workers
        reason = "the bundle is still being loaded" if batcher is None else "" if ready else "no worker is up"
        return HostStatus(
            healthy=self.healthy,
            reason=f"the self-test failed: {self._drift}" if self._drift else reason,
            workers_ready=ready,
            workers_wanted=self.served.workers,
            lost_by_cause={} if batcher is None else batcher.lost,
            queued_studies=0 if batcher is None else batcher.depth,
            queued_bytes=0 if batcher is None else batcher.queued_bytes,
            decoding_bytes=None if batcher is None else batcher.decoding_bytes,
            last_test=self._last_test,
            processes={
                "server": os.getpid(),
                **{f"worker {i}": pid for i, pid in enumerate(() if batcher is None else batcher.pids)},
            },
        )

    async def load(self) -> Bundle:
        """Open the configured bundle beside the current one, test it, and swap.

        Raises:
            FovealError: it can't be opened, is not signed by the required key, fails its self-test, or is of another space
                while an archive is open. The current one goes on being served.
        """
        async with self._swapping:
            bundle = await asyncio.to_thread(Bundle.open, self._spec.bundle, signed_by=self._key, seal=True)
            try:
                model = await self._start(bundle)
            except BaseException:
                bundle.close()
                raise
            old, self._model, self._drift = self._model, model, ""
            self._last_test = model.first_test
            self.on_change()
            self.history.add(bundle)
            if old is not None:
                await old.batcher.drain(self._spec.drain_s)
                await old.close()
            return bundle

    async def _start(self, bundle: Bundle) -> Model:
        """Workers of an opened bundle, tested.

        Raises:
            FovealError: see `load`.
        """
        check_operating_point(bundle.manifest, self._spec.operating_point)
        check_abstains(bundle.manifest, frozenset(Reason(each) for each in self._spec.abstain))
        if self._model is not None and self.pinned_space:
            served = self._model.bundle.manifest.space_id
            if bundle.manifest.space_id != served:
                raise SpaceMismatchError(
                    f"{bundle.path} is of space {bundle.manifest.space_id[:12]}…, the open archive holds "
                    f"{served[:12]}…; serve it with a store of its own"
                )
        choice = await asyncio.to_thread(resolve, self._spec.provider, bundle)
        # Who asked for the best that is there has to see which one that is, and why no better one.
        level = logging.WARNING if self._spec.provider == AUTO else logging.INFO
        log.log(level, "provider %s: %s", choice.provider.value, choice.why)
        spec = await asyncio.to_thread(planned, replace(self._spec, provider=choice.provider.value), bundle)
        bundle, compiled = await loaded(bundle, choice.provider)
        tested: list[tuple[float, SelfTestReport]] = []
        batcher = self._batcher(bundle, compiled, spec, tested)
        try:
            await batcher.start()
        except BaseException:
            if compiled is not None:
                compiled.close()
            raise
        batcher.on_change(lambda: self.on_change())
        return Model(bundle=bundle, batcher=batcher, spec=spec, compiled=compiled, first_test=tested[-1] if tested else None)

    def _batcher(
        self, bundle: Bundle, compiled: Compiled | None, spec: ModelSpec, tested: list[tuple[float, SelfTestReport]]
    ) -> Batcher:
        """A batcher that has yet to start; `tested` gets the self-tests of its first workers."""
        worker_spec = WorkerSpec(
            bundle=bundle,
            provider=spec.provider,
            threads=spec.threads_each,
            max_rows=spec.max_rows,
            limits=ImageLimits(max_pixels=spec.max_image_pixels, max_decoded_bytes=spec.batch.max_decoded_bytes),
            decode_cpu_s=spec.batch.decode_cpu_s,
            compiled=compiled,
            background=spec.background,
            min_gradable=self.min_gradable,
            sandbox=spec.sandbox,
        )
        lanes, ahead = worker_spec.batches

        async def start_worker() -> Worker:
            # Callers wait for a replacement: a few golden studies show that it is no other model and computes as it should.
            fresh = replace(worker_spec, replay=Replay.SOME if batcher.started else Replay.ALL)
            worker = await Worker.start(fresh, start_timeout_s=spec.start_timeout_s)
            oom.sooner(oom.WORKER - oom.SERVER, worker.pid)
            assert worker.ready is not None
            self.confinement = worker.ready.confinement
            report = worker.ready.self_test
            if report is not None and not batcher.started:
                tested.append((time.monotonic(), report))
            if report is not None and not report.passed:
                await asyncio.to_thread(worker.close)
                raise CheckFailed(f"the self-test of {bundle.path} failed: {_first_drift(report)}; export for this machine")
            return worker

        batcher = Batcher(
            start_worker,
            workers=spec.workers,
            lanes=lanes,
            ahead=ahead,
            batch=spec.batch,
            queue=spec.queue,
            cache_entries=spec.cache_entries,
        )
        return batcher

    async def self_test(self) -> SelfTestReport:
        """Replay the golden studies in every worker now; a failure turns the server NOT_SERVING until a later one passes.

        One runs at a time: who asks meanwhile gets its report. It ends when everybody who asked has gone.

        Raises:
            LoadingError: nothing is loaded.
            UnavailableError: no worker is up.
        """
        if self._testing is None or self._testing.done():
            self._testing, self._waiting_for_test = asyncio.create_task(self._test_now()), 0
        testing = self._testing
        self._waiting_for_test += 1
        try:
            return await asyncio.shield(testing)
        finally:
            if testing is self._testing:
                self._waiting_for_test -= 1
                if not self._waiting_for_test:
                    testing.cancel()
                    self._testing = None  # it has yet to notice, and nobody may join it

    async def _test_now(self) -> SelfTestReport:
        if self._model is None:
            raise LoadingError("the bundle is still being loaded; send again later")
        model = self._model
        report = await model.batcher.self_test()
        if model is self._model:
            self._last_test = (time.monotonic(), report)
            drift = "" if report.passed else _first_drift(report)
            if drift != self._drift:
                event = Event.SELF_TEST_FAILED if drift else Event.SELF_TEST_PASSED
                tell(event, f"self-test: {report.summary()}", level=logging.ERROR if drift else logging.INFO)
                self._drift = drift
                self.on_change()
        return report

    def test_regularly(self) -> None:
        """Start the self-tests of `self_test_every_s`."""
        if self._spec.self_test_every_s > 0:
            self._tests = asyncio.create_task(self._test_for_ever())

    async def _test_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._spec.self_test_every_s)
            try:
                await self.self_test()
            except FovealError as error:
                log.warning("self-test could not run: %s", error)

    async def close(self) -> None:
        """End the workers."""
        if self._tests is not None:
            self._tests.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tests
        if self._model is not None:
            await self._model.close()


def _first_drift(report: SelfTestReport) -> str:
    first = report.failures[0]
    return f"{first.quantity} is {first.got:.4g} where {first.limit:.4g} is allowed, {len(report.failures)} such in all"
