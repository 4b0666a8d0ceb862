"""Figures for Prometheus: calls, and the archive's size, indexes and recall. Measures nothing, holds no value of a caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_runtime.errors import ConfigError

if TYPE_CHECKING:
    from foveal_runtime.store import Stats

_CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure that Prometheus finds."""

    name: str
    kind: str
    """`histogram` or `gauge`."""
    text: str
    labels: tuple[str, ...] = ()


CALLS = Figure("foveal_call_seconds", "histogram", "Calls that ended, by outcome.", ("method", "outcome"))
VECTORS = Figure("foveal_archive_vectors", "gauge", "Stored vectors.", ("kind",))
INDEXED = Figure("foveal_archive_indexed", "gauge", "1 where an index answers.", ("kind",))
RECALL = Figure("foveal_archive_recall", "gauge", "Recall@10 against exact search, mean over sampled vectors.", ("kind",))
BYTES = Figure("foveal_archive_bytes", "gauge", "Bytes in PostgreSQL.")
FIGURES = (CALLS, VECTORS, INDEXED, RECALL, BYTES)


class Metrics:
    """One server's figures, and the HTTP port where they are read."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Gauge, Histogram

        # A registry of its own: two servers in one process must not add up.
        self._registry = CollectorRegistry()

        def histogram(figure: Figure) -> Histogram:
            return Histogram(figure.name, figure.text, figure.labels, registry=self._registry, buckets=_CALL_SECONDS)

        def gauge(figure: Figure) -> Gauge:
            return Gauge(figure.name, figure.text, figure.labels, registry=self._registry)

        self._calls = histogram(CALLS)
        self._vectors, self._indexed, self._recall, self._bytes = map(gauge, (VECTORS, INDEXED, RECALL, BYTES))
        self._close: Callable[[], None] = lambda: None

    def call_ended(self, method: str, outcome: str, seconds: float) -> None:
        """Count a call."""
        self._calls.labels(method, outcome).observe(seconds)

    def archive(self, stats: Stats) -> None:
        """Show what the archive holds now."""
        for kind, count in stats.counts.items():
            self._vectors.labels(kind).set(count)
            self._indexed.labels(kind).set(stats.indexed[kind])
        for kind, recall in stats.recall.items():
            self._recall.labels(kind).set(recall)
        self._bytes.set(stats.bytes_on_disk)

    def listen(self, address: str) -> str:
        """Offer the figures at http://ADDRESS/metrics from a thread of its own.

        Returns:
            The address with the port that was got, which differs for port 0.

        Raises:
            ConfigError: the address can't be listened on.
        """
        from prometheus_client import start_http_server

        host, _, port = address.rpartition(":")
        try:
            server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=self._registry)
        except OSError as error:
            raise ConfigError(f"metrics can't be offered on {address} ({error.strerror}); choose another --metrics") from None

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join(5.0)

        self._close = close
        return f"{host}:{server.server_port}"

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._close()
        self._close = lambda: None
