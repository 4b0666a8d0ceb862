"""The line of studies that wait for a worker: who is let in, who comes next, who is dropped. Knows no workers and no clock.

Times are the event loop's, which is monotonic: a wall clock that jumps moves no deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_runtime.errors import DeadlineError, FovealError, InputError, OverloadedError
from foveal_runtime.serving.turns import NOBODY, Share, Turns

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
_ABOUT_S = 2.0
"""Since the last study that somebody waited for: another is likely to come."""
_SHARED_BATCH_S = 0.02
"""That a batch may take while several callers are about: who comes next waits for it, and who is in it for its last study. On a
CPU a larger batch is no faster; on a GPU this is one of ten studies. One study is always run."""


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
    share: Share = NOBODY
    group: object = None
    """Jobs of one group run together and with nobody else: halves of a batch that killed its worker."""


def refuse(jobs: Sequence[Job], error: FovealError) -> None:
    """Resolve the futures of jobs whose callers still wait."""
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(error)


class WaitingLine:
    """First in, first out within a share, in turns between shares, within limits. Whoever takes a batch tells how long it took.

    A share is a caller's studies that somebody waits for, or those that it streams. Streamed ones fill half of the line at
    most, and get one place in `turns.BULK_TURN` while others wait.
    """

    def __init__(self, limits: QueueLimits, batch: BatchLimits) -> None:
        """Args:
        limits: of what waits.
        batch: of one batch.
        """
        self._limits = limits
        self._batch = batch
        self._turns = Turns[Job]()
        self._bytes = 0
        self._sweeping = False
        self._asked: dict[Share, float] = {}  # by whom a study was asked for that somebody waits for, and when last
        self.s_per_study = _FIRST_GUESS_S
        """Running mean over the batches, in one lane."""

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def size_bytes(self) -> int:
        """Of all that waits."""
        return self._bytes

    def took(self, studies: int, seconds: float) -> None:
        """A batch of so many studies kept its lane for so long."""
        newest = min(seconds / studies, _MOST_RISE * self.s_per_study)
        self.s_per_study += _NEWEST_SHARE * (newest - self.s_per_study)

    @property
    def alone_next(self) -> bool:
        """Whether what comes next may run beside nothing else."""
        return bool(len(self)) and self._turns.first().group is not None

    def contended(self, now: float) -> bool:
        """Whether callers of several shares are about: none of them may have a worker for long at once.

        Args:
            now: on the event loop's clock.
        """
        for share in [share for share, at in self._asked.items() if now - at >= _ABOUT_S]:
            del self._asked[share]
        return len(self._asked.keys() | self._turns.shares) > 1

    def wait_s(self, running: int, lanes: int) -> float:
        """Seconds until a study that came now would be started, in so many lanes that have so many studies in work."""
        return (len(self) + running) * self.s_per_study / max(1, lanes)

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
        share = jobs[0].share
        weight = sum(job.size_bytes for job in jobs)
        self._check_size(len(jobs), weight)
        self.check(len(jobs), share=share, deadline_s=deadline_s, running=running, lanes=lanes, size_bytes=weight)
        for job in jobs:
            self._turns.append(job)
            job.future.add_done_callback(self._left)
        self._bytes += weight
        if not share.bulk:
            self._asked[share] = jobs[0].enqueued

    def _check_size(self, studies: int, weight: int) -> None:
        limits = self._limits
        if studies > limits.max_studies or weight > limits.max_bytes:
            raise InputError(
                f"request has {studies} studies of {weight} bytes, the queue holds {limits.max_studies} studies and "
                f"{limits.max_bytes} bytes at most; send them in parts"
            )

    def check(
        self, studies: int, *, share: Share, deadline_s: float | None, running: int, lanes: int, size_bytes: int = 0
    ) -> None:
        """Whether so many studies would be let in now.

        Raises:
            OverloadedError: there is no room.
            DeadlineError: they would come too late.
        """
        try:
            self._check_room(studies, size_bytes, share, running, lanes)
            self.check_time(studies, deadline_s=deadline_s, running=running, lanes=lanes, share=share)
        except (OverloadedError, DeadlineError):
            # Those whose callers have left in this very turn of the loop take up room: without them it is tried once more.
            if not self._drop_abandoned():
                raise
            self._check_room(studies, size_bytes, share, running, lanes)
            self.check_time(studies, deadline_s=deadline_s, running=running, lanes=lanes, share=share)

    def _check_room(self, studies: int, size_bytes: int, share: Share, running: int, lanes: int) -> None:
        most, most_bytes = self._limits.max_studies, self._limits.max_bytes
        waiting, waiting_bytes = len(self), self._bytes
        if share.bulk:
            most, most_bytes = max(1, most // 2), max(1, most_bytes // 2)
            waiting = self._turns.bulk
        elif others := self._turns.others(share):
            mine_bytes = sum(job.size_bytes for job in self._turns.queue(share))
            part, part_bytes = most // (others + 1), most_bytes // (others + 1)
            if len(self._turns.queue(share)) + studies <= part and mine_bytes + size_bytes <= part_bytes:
                # Beside callers who filled the line, one that holds less than its part of it finds room.
                most, most_bytes = 2 * most, 2 * most_bytes
        retry_s = max(self.wait_s(running, lanes) / 2, 0.05)
        # A request as large as the line would never find it empty: at most half full, the line takes one that does not fit.
        if waiting + studies > most and waiting > most // 2:
            raise OverloadedError(f"{waiting} studies are waiting and {most} may; send again later", retry_after_s=retry_s)
        if waiting_bytes + size_bytes > most_bytes and waiting_bytes > most_bytes // 2:
            raise OverloadedError(
                f"{waiting_bytes} bytes are waiting and {most_bytes} may; send again later", retry_after_s=retry_s
            )

    def check_time(self, studies: int, *, deadline_s: float | None, running: int, lanes: int, share: Share = NOBODY) -> None:
        """Whether so many studies could be answered in time.

        Raises:
            DeadlineError: they would come too late.
        """
        depth = self._turns.before(share, studies) + running
        # All lanes work off what was there before and what comes now; no study takes less than its own time.
        shared = (depth + studies) / max(1, lanes)
        answer_s = self.s_per_study * max(1.0, shared) * _MARGIN
        # With nothing in work the prediction is put to the test: one slow batch must not have all callers refused for ever.
        if deadline_s is not None and (deadline_s <= 0 or (depth and answer_s > deadline_s)):
            raise DeadlineError(
                f"an answer takes about {answer_s:.1f} s and the deadline is in {max(deadline_s, 0):.1f} s; allow more time"
            )

    def _left(self, future: asyncio.Future[Answer]) -> None:
        # A caller who leaves takes its photographs along: the next may be a hundred that left together, so sweep once.
        if future.cancelled() and not self._sweeping:
            self._sweeping = True
            future.get_loop().call_soon(self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        self._drop_abandoned()

    def _drop_abandoned(self) -> bool:
        dropped = self._turns.drop(lambda job: job.future.done())
        self._bytes -= sum(job.size_bytes for job in dropped)
        return bool(dropped)

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Put jobs that were taken at the head again, in their order, whatever the limits say."""
        self._turns.put_back(jobs)
        self._bytes += sum(job.size_bytes for job in jobs)

    def take(self, now: float, *, lanes: int = 1, before: int = 0) -> list[Job]:
        """The next batch, without what nobody waits for any more and what would come too late.

        While others wait, a study that can't be answered in time is not begun: its time is theirs. The last one is, whatever
        the prediction says.

        Args:
            now: on the event loop's clock.
            lanes: that are free, this one among them; each is left its share of what waits.
            before: studies that the worker finishes first.
        """
        batch: list[Job] = []
        pixels = chars = 0
        limits = self._batch
        most = min(limits.max_studies or len(self), -(-len(self) // max(1, lanes)))
        if self.contended(now):
            most = min(most, max(1, int(_SHARED_BATCH_S / self.s_per_study)))
        while len(self) and len(batch) < most:
            job = self._turns.first()
            if job.future.done():
                self._drop_first()
                continue
            needed_s = self.s_per_study * (before + len(batch) + 1) if batch or len(self) > 1 else 0.0
            if job.deadline is not None and now + needed_s >= job.deadline:
                self._drop_first()
                job.future.set_exception(DeadlineError("no worker is free before the deadline; allow more time"))
                continue
            pixels += job.request.pixels
            chars += len(job.request.study.note or "")
            if batch and (job.group is not batch[0].group or pixels > limits.max_pixels or chars > limits.max_note_chars):
                break
            if batch and (job.request.alone or batch[0].request.alone):
                break
            self._drop_first()
            batch.append(job)
        return batch

    def _drop_first(self) -> None:
        self._bytes -= self._turns.pop().size_bytes

    def refuse_photographs(self, caller: str, error: FovealError) -> None:
        """Tell one caller that none of its photographs that wait is run."""
        dropped = self._turns.drop(lambda job: job.share.name == caller and bool(job.request.study.image))
        self._bytes -= sum(job.size_bytes for job in dropped)
        refuse(dropped, error)

    def clear(self, error: FovealError) -> None:
        """Tell everybody who waits."""
        jobs, self._bytes = self._turns.drop(lambda job: True), 0
        refuse(jobs, error)
