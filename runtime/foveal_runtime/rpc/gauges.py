"""What Prometheus finds of the server as it is at the moment of a scrape: queue, workers, self-test, memory, archive."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import TimeoutError as NoAnswer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime import __version__
from foveal_runtime.errors import FovealError, UnavailableError
from foveal_runtime.rpc import entrance, served_drift, served_replicas
from foveal_runtime.rpc.metrics import COUNTED, Figure
from foveal_runtime.rpc.metrics import metric as _metric

if TYPE_CHECKING:
    from foveal_runtime.audit.trail import Trail
    from foveal_runtime.rpc.budget import ByteBudget
    from foveal_runtime.serving.host import ModelHost
    from foveal_runtime.store import Stats

_ARCHIVE_WAIT_S = 5.0
_ARCHIVE_AGE_S = 10.0
"""Counting a large archive takes a while: what was counted this lately is true enough."""

BUILD = Figure("foveal_build_info", "gauge", "1, with the version of foveal and of Python.", ("version", "python"))
BUNDLE = Figure(
    "foveal_bundle_info", "gauge", "1, with what is served.", ("bundle_sha256", "profile", "precision", "space_id", "provider")
)
UP = Figure("foveal_serving", "gauge", "1 where studies are answered.")
QUEUED = Figure("foveal_queued_studies", "gauge", "Studies that wait for a worker or run in one.")
QUEUED_BYTES = Figure("foveal_queued_bytes", "gauge", "Bytes of photographs and notes that wait for a worker.")
RECEIVED = Figure(
    "foveal_received_bytes", "gauge", "Bytes of messages that arrive or wait for their answers, and how many may.", ("of",)
)
RECEIVE_WAITS = Figure("foveal_receive_waiting_calls", "gauge", "Calls whose next message waits until there is room for it.")
DECODING = Figure(
    "foveal_decoding_bytes", "gauge",
    "Memory for the photographs that all workers decode now, and how much may be; Linux alone tells.",
    ("of",),
)  # fmt: skip
WORKERS = Figure("foveal_workers", "gauge", "Worker processes.", ("state",))
RESTARTS = Figure("foveal_worker_restarts_total", "counter", "Workers that were lost and replaced, by cause.", ("cause",))
TESTED = Figure("foveal_self_test_passed", "gauge", "1 when the last self-test passed.")
TEST_AGE = Figure("foveal_self_test_age_seconds", "gauge", "Since the last self-test.")
COSINE = Figure("foveal_golden_min_cosine", "gauge", "Least cosine of the golden studies' vectors to PyTorch's.")
PROBABILITY = Figure("foveal_golden_max_probability_change", "gauge", "Largest change of a golden study's probability.")
MEMORY = Figure("foveal_resident_bytes", "gauge", "Resident memory; pages that processes share count in each.", ("process",))
ARCHIVE_UP = Figure("foveal_archive_up", "gauge", "1 where the store answers.")
ENTRIES = Figure("foveal_archive_entries", "gauge", "Stored entries.")
VECTORS = Figure("foveal_archive_vectors", "gauge", "Stored vectors.", ("kind",))
INDEXED = Figure("foveal_archive_indexed", "gauge", "1 where an index answers.", ("kind",))
RECALL = Figure("foveal_archive_recall", "gauge", "Recall@10 against exact search, mean over sampled vectors.", ("kind",))
BYTES = Figure("foveal_archive_bytes", "gauge", "Bytes in PostgreSQL.")
AUDIT_UP = Figure("foveal_audit_up", "gauge", "1 where the audit trail can be written; without it nothing is answered.")
AUDIT_RECORDS = Figure("foveal_audit_records", "gauge", "Number of the audit trail's last record.")
READ = (
    BUILD, BUNDLE, UP, QUEUED, QUEUED_BYTES, RECEIVED, RECEIVE_WAITS, DECODING, WORKERS, RESTARTS, TESTED, TEST_AGE, COSINE,
    PROBABILITY, MEMORY, ARCHIVE_UP, ENTRIES, VECTORS, INDEXED, RECALL, BYTES, AUDIT_UP,
    AUDIT_RECORDS,
)  # fmt: skip
FIGURES = (*COUNTED, *READ, *served_replicas.FIGURES, *entrance.FIGURES, *served_drift.FIGURES)


class Gauges:
    """A collector in Prometheus's sense: `collect` is called by the thread of a scrape."""

    def __init__(
        self,
        host: ModelHost,
        loop: asyncio.AbstractEventLoop,
        budget: ByteBudget,
        archive: Callable[[], Awaitable[Stats]] | None,
        trail: Trail | None = None,
    ) -> None:
        """Args:
        host: of the model.
        loop: where the archive is asked.
        budget: of the messages that are received.
        archive: counts it, and raises a `FovealError` where it can't; None without one.
        trail: of the server; None without one.
        """
        self._trail = trail
        self._host, self._loop, self._budget, self._archive = host, loop, budget, archive
        self._counted: Stats | None = None
        self._counted_at = 0.0

    def describe(self) -> list[Any]:
        """Nothing: names are known, and asking would count the archive at the start."""
        return []

    def collect(self) -> Iterator[Any]:
        """Every figure, as it is now."""
        yield from self._of_server()
        yield from self._of_archive()
        if self._trail is not None:
            yield _metric(AUDIT_UP, {(): not self._trail.failure})
            yield _metric(AUDIT_RECORDS, {(): self._trail.head[0]})

    def _of_server(self) -> Iterator[Any]:
        status = self._host.status()
        yield _metric(BUILD, {(__version__, sys.version.split()[0]): 1})
        yield _metric(UP, {(): status.healthy})
        yield _metric(QUEUED, {(): status.queued_studies})
        yield _metric(QUEUED_BYTES, {(): status.queued_bytes})
        yield _metric(RECEIVED, {("held",): self._budget.used, ("limit",): self._budget.total})
        yield _metric(RECEIVE_WAITS, {(): self._budget.waiting})
        if status.decoding_bytes is not None:
            most = self._host.served.batch.max_decoded_bytes * status.workers_ready
            yield _metric(DECODING, {("held",): status.decoding_bytes, ("limit",): most})
        yield _metric(WORKERS, {("ready",): status.workers_ready, ("wanted",): status.workers_wanted})
        yield _metric(RESTARTS, {(cause,): count for cause, count in status.lost_by_cause.items()})
        yield _metric(MEMORY, {(name,): size for name, pid in status.processes.items() if (size := _resident(pid)) is not None})
        if status.last_test is not None:
            at, report = status.last_test
            yield _metric(TESTED, {(): report.passed})
            yield _metric(TEST_AGE, {(): time.monotonic() - at})
            yield _metric(COSINE, {(): report.min_cosine})
            yield _metric(PROBABILITY, {(): report.max_abs_probability})
        try:
            bundle = self._host.bundle
        except UnavailableError:
            return
        manifest = bundle.manifest
        words = (bundle.sha256, manifest.profile, manifest.precision.value, manifest.space_id, self._host.served.provider)
        yield _metric(BUNDLE, {words: 1})

    def _of_archive(self) -> Iterator[Any]:
        if self._archive is None:
            return
        stats, alive = self._counted, True
        if stats is None or time.monotonic() - self._counted_at > _ARCHIVE_AGE_S:
            asking = asyncio.run_coroutine_threadsafe(self._ask(), self._loop)
            try:
                stats = self._counted = asking.result(_ARCHIVE_WAIT_S)
                self._counted_at = time.monotonic()
            except (FovealError, NoAnswer):
                asking.cancel()
                alive, stats = False, None
        yield _metric(ARCHIVE_UP, {(): alive})
        if stats is None:
            return
        yield _metric(ENTRIES, {(): stats.entries})
        yield _metric(VECTORS, {(kind,): count for kind, count in stats.counts.items()})
        yield _metric(INDEXED, {(kind,): indexed for kind, indexed in stats.indexed.items()})
        yield _metric(RECALL, {(kind,): recall for kind, recall in stats.recall.items()})
        yield _metric(BYTES, {(): stats.bytes_on_disk})

    async def _ask(self) -> Stats:
        assert self._archive is not None
        return await self._archive()


def _resident(pid: int) -> int | None:
    """Bytes; None where the process is gone, or the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
