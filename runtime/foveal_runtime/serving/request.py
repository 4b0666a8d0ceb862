"""One study as the queue holds it, its answer, and the limits of queue and batch. Decides nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_runtime.errors import ConfigError
from foveal_runtime.photo.structure import content_sha256

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Ask, Outcome
    from foveal_runtime.study.study import Study


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """What one batch may hold; a single study is always let through."""

    max_studies: int = 0
    """Studies in one batch; 0 is what one graph call takes: 2 on a CPU, on a GPU as many as was measured best, else 16."""
    max_pixels: int = 200_000_000
    """Pixels to decode, from the photographs' headers."""
    max_note_chars: int = 200_000
    """Characters to tokenise."""
    max_wait_ms: float = 0.0
    """Extra wait for company; 0 lets a busy engine fill the batch."""
    worker_timeout_s: float = 30.0
    """A worker that is silent for longer over one batch hangs and is replaced."""

    decode_cpu_s: float = 2.0
    """CPU time that decoding one photograph may take, twice that for files of 16 MB and more; a study that takes more is never
    run again."""
    max_decoded_bytes: int = 1 << 30
    """Memory that decoding may take in one worker, of all the photographs that it decodes at once."""
    lost_per_caller: int = 3
    """Workers that one caller's photographs may end within `lost_per_caller_s`; they are then refused until the first of these
    losses is that long ago. 0 is no limit."""
    lost_per_caller_s: float = 60.0
    """Seconds in which they are counted."""

    def __post_init__(self) -> None:
        if self.decode_cpu_s <= 0 or self.max_decoded_bytes < 1:
            raise ConfigError("decode_cpu_s and max_decoded_bytes want a number above 0")
        if self.lost_per_caller < 0 or self.lost_per_caller_s <= 0:
            raise ConfigError("lost_per_caller wants 0 or more, and lost_per_caller_s a number above 0")
        if self.max_studies < 0:
            raise ConfigError(f"max_studies is {self.max_studies}; want at least 1, or 0 to have it chosen")
        if self.worker_timeout_s <= 0:
            raise ConfigError(f"worker_timeout_s is {self.worker_timeout_s:g}; want a number above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueLimits:
    """What may wait."""

    max_studies: int = 256
    """Studies waiting for a worker; more are refused with RESOURCE_EXHAUSTED."""
    max_bytes: int = 512 << 20
    """Bytes of photographs and notes waiting."""

    def __post_init__(self) -> None:
        if self.max_studies < 1 or self.max_bytes < 1:
            raise ConfigError("a queue holds at least 1 study and 1 byte")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One study to be run."""

    study: Study
    ask: Ask
    pixels: int = 0
    """From the photograph's header; 0 without one."""
    image_sha256: bytes = b""
    """Of the photograph's bytes, where somebody has hashed them already."""
    known_key: bytes | None = None
    """`photograph_key`, where somebody has it already: it takes as long as reading the file."""

    @property
    def alone(self) -> bool:
        """Whether it takes so long that nothing else may be in its batch."""
        return self.ask.evidence

    @property
    def size_bytes(self) -> int:
        """What it occupies while it waits."""
        return len(self.study.image or b"") + len((self.study.note or "").encode())

    def key(self) -> bytes:
        """Identity of the content: equal studies asked equally have equal keys. The caller's id is not part of it."""
        return self._key(self.image_sha256 or hashlib.sha256(self.study.image or b"").digest())

    def photograph_key(self) -> bytes:
        """Identity of the bytes that the photograph's pixels are made of; empty without one."""
        return photograph_key(self.study.image) if self.known_key is None else self.known_key

    def strike_key(self, photograph: bytes | None = None) -> bytes:
        """Identity of what was run: metadata of the photograph, and what follows its end, make no other study.

        Args:
            photograph: `photograph_key`, where somebody has it: it takes as long as reading the file.
        """
        return self._key(self.photograph_key() if photograph is None else photograph)

    def _key(self, photograph: bytes) -> bytes:
        digest = hashlib.sha256(photograph)
        digest.update(
            repr((self.study.note, self.study.record, sorted(self.ask.kinds), self.ask.grade, self.ask.evidence)).encode()
        )
        return digest.digest()


def photograph_key(image: bytes | None) -> bytes:
    """`Request.photograph_key` of these bytes."""
    return content_sha256(image) if image else b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An outcome with what queueing adds to it."""

    outcome: Outcome
    queue_ms: float
    cached: bool = False
