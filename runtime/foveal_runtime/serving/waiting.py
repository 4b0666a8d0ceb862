"""The line of studies that wait for a worker: who is let in, who comes next, who is dropped. Knows no workers and no clock.

Times are the event loop's, which is monotonic: a wall clock that jumps moves no deadline.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_runtime.errors import DeadlineError, FovealError, InputError, OverloadedError

if TYPE_CHECKING:
    from foveal_runtime.serving.request import Answer, BatchLimits, QueueLimits, Request

_MARGIN = 1.25
"""A caller is let in when its answer is predicted this much earlier than its deadline: predictions err, and an answer that
comes too late has cost somebody else's."""
_MOST_RISE = 3.0
"""Of the newest batch over the running mean: a batch that was held up once must not have all callers refused."""
_FIRST_GUESS_S = 0.05
"""Seconds a study until the first batch was timed."""
_NEWEST_SHARE = 0.2
"""Of the newest batch in the running mean of seconds a study."""


@dataclass(eq=False, kw_only=True, slots=True)
class Job:
    """A study that waits or runs."""

    request: Request
    cache_key: bytes = b""
    """Empty where answers are not kept."""
    key: bytes = b""
    """What losses of workers are remembered by; empty while nobody needs it."""
    size_bytes: int
    deadline: float | None
    """On the event loop's clock."""
    enqueued: float
    future: asyncio.Future[Answer]
    group: object = None
    """Jobs of one group run together and with nobody else: halves of a batch that killed its worker."""


def refuse(jobs: Sequence[Job], error: FovealError) -> None:
    """Resolve the futures of jobs whose callers still wait."""
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(error)


class WaitingLine:
    """First in, first out, within limits. Whoever takes a batch tells how long it took."""

    def __init__(self, limits: QueueLimits, batch: BatchLimits) -> None:
        """Args:
        limits: of what waits.
        batch: of one batch.
        """
        self._limits = limits
        self._batch = batch
        self._jobs: deque[Job] = deque()
        self._bytes = 0
        self.s_per_study = _FIRST_GUESS_S
        """Running mean over the batches, in one lane."""

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def size_bytes(self) -> int:
        """Of all that waits."""
        return self._bytes

    def took(self, studies: int, seconds: float) -> None:
        """A batch of so many studies took so long."""
        newest = min(seconds / studies, _MOST_RISE * self.s_per_study)
        self.s_per_study += _NEWEST_SHARE * (newest - self.s_per_study)

    @property
    def alone_next(self) -> bool:
        """Whether what comes next may run beside nothing else."""
        return bool(self._jobs) and self._jobs[0].group is not None

    def wait_s(self, running: int, lanes: int) -> float:
        """Seconds until a study that came now would be started, in so many lanes that have so many studies in work."""
        return (len(self._jobs) + running) * self.s_per_study / max(1, lanes)

    def admit(self, jobs: Sequence[Job], *, deadline_s: float | None, running: int, lanes: int) -> None:
        """Let all of these in, or none.

        Args:
            jobs: one request's.
            deadline_s: how long its caller will wait; None is for ever.
            running: studies in work.
            lanes: in which batches run.

        Raises:
            InputError: they would not fit into an empty line.
            OverloadedError: there is no room.
            DeadlineError: they would come too late.
        """
        if not jobs:
            return
        try:
            self._check(jobs, deadline_s, running, lanes)
        except (OverloadedError, DeadlineError):
            # Those whose callers have gone take up room until their turn comes: without them it is tried once more.
            if not self._drop_abandoned():
                raise
            self._check(jobs, deadline_s, running, lanes)
        self._jobs.extend(jobs)
        self._bytes += sum(job.size_bytes for job in jobs)

    def _check(self, jobs: Sequence[Job], deadline_s: float | None, running: int, lanes: int) -> None:
        limits = self._limits
        wait_s = self.wait_s(running, lanes)
        weight = sum(job.size_bytes for job in jobs)
        if len(jobs) > limits.max_studies or weight > limits.max_bytes:
            raise InputError(
                f"request has {len(jobs)} studies of {weight} bytes, the queue holds {limits.max_studies} studies and "
                f"{limits.max_bytes} bytes at most; send them in parts"
            )
        # A request as large as the line would never find it empty: at most half full, the line takes one that does not fit.
        if len(self._jobs) + len(jobs) > limits.max_studies and len(self._jobs) > limits.max_studies // 2:
            raise OverloadedError(
                f"{len(self._jobs)} studies are waiting and {limits.max_studies} may; send again later",
                retry_after_s=max(wait_s / 2, 0.05),
            )
        if self._bytes + weight > limits.max_bytes and self._bytes > limits.max_bytes // 2:
            raise OverloadedError(
                f"{self._bytes} bytes are waiting and {limits.max_bytes} may; send again later",
                retry_after_s=max(wait_s / 2, 0.05),
            )
        self.check_time(len(jobs), deadline_s=deadline_s, running=running, lanes=lanes)

    def check_time(self, studies: int, *, deadline_s: float | None, running: int, lanes: int) -> None:
        """Whether so many studies could be answered in time.

        Raises:
            DeadlineError: they would come too late.
        """
        depth = len(self._jobs) + running
        # All lanes work off what was there before and what comes now; no study takes less than its own time.
        shared = (depth + studies) / max(1, lanes)
        answer_s = self.s_per_study * max(1.0, shared) * _MARGIN
        # With nothing in work the prediction is put to the test: one slow batch must not have all callers refused for ever.
        if deadline_s is not None and (deadline_s <= 0 or (depth and answer_s > deadline_s)):
            raise DeadlineError(
                f"an answer takes about {answer_s:.1f} s and the deadline is in {max(deadline_s, 0):.1f} s; allow more time"
            )

    def _drop_abandoned(self) -> bool:
        kept = deque(job for job in self._jobs if not job.future.done())
        dropped = len(kept) < len(self._jobs)
        self._jobs, self._bytes = kept, sum(job.size_bytes for job in kept)
        return dropped

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Put jobs that were taken at the head again, in their order, whatever the limits say."""
        self._jobs.extendleft(reversed(jobs))
        self._bytes += sum(job.size_bytes for job in jobs)

    def take(self, now: float, *, lanes: int = 1) -> list[Job]:
        """The next batch, without what nobody waits for any more and what would come too late.

        Args:
            now: on the event loop's clock.
            lanes: that are free, this one among them; each is left its share of what waits.
        """
        batch: list[Job] = []
        pixels = chars = 0
        limits = self._batch
        most = min(limits.max_studies, -(-len(self._jobs) // max(1, lanes)))
        while self._jobs and len(batch) < most:
            job = self._jobs[0]
            if job.future.done():
                self._drop_first()
                continue
            needed_s = self.s_per_study * (len(batch) + 1) if batch else 0.0
            if job.deadline is not None and now + needed_s >= job.deadline:
                self._drop_first()
                job.future.set_exception(DeadlineError("the deadline passed before a worker was free; allow more time"))
                continue
            pixels += job.request.pixels
            chars += len(job.request.study.note or "")
            if batch and (job.group is not batch[0].group or pixels > limits.max_pixels or chars > limits.max_note_chars):
                break
            self._drop_first()
            batch.append(job)
        return batch

    def _drop_first(self) -> None:
        self._bytes -= self._jobs.popleft().size_bytes

    def clear(self, error: FovealError) -> None:
        """Tell everybody who waits."""
        jobs, self._jobs, self._bytes = list(self._jobs), deque(), 0
        refuse(jobs, error)
