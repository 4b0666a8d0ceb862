"""Look inside a graph while it runs: tapped tensors, their ranges and histograms. Quantises nothing.

Memory is bounded: of each tensor and study at most `SAMPLED` values enter a histogram of fixed size; least and largest
value and the per-channel figures are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]

SAMPLED = 32_768
_BINS = 2048


def session(graph: onnx.ModelProto | Path, *, threads: int = 0, optimise: bool = True, exact: bool = False) -> Any:
    """An ONNX Runtime session on the CPU.

    Args:
        graph: itself, or the file it lies in: a session keeps the bytes of the former for as long as it lives.
        threads: inside one call; 0 is every core.
        optimise: False runs the nodes as they are written.
        exact: add INT8 products in 32 bits where this processor's fast kernels saturate: for results, not for times.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = graph if isinstance(graph, Path) else graph.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def tapped(proto: onnx.ModelProto, tensors: Iterable[str]) -> onnx.ModelProto:
    """A copy of the graph whose outputs are `tensors`, for `run_taps`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.output[:]
    inputs = {value.name for value in copy.graph.input}
    for name in tensors:
        if name not in inputs:
            copy.graph.output.append(onnx.ValueInfoProto(name=name))  # of whatever type it has: ONNX Runtime infers it
    return copy


def run_taps(proto: onnx.ModelProto, tensors: Sequence[str], feeds: Iterable[Feeds]) -> Iterator[dict[str, Array]]:
    """Values of `tensors` for every feed, INT8 products exact on every processor; a graph's own input is passed through."""
    probe = tapped(proto, tensors)
    outputs = [value.name for value in probe.graph.output]
    runner = session(probe, exact=True) if outputs else None
    del probe  # as large as the graph
    for feed in feeds:
        values = {} if runner is None else dict(zip(outputs, runner.run(outputs, dict(feed)), strict=True))
        values.update({name: feed[name] for name in tensors if name in feed})
        yield values


@dataclass(slots=True)
class Seen:
    """What has been seen of one tensor."""

    low: float = np.inf
    high: float = -np.inf
    bins: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    """Counts over [-reach, reach]."""
    reach: float = 0.0
    channel_max: npt.NDArray[np.float64] | None = None
    """Largest magnitude of every channel, what SmoothQuant needs; None unless asked for."""

    def add(self, values: Array, *, channels: bool) -> None:
        """Take in one more array."""
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        if channels:
            # Feature maps are [B, C, H, W], tokens [B, T, C].
            axes = (0, 2, 3) if values.ndim == 4 else tuple(range(values.ndim - 1))
            largest = np.abs(values).max(axis=axes).astype(np.float64)
            self.channel_max = largest if self.channel_max is None else np.maximum(self.channel_max, largest)
        flat = values.reshape(-1)
        flat = flat[:: max(1, flat.size // SAMPLED)]
        reach = max(float(np.abs(flat).max()), 1e-12)
        if self.reach == 0.0:
            self.reach = reach
        while reach > self.reach:
            # Doubling the reach merges pairs of bins: no value is looked at twice.
            quarter = _BINS // 4
            merged = self.bins.reshape(-1, 2).sum(axis=1)
            self.bins = np.concatenate([np.zeros(quarter, np.int64), merged, np.zeros(quarter, np.int64)])
            self.reach *= 2
        self.bins += np.histogram(flat, bins=_BINS, range=(-self.reach, self.reach))[0]

    def percentile(self, share: float) -> tuple[float, float]:
        """The range that leaves out `1 - share` of the values, half of them on either side; always holds 0."""
        edges = np.linspace(-self.reach, self.reach, _BINS + 1)
        cumulative = np.cumsum(self.bins) / max(int(self.bins.sum()), 1)
        tail = (1 - share) / 2
        low = edges[int(np.searchsorted(cumulative, tail))]
        high = edges[min(int(np.searchsorted(cumulative, 1 - tail)) + 1, _BINS)]
        return min(max(self.low, float(low)), 0.0), max(min(self.high, float(high)), 0.0)

    def minmax(self) -> tuple[float, float]:
        """The whole range, with 0."""
        return min(self.low, 0.0), max(self.high, 0.0)

    def least_error(self, *, symmetric: bool = False) -> tuple[float, float]:
        """The range of least squared error when rounded to 8 bits, around zero or not: clipping against coarseness."""
        centres = (np.arange(_BINS) + 0.5) * (2 * self.reach / _BINS) - self.reach
        weights = self.bins.astype(np.float64)
        low, high = self.minmax()
        levels = 254 if symmetric else 255
        if symmetric:
            low, high = min(low, -high), max(-low, high)
        best, chosen = np.inf, (low, high)
        for shrink in np.linspace(1.0, 0.3, 36):
            a, b = low * shrink, high * shrink
            step = max((b - a) / levels, 1e-12)
            outside = np.clip(centres, a, b) - centres
            # Inside, rounding noise is step² / 12; outside, it is the distance to the edge.
            error = float((weights * np.where(outside != 0, outside**2, step**2 / 12)).sum())
            if error < best:
                best, chosen = error, (a, b)
        return chosen


def observe(
    proto: onnx.ModelProto, tensors: Sequence[str], feeds: Iterable[Feeds], *, channels: frozenset[str] = frozenset()
) -> dict[str, Seen]:
    """Run the graph over `feeds` and keep what was seen of each tensor.

    Args:
        proto: an FP32 graph.
        tensors: names to look at.
        feeds: calibration inputs; consumed once.
        channels: of which tensors the per-channel magnitudes are kept too.
    """
    seen = {name: Seen() for name in tensors}
    for values in run_taps(proto, tensors, feeds):
        for name, array in values.items():
            if array.size:
                seen[name].add(array, channels=name in channels)
    return seen
