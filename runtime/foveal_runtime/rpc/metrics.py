"""Figures for Prometheus: what is counted as it happens, and the HTTP port. What is read at a scrape is `gauges`'s.

Holds no value of a caller: labels are methods, outcomes, heads, grades, verdicts and names of our own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from foveal_runtime.errors import ConfigError, FovealError

if TYPE_CHECKING:
    from foveal_runtime.engine.grading import Grades
    from foveal_runtime.serving.request import Answer

_CALL_SECONDS = tuple(round(0.001 * 10 ** (step / 16), 6) for step in range(73))
"""One millisecond to half a minute, each 15 % above the one before: a quantile of several servers' counts added up, which
Prometheus takes along a straight line within a step, is then right to some 3 %."""
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STUDIES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure that Prometheus finds."""

    name: str
    kind: str
    """`histogram`, `counter` or `gauge`."""
    text: str
    labels: tuple[str, ...] = ()


CALLS = Figure("foveal_call_seconds", "histogram", "Calls that ended, by outcome.", ("method", "outcome"))
STUDIES = Figure(
    "foveal_studies_total", "counter", "Studies that were answered or refused, each by itself: OK, or the error's reason.",
    ("outcome",),
)  # fmt: skip
STAGES = Figure(
    "foveal_stage_seconds", "histogram",
    "Of a computed study: `queue`, `prepare` (decode, quality, tokenise), and each graph of its batch.", ("stage",),
)  # fmt: skip
BATCHES = Figure("foveal_batch_studies", "histogram", "Studies in the batch of a computed study.")
CACHED = Figure("foveal_cached_studies_total", "counter", "Studies answered from the cache of equal ones.")
PHOTOGRAPHS = Figure("foveal_photographs_total", "counter", "Verdicts on the quality of photographs.", ("quality",))
GRADES = Figure("foveal_grades_total", "counter", "Grades given.", ("head", "grade"))
REFERRALS = Figure("foveal_referrals_total", "counter", "Referral decisions given.", ("referral",))
REFUSED = Figure(
    "foveal_access_refused_total", "counter", "Calls that were not let in, or no further, by the error's reason.",
    ("reason",),
)  # fmt: skip
COUNTED = (CALLS, STUDIES, STAGES, BATCHES, CACHED, PHOTOGRAPHS, GRADES, REFERRALS, REFUSED)


class Observer(Protocol):
    """What a service tells of the studies it answers."""

    def answered(self, answer: Answer | FovealError) -> None:
        """A study was answered or refused."""

    def graded(self, grades: Grades) -> None:
        """An answer's grades were given."""


class Observers:
    """Tells several, or nobody."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def answered(self, answer: Answer | FovealError) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.answered(answer)

    def graded(self, grades: Grades) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.graded(grades)


class Metrics:
    """One server's figures, and the HTTP port where they are read."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        # A registry of its own: two servers in one process must not add up.
        self.registry = CollectorRegistry()

        def histogram(figure: Figure, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(figure.name, figure.text, figure.labels, registry=self.registry, buckets=buckets)

        def counter(figure: Figure) -> Counter:
            return Counter(figure.name, figure.text, figure.labels, registry=self.registry)

        self._calls, self._stages = histogram(CALLS, _CALL_SECONDS), histogram(STAGES, _SECONDS)
        self._batches = histogram(BATCHES, _STUDIES)
        self._studies, self._cached, self._photographs, self._grades, self._referrals, self._refused = map(
            counter, (STUDIES, CACHED, PHOTOGRAPHS, GRADES, REFERRALS, REFUSED)
        )
        self._close: Callable[[], None] = lambda: None

    def call_ended(self, method: str, outcome: str, seconds: float) -> None:
        """Count a call."""
        self._calls.labels(method, outcome).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a call that was not let in."""
        self._refused.labels(reason).inc()

    def answered(self, answer: Answer | FovealError) -> None:
        """Count a study and where its time went."""
        if isinstance(answer, FovealError):
            self._studies.labels(answer.reason).inc()
            return
        self._studies.labels("OK").inc()
        outcome = answer.outcome
        if outcome.quality is not None:
            self._photographs.labels(outcome.quality.name).inc()
        if answer.cached:
            self._cached.inc()
            return
        self._batches.observe(outcome.batch_size)
        stages = {"queue": answer.queue_ms, "prepare": outcome.prepare_ms, **outcome.graph_ms}
        for stage, milliseconds in stages.items():
            self._stages.labels(stage).observe(milliseconds / 1e3)

    def graded(self, grades: Grades) -> None:
        """Count the grades of an answer."""
        for head, scheme in grades.schemes.items():
            self._grades.labels(head, str(scheme.grade)).inc()
        if grades.referable is not None:
            self._referrals.labels("refer" if grades.referable.decision else "not_referable").inc()

    def register(self, collector: Any) -> None:
        """Also offer what a collector reads at each scrape."""
        self.registry.register(collector)

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
            server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=self.registry)
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


def metric(figure: Figure, values: dict[tuple[str, ...], float]) -> Any:
    """A figure with its values by their labels, as a collector gives it to Prometheus."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    family = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
    made = family(figure.name, figure.text, labels=figure.labels)
    for labels, value in values.items():
        made.add_metric(labels, float(value))
    return made
