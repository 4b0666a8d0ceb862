"""One bundle and how it is served: what the parts of a server that hold a model need to know. A server may hold several."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from foveal_runtime.engine.ort import usable_cores
from foveal_runtime.engine.providers import on_processor
from foveal_runtime.sandbox.confine import Sandbox
from foveal_runtime.serving.request import BatchLimits, QueueLimits

CPU_ROWS = 2
"""Rows in one graph call on a CPU. A larger call is no faster for each row, and its activations cost memory: an engine with
`edge` FP32 takes 468, 319 and 291 MB with 16, 4 and 2 rows (docs/decisions.md)."""
_GPU_ROWS = 16
"""On a GPU that nothing was measured on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A bundle, its processes and its limits."""

    bundle: Path
    """Folder that `foveal export` wrote; a symbolic link may be pointed at another bundle while serving."""
    provider: str = "cpu"
    """ONNX Runtime's execution provider: auto, cpu, openvino, cuda, tensorrt or tensorrt-rtx."""
    workers: int = 0
    """Worker processes; 0 are as many as was measured best, else one a core, as far as the memory holds them."""
    threads: int = 0
    """Threads of a worker; 0 divides the cores among the workers."""
    chosen: bool = False
    """Somebody chose the workers, the threads or the batch: what `foveal compile` measured is then not used."""
    memory_mb: float = 0
    """What the worker processes may take together, shared pages once; 0 is half of what the machine has free."""
    background: bool = False
    """Its workers wait for everybody else's: nobody waits for them."""
    operating_point: str = ""
    """Has to be one of the bundle's; empty is the default one of each modality subset."""
    abstain: tuple[str, ...] = ()
    """Reasons (`engine.grading.Reason`) to withhold an answer; the bundle has to know of them."""
    require_signature: Path | None = None
    """PEM public key that has to have signed the bundle."""
    quality: Path | None = None
    """A clinic's own threshold of the gradability check (`foveal quality fit`); None is the check's."""
    sandbox: Sandbox = Sandbox.AUTO
    """How far worker processes are restricted."""
    max_image_pixels: int = 100_000_000
    """Pixels of one photograph, from its header."""
    cache_entries: int = 1024
    """Answers to equal studies kept; 0 keeps none."""
    drain_s: float = 30.0
    """How long accepted work may take to finish when the bundle is replaced."""
    self_test_every_s: float = 3600.0
    """Pause between two self-tests; 0 tests at the start alone."""
    start_timeout_s: float = 300.0
    """How long a worker may take to load the bundle and pass its self-test."""
    batch: BatchLimits = field(default_factory=BatchLimits)
    queue: QueueLimits = field(default_factory=QueueLimits)

    @property
    def threads_each(self) -> int:
        """Threads of a worker: as configured, or the cores divided among the workers."""
        return self.threads or max(1, usable_cores() // max(1, self.workers))

    @property
    def max_batch(self) -> int:
        """Studies in one batch: as configured, or what one graph call takes. On a CPU those of a larger batch would be answered
        when its last call has ended, and be no faster (docs/decisions.md)."""
        return self.batch.max_studies or (CPU_ROWS if on_processor(self.provider) else _GPU_ROWS)

    @property
    def max_rows(self) -> int:
        """Rows in one graph call."""
        return min(self.max_batch, CPU_ROWS) if on_processor(self.provider) else self.max_batch
