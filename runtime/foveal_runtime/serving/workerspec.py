"""What a worker process serves and how, and what it may do on this machine. Starts none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from foveal_runtime.engine.cachefolder import cache_root
from foveal_runtime.engine.providers import Provider, on_processor
from foveal_runtime.sandbox.confine import Policy, Sandbox

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.compiled import Compiled
    from foveal_runtime.photo.imaging import ImageLimits

QUICK_STUDIES = 4
"""Golden studies that a worker replays at least before it takes the place of another."""


class Replay(Enum):
    """How much a worker proves before it gets a caller's study."""

    ALL = "all"
    SOME = "some"
    """The fullest study and one of every modality, four at least: callers wait for a worker that replaces another."""
    NONE = "none"
    """For measuring speed alone."""


class Flow(Enum):
    """How jobs go through a worker."""

    LANES = "lanes"
    """Threads that each prepare and run a job of their own."""
    PIPELINE = "pipeline"
    """Threads that prepare studies of any job, and one loop that runs the graphs on those that are ready."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSpec:
    """What a worker serves, and how."""

    bundle: Bundle
    """Whose hashes the parent has checked. Of a sealed one the worker inherits the descriptors."""
    provider: str
    threads: int
    """To decode and run the graphs with; half as many inside one graph call."""
    max_rows: int
    """In one graph call."""
    limits: ImageLimits
    compiled: Compiled | None = None
    """The bundle's graphs as compiled on this device, whose hashes the parent has checked; None loads the bundle's own."""
    replay: Replay = Replay.ALL
    """Golden studies to replay before reporting ready."""
    flow: Flow | None = None
    """None is what suits the provider."""
    decode_cpu_s: float = 2.0
    """CPU time that decoding one photograph may take; the parent ends a worker that takes more."""
    background: bool = False
    """Nobody waits for its answers: it takes what processor time others leave."""
    min_gradable: float | None = None
    """The clinic's threshold of the gradability check; None is the check's own."""
    sandbox: Sandbox = Sandbox.AUTO
    """How far its process is restricted."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a worker process has to inherit."""
        return () if self.bundle.sealed is None else tuple(self.bundle.sealed.descriptors.values())

    @property
    def lanes(self) -> int:
        """Jobs in work at once, among which the threads are divided."""
        return 1 if self.is_pipeline else lanes_for(self.provider, self.threads)

    @property
    def batches(self) -> tuple[int, int]:
        """Batches in work at once, and batches handed over before there is room for them."""
        # A pipeline decodes one while another is in its graphs; a lane that waited for a busy server would stand idle.
        return (2, 0) if self.is_pipeline else (self.lanes, self.lanes)

    @property
    def is_pipeline(self) -> bool:
        """Whether studies are prepared beside the graphs, for the next call."""
        return (self.flow or flow_for(self.provider)) is Flow.PIPELINE

    @property
    def policy(self) -> Policy:
        """What its process may do: on ONNX Runtime's own CPU kernels, read what it loads and compute."""
        paths = [self.bundle.path] if self.bundle.sealed is None else []
        paths += [] if self.compiled is None else [self.compiled.folder]
        return policy_of(self.provider, self.sandbox, tuple(map(str, paths)))


def policy_of(provider: str, sandbox: Sandbox, readable: tuple[str, ...] = ()) -> Policy:
    """What a worker of a provider may do.

    Args:
        provider: by its name. Only ONNX Runtime's CPU kernels are known to need no device, program or cache of their own.
        sandbox: how far it is restricted.
        readable: files that it loads.
    """
    if provider == Provider.CPU:
        return Policy(mode=sandbox, readable=readable)
    kept = [str(cache_root())]
    if not on_processor(provider):
        kept.append(os.environ.get("CUDA_CACHE_PATH") or os.path.expanduser("~/.nv"))  # noqa: PTH111 - a user may have no home
    return Policy(mode=sandbox, computes_alone=False, writable=tuple(path for path in kept if path.startswith("/")))


def graph_threads(threads: int) -> int:
    """Threads inside one graph call, where so many studies are worked on side by side: cores are better used by whole calls."""
    return max(1, threads // 2)


def lanes_for(provider: str, threads: int) -> int:
    """Jobs that a worker has in work at once: one a thread on the CPU; a GPU takes one batch at a time."""
    return threads if flow_for(provider) is Flow.LANES else 1


def flow_for(provider: str) -> Flow:
    """The processor decodes and runs graphs alike; a GPU would stand idle while a lane decodes."""
    return Flow.LANES if on_processor(provider) else Flow.PIPELINE
