"""Drift of a server's photographs: which answers are counted, and what Prometheus finds. Compares nothing: `drift` does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from foveal_runtime.rpc import access
from foveal_runtime.rpc.metrics import Figure, metric

if TYPE_CHECKING:
    from foveal_runtime.drift.monitor import DriftMonitor
    from foveal_runtime.drift.stream import Stream
    from foveal_runtime.engine.grading import Grades
    from foveal_runtime.serving.config import ServeConfig
    from foveal_runtime.serving.host import Model, ModelHost
    from foveal_runtime.serving.request import Answer

_OF = "`own` is the camera's own photographs before, `bundle` those that the bundle was judged on."
ALARM = Figure(
    "foveal_drift_alarm", "gauge", f"1 where a camera's photographs differ from a reference: {_OF}", ("camera", "reference")
)
EVIDENCE = Figure(
    "foveal_drift_evidence", "gauge", "Evidence of such a difference, as a share of what raises the alarm (of logarithms).",
    ("camera", "reference", "signal"),
)  # fmt: skip
COUNTED = Figure("foveal_drift_photographs", "gauge", "Photographs that were counted of a camera, over two years.", ("camera",))
FIGURES = (ALARM, EVIDENCE, COUNTED)


class ServedDrift:
    """Of one server; without `--drift` it does nothing. A collector in Prometheus's sense."""

    def __init__(self, config: ServeConfig, host: ModelHost) -> None:
        """Args:
        config: of the server; opens nothing yet.
        host: of the default model, whose answers alone are counted.
        """
        self._config, self._host = config, host
        self._monitor: DriftMonitor | None = None

    def begin(self) -> None:
        """Open the folder.

        Raises:
            ConfigError: it can't be written, or another server writes it.
            InputError: a file of it is none of ours.
        """
        from foveal_runtime.drift.monitor import DriftMonitor

        if self._config.drift is not None:
            self._monitor = DriftMonitor(self._config.drift, min_gradable=self._host.min_gradable)

    def graded(self, model: Model, answer: Answer, grades: Grades) -> None:
        """Count what was graded. The same photograph sent again is not counted, nor are answers of a bundle on trial."""
        if self._monitor is not None and not answer.cached and model.bundle is self._host.bundle:
            self._monitor.graded(model.bundle, answer.outcome, grades if answer.outcome.gradable else None, access.current())

    @property
    def streams(self) -> list[Stream] | None:
        """Each camera, by name, as it is now; None where nothing is counted."""
        return None if self._monitor is None else [self._monitor.streams[name] for name in sorted(self._monitor.streams)]

    async def keep(self) -> None:
        """Write what was counted now and then, for ever."""
        if self._monitor is not None:
            await self._monitor.keep()

    async def close(self) -> None:
        """Write what was counted. Idempotent."""
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            await monitor.close()

    def describe(self) -> list[Any]:
        """Nothing: names are known."""
        return []

    def collect(self) -> Iterator[Any]:
        """Every figure, as it is now."""
        streams = self.streams or []
        watches = {(each.camera, name): watch for each in streams for name, watch in list(each.watches.items())}
        yield metric(COUNTED, {(each.camera,): each.photographs for each in streams})
        yield metric(ALARM, {names: watch.alarm is not None for names, watch in watches.items()})
        shares: dict[tuple[str, ...], float] = {}
        for names, watch in watches.items():
            shares |= {(*names, signal): share for signal, share in watch.share_of_limit.items()}
        yield metric(EVIDENCE, shares)
