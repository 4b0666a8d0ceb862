"""The queue and its batches, with a worker that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from foveal_runtime.engine.answers import Ask, Outcome
from foveal_runtime.engine.selftest import SelfTestReport
from foveal_runtime.errors import (
    ConfigError,
    DeadlineError,
    FovealError,
    InputError,
    OverloadedError,
    PoisonError,
    StudyError,
    UnavailableError,
)
from foveal_runtime.serving.batching import Batcher
from foveal_runtime.serving.request import Answer, BatchLimits, QueueLimits, Request
from foveal_runtime.serving.strikes import CallerStrikes
from foveal_runtime.serving.supervisor import WorkerLost
from foveal_runtime.serving.turns import Share
from foveal_runtime.serving.waiting import WaitingLine
from foveal_runtime.study.study import Study


class FakeWorker:
    """Answers with an outcome that names the batch's size; a gate holds it, and some notes kill or hang it."""

    def __init__(self, made: list[FakeWorker], gate: asyncio.Event) -> None:
        made.append(self)
        self.gate = gate
        self.batches: list[list[str]] = []
        self.running = 0
        self.beside: list[tuple[list[str], int]] = []
        """Each batch, and how many others ran when it began."""
        self.pid = len(made)
        self.decoding_bytes = None
        self.lost = False
        self.alive = True
        self.passes = True
        self.tested = 0
        self.tested_after: list[int] = []
        """Batches that had begun by each self-test."""
        self.waiting = asyncio.Event()

    def on_exit(self, callback: Callable[[], None]) -> None:
        self.callback = callback

    async def run(
        self, studies: Sequence[Study], asks: Sequence[Ask], *, timeout_s: float, on_start: Callable[[], None] = lambda: None
    ) -> list[Outcome | FovealError]:
        on_start()
        self.batches.append([study.note or "" for study in studies])
        self.waiting.set()
        notes = self.batches[-1]
        self.beside.append((notes, self.running))
        self.running += 1
        await self.gate.wait()
        self.running -= 1
        if self.lost or any("kills" in note for note in notes):
            self.lost = True
            raise WorkerLost("died", hung=False)
        if "is killed" in notes:
            self.lost = True
            raise WorkerLost("died", hung=False, killed=True)
        if "is slow" in notes:
            self.lost = True
            raise WorkerLost("decodes for too long", hung=True, place=notes.index("is slow"))
        if any("hangs" in note for note in notes):
            self.lost = True
            raise WorkerLost("hung", hung=True)
        if any("confuses" in note for note in notes):
            return []
        return [StudyError("bad", field="note") if "bad" in note else outcome(len(notes)) for note in notes]

    async def self_test(self, *, timeout_s: float) -> SelfTestReport:
        self.tested += 1
        self.tested_after.append(len(self.batches))
        await asyncio.sleep(0)
        return SelfTestReport(
            passed=self.passes, studies=1, min_cosine=1, max_abs_embedding=0, max_abs_probability=0, icdr_flips=0,
            referable_flips=0, neighbour_dependence=0, failures=(),
        )  # fmt: skip

    def close(self) -> None:
        self.alive = False


def outcome(batch_size: int) -> Outcome:
    return Outcome(
        subset=frozenset(), logits={}, vectors={}, imputed=(), truncated=False, quality=None, eye=None,
        prepare_ms=0, compute_ms=0, batch_size=batch_size,
    )  # fmt: skip


def request(note: str, **more: int) -> Request:
    return Request(study=Study(note=note), ask=Ask(), **more)


class Rig:
    """A batcher over fake workers."""

    def __init__(
        self,
        *,
        workers: int = 1,
        lanes: int = 1,
        ahead: int = 0,
        cache: int = 0,
        queue: QueueLimits | None = None,
        **batch: float,
    ) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.made: list[FakeWorker] = []
        self.fail_starts = 0
        self.start_worker: Callable[[], Awaitable[FakeWorker]] = self.start
        self.batcher = Batcher(
            lambda: self.start_worker(),
            workers=workers,
            lanes=lanes,
            ahead=ahead,
            batch=BatchLimits(**batch),  # type: ignore[arg-type]
            queue=queue or QueueLimits(),
            cache_entries=cache,
        )

    async def start(self) -> FakeWorker:
        if self.fail_starts:
            self.fail_starts -= 1
            raise UnavailableError("no memory")
        return FakeWorker(self.made, self.gate)

    async def __aenter__(self) -> Rig:
        await self.batcher.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.gate.set()
        await self.batcher.close()

    async def occupy(self) -> asyncio.Future[Answer]:
        """Hold the first worker with one study."""
        self.gate.clear()
        (future,) = self.batcher.submit([request("first")])
        await self.made[0].waiting.wait()
        return future


async def settle(futures: Sequence[asyncio.Future[Answer]]) -> list[Answer | BaseException]:
    return await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 10)


async def test_a_batch_forms_while_the_worker_is_busy() -> None:
    async with Rig(max_studies=8) as rig:
        first = await rig.occupy()
        others = rig.batcher.submit([request(str(i)) for i in range(11)])
        rig.gate.set()
        await settle([first, *others])
        assert [len(batch) for batch in rig.made[0].batches] == [1, 8, 3]


async def test_what_waits_is_shared_among_the_free_lanes_of_a_worker() -> None:
    async with Rig(lanes=2, max_studies=8) as rig:
        rig.gate.clear()
        first = rig.batcher.submit([request(str(i)) for i in range(5)])
        await asyncio.sleep(0)
        second = rig.batcher.submit([request(str(i)) for i in range(5)])
        rig.gate.set()
        await settle([*first, *second])
        assert [len(batch) for batch in rig.made[0].batches] == [3, 2, 5]


async def test_one_batch_more_than_there_are_lanes_is_handed_to_a_worker() -> None:
    async with Rig(lanes=2, ahead=1, max_studies=2) as rig:
        rig.gate.clear()
        futures = rig.batcher.submit([request(str(i)) for i in range(9)])
        await asyncio.sleep(0.01)
        assert [len(batch) for batch in rig.made[0].batches] == [2, 2, 2]
        rig.gate.set()
        await settle(futures)


async def test_all_that_a_dying_worker_had_in_its_lanes_is_run_again_in_halves_with_nothing_beside_them() -> None:
    async with Rig(lanes=2, max_studies=2) as rig:
        rig.gate.clear()
        futures = rig.batcher.submit([request(note) for note in ("kills", "c", "a", "b", "d", "e")])
        await asyncio.sleep(0.01)
        assert rig.made[0].batches == [["kills", "c"], ["a", "b"]]
        rig.gate.set()
        answers = await settle(futures)
        assert [type(answer) for answer in answers] == [PoisonError, *[Answer] * 5]
        again = [entry for worker in rig.made[1:] for entry in worker.beside if set(entry[0]) & {"a", "b", "kills", "c"}]
        assert [notes for notes, _ in again] == [["kills", "c"], ["kills"], ["c"], ["a", "b"]]
        assert all(beside == 0 for _, beside in again)


async def test_a_hanging_batch_costs_those_in_other_lanes_nothing() -> None:
    async with Rig(lanes=2, max_studies=1) as rig:
        rig.gate.clear()
        futures = rig.batcher.submit([request("hangs"), request("good"), request("later")])
        await asyncio.sleep(0.01)
        assert rig.made[0].batches == [["hangs"], ["good"]]
        rig.gate.set()
        answers = await settle(futures)
        assert [type(answer) for answer in answers] == [WorkerLost, Answer, Answer]
        assert len(rig.made) == 2
        assert not rig.batcher._strikes.suspect(request("good").key())


async def test_a_batch_is_limited_by_pixels_and_characters_too() -> None:
    async with Rig(max_pixels=100, max_note_chars=1000) as rig:
        first = await rig.occupy()
        others = rig.batcher.submit([request(str(i), pixels=60) for i in range(3)] + [request("x" * 600) for _ in range(2)])
        rig.gate.set()
        await settle([first, *others])
        assert [len(batch) for batch in rig.made[0].batches] == [1, 1, 1, 2, 1]


async def test_an_evidence_map_holds_up_nobody_in_its_batch() -> None:
    async with Rig() as rig:
        first = await rig.occupy()
        maps = [Request(study=Study(note=str(i)), ask=Ask(evidence=True)) for i in range(2)]
        others = rig.batcher.submit([request("a"), *maps, request("b"), request("c")])
        rig.gate.set()
        await settle([first, *others])
        assert [len(batch) for batch in rig.made[0].batches] == [1, 1, 1, 1, 2]


async def test_one_bad_study_fails_alone() -> None:
    async with Rig() as rig:
        answers = await settle(rig.batcher.submit([request("a"), request("bad"), request("c")]))
        assert [type(answer) for answer in answers] == [Answer, StudyError, Answer]


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async with Rig(queue=QueueLimits(max_studies=4)) as rig:
        first = await rig.occupy()
        waiting = rig.batcher.submit([request(str(i)) for i in range(3)])
        with pytest.raises(OverloadedError) as caught:
            rig.batcher.submit([request("x"), request("y")])
        assert caught.value.retry_after_s > 0
        waiting += rig.batcher.submit([request("last")])
        rig.gate.set()
        assert all(isinstance(answer, Answer) for answer in await settle([first, *waiting]))


async def test_queued_bytes_are_limited() -> None:
    async with Rig(queue=QueueLimits(max_bytes=100)) as rig:
        first = await rig.occupy()
        second = rig.batcher.submit([request("x" * 60)])
        with pytest.raises(OverloadedError, match="bytes"):
            rig.batcher.submit([request("y" * 60)])
        with pytest.raises(InputError, match="in parts"):
            rig.batcher.submit([request("y" * 101)])
        rig.gate.set()
        await settle([first, *second])


async def test_a_deadline_that_the_queue_can_not_meet_is_refused_at_once() -> None:
    async with Rig() as rig:
        first = await rig.occupy()
        waiting = rig.batcher.submit([request(str(i)) for i in range(100)])
        with pytest.raises(DeadlineError):
            rig.batcher.submit([request("hasty")], deadline_s=0.01)
        rig.gate.set()
        await settle([first, *waiting])


async def test_one_slow_batch_does_not_have_all_callers_refused_for_ever() -> None:
    async with Rig() as rig:
        rig.batcher._line.s_per_study = 1000.0
        for _ in range(3):
            (answer,) = await settle(rig.batcher.submit([request("a")], deadline_s=5.0))
            assert isinstance(answer, Answer)
        assert rig.batcher._line.s_per_study < 600


async def test_expired_and_cancelled_work_is_dropped_before_it_is_computed() -> None:
    async with Rig() as rig:
        first = await rig.occupy()
        rig.batcher._line.s_per_study = 0.0  # admitted, although it will expire
        (expired,) = rig.batcher.submit([request("expired")], deadline_s=0.01)
        (cancelled,) = rig.batcher.submit([request("cancelled")])
        (wanted,) = rig.batcher.submit([request("wanted")])
        cancelled.cancel()
        await asyncio.sleep(0.02)
        rig.gate.set()
        answers = await settle([first, expired, wanted])
        assert isinstance(answers[1], DeadlineError)
        assert rig.made[0].batches == [["first"], ["wanted"]]


async def test_studies_whose_callers_have_gone_take_up_no_room() -> None:
    async with Rig(queue=QueueLimits(max_studies=4)) as rig:
        await rig.occupy()
        gone = rig.batcher.submit([request("gone")] * 4)
        with pytest.raises(OverloadedError):
            rig.batcher.submit([request("late")])
        for future in gone:
            future.cancel()
        wanted = rig.batcher.submit([request("wanted")] * 4)
        rig.gate.set()
        assert all(isinstance(answer, Answer) for answer in await settle(wanted))


async def test_what_would_come_too_late_is_not_begun_while_others_wait() -> None:
    async with Rig() as rig:
        first = await rig.occupy()
        rig.batcher._line.s_per_study = 0.0  # admitted, although it will be late
        (late,) = rig.batcher.submit([request("late")], deadline_s=0.5)
        (wanted,) = rig.batcher.submit([request("wanted")], deadline_s=60.0)
        rig.batcher._line.s_per_study = 2.0
        rig.gate.set()
        answers = await settle([first, late, wanted])
        assert isinstance(answers[1], DeadlineError)
        assert isinstance(answers[2], Answer)
        # With nothing else to do, the prediction is put to the test.
        rig.batcher._line.s_per_study = 2.0
        (lone,) = await settle(rig.batcher.submit([request("lone")], deadline_s=0.5))
        assert isinstance(lone, Answer)


async def test_a_study_handed_over_ahead_waits_for_the_batch_before_it() -> None:
    async with Rig(ahead=1, max_studies=1) as rig:
        first = await rig.occupy()
        rig.batcher._line.s_per_study = 0.0  # admitted
        arriving = rig.batcher._dispatcher.arrived
        rig.batcher._dispatcher.arrived = lambda: None  # type: ignore[method-assign]
        two = rig.batcher.submit([request("late"), request("last")], deadline_s=0.6)
        rig.batcher._line.s_per_study = 0.4  # enough for one, not for one behind another
        arriving()
        rig.gate.set()
        answers = await settle([first, *two])
        assert isinstance(answers[1], DeadlineError)
        assert isinstance(answers[2], Answer)


async def test_photographs_of_callers_who_left_are_forgotten_at_once() -> None:
    async with Rig() as rig:
        await rig.occupy()
        left, stays = rig.batcher.submit([request("leaves"), request("stays")])
        held = rig.batcher.queued_bytes
        left.cancel()
        await asyncio.sleep(0.01)
        assert rig.batcher.depth == 2  # the one that runs, and the one that stays
        assert 0 < rig.batcher.queued_bytes < held
        rig.gate.set()
        assert isinstance((await settle([stays]))[0], Answer)


async def test_a_worker_that_answers_nonsense_is_replaced_and_its_callers_are_told() -> None:
    async with Rig() as rig:
        rig.gate.set()
        (confused,) = await settle(rig.batcher.submit([request("confuses")]))
        assert isinstance(confused, UnavailableError)
        (after,) = await settle(rig.batcher.submit([request("a")]))
        assert isinstance(after, Answer)
        assert len(rig.made) == 2


async def test_a_batch_that_kills_its_worker_is_run_again_in_halves_and_the_culprit_alone_is_refused() -> None:
    async with Rig() as rig:
        first = await rig.occupy()
        futures = rig.batcher.submit([request(note) for note in ("a", "b", "kills", "d", "e")])
        rig.gate.set()
        answers = await settle([first, *futures])
        assert [type(answer) for answer in answers] == [Answer, Answer, Answer, PoisonError, Answer, Answer]
        (again,) = await settle(rig.batcher.submit([request("kills")]))
        assert isinstance(again, PoisonError)
        assert sum(batch == ["kills"] for worker in rig.made for batch in worker.batches) == 1


async def test_a_study_alone_that_kills_its_worker_is_unavailable_once_and_refused_the_second_time() -> None:
    async with Rig() as rig:
        (first,) = await settle(rig.batcher.submit([request("kills")]))
        (second,) = await settle(rig.batcher.submit([request("kills")]))
        assert isinstance(first, UnavailableError)
        assert isinstance(second, PoisonError)
        assert len(rig.made) == 3 or rig.batcher.live_workers <= 1


async def test_after_a_hang_everybody_is_told_and_suspects_run_alone() -> None:
    async with Rig() as rig:
        first = await rig.occupy()
        futures = rig.batcher.submit([request(note) for note in ("a", "hangs", "c")])
        rig.gate.set()
        answers = await settle([first, *futures])
        assert [type(answer) for answer in answers] == [Answer, WorkerLost, WorkerLost, WorkerLost]
        answers = await settle(rig.batcher.submit([request(note) for note in ("a", "hangs", "c")]))
        assert [type(answer) for answer in answers] == [Answer, PoisonError, Answer]
        assert all(len(batch) == 1 for worker in rig.made[1:] for batch in worker.batches)


async def test_equal_studies_are_computed_once_within_the_bound() -> None:
    async with Rig(cache=2) as rig:
        for note in ("a", "a", "b", "c", "a"):
            await settle(rig.batcher.submit([request(note)]))
        assert rig.made[0].batches == [["a"], ["b"], ["c"], ["a"]]
        (cached,) = await settle(rig.batcher.submit([request("a")]))
        assert isinstance(cached, Answer)
        assert cached.cached


async def test_errors_are_not_cached() -> None:
    async with Rig(cache=8) as rig:
        for _ in range(2):
            (answer,) = await settle(rig.batcher.submit([request("bad")]))
            assert isinstance(answer, StudyError)
        assert len(rig.made[0].batches) == 2


async def test_closing_resolves_every_waiting_future() -> None:
    async with Rig() as rig:
        first = await rig.occupy()
        futures = rig.batcher.submit([request(str(i)) for i in range(5)])
        closing = asyncio.create_task(rig.batcher.close())
        await asyncio.sleep(0)
        rig.gate.set()
        await closing
        answers = await settle([first, *futures])
        assert all(isinstance(answer, Answer | UnavailableError) for answer in answers)
        with pytest.raises(UnavailableError):
            rig.batcher.submit([request("late")])


async def test_draining_waits_until_nothing_waits_or_runs() -> None:
    async with Rig() as rig:
        first = await rig.occupy()
        draining = asyncio.create_task(rig.batcher.drain(10))
        await asyncio.sleep(0.01)
        assert not draining.done()
        rig.gate.set()
        await draining
        assert first.done()


async def test_a_worker_that_can_not_be_started_fails_the_start() -> None:
    rig = Rig(workers=2)
    rig.fail_starts = 1
    with pytest.raises(UnavailableError, match="no memory"):
        await rig.batcher.start()
    assert not any(worker.alive for worker in rig.made)


async def test_an_idle_workers_death_is_noticed() -> None:
    async with Rig() as rig:
        changed = asyncio.Event()
        rig.batcher.on_change(changed.set)
        await asyncio.sleep(0)
        rig.made[0].alive = False
        rig.made[0].callback()
        await asyncio.wait_for(changed.wait(), 5)
        (answer,) = await settle(rig.batcher.submit([request("a")]))
        assert isinstance(answer, Answer)
        assert len(rig.made) == 2


async def test_the_self_test_runs_between_batches() -> None:
    async with Rig() as rig:
        first = await rig.occupy()
        testing = asyncio.create_task(rig.batcher.self_test())
        rig.gate.set()
        assert (await testing).passed
        await first


def test_impossible_limits_are_refused() -> None:
    with pytest.raises(ConfigError):
        BatchLimits(max_studies=-1)
    with pytest.raises(ConfigError):
        QueueLimits(max_studies=0)


async def test_two_idle_workers_take_a_study_each_before_one_is_handed_two() -> None:
    async with Rig(workers=2, ahead=1) as rig:
        rig.gate.clear()
        futures = rig.batcher.submit([request("a")]) + rig.batcher.submit([request("b")])
        for worker in rig.made:
            await asyncio.wait_for(worker.waiting.wait(), 5)
        assert sorted(batch for worker in rig.made for batch in worker.batches) == [["a"], ["b"]]
        assert [len(worker.batches) for worker in rig.made] == [1, 1]
        rig.gate.set()
        assert all(isinstance(answer, Answer) for answer in await settle(futures))


async def test_a_worker_that_can_not_be_started_for_want_of_descriptors_is_tried_again() -> None:
    async with Rig() as rig:
        changes: list[int] = []
        rig.batcher.on_change(lambda: changes.append(rig.batcher.live_workers))
        true_start = rig.start
        tries = iter([OSError(24, "Too many open files"), OSError(12, "no memory"), None])

        async def start() -> FakeWorker:
            if (error := next(tries)) is not None:
                raise error
            return await true_start()

        rig.start_worker = start
        rig.made[0].alive = False
        rig.made[0].callback()
        (answer,) = await asyncio.wait_for(settle(rig.batcher.submit([request("a")])), 10)
        assert isinstance(answer, Answer)
        assert changes[0] == 0
        assert changes[-1] == 1


async def test_a_request_as_large_as_the_queue_enters_one_that_is_not_empty() -> None:
    async with Rig(queue=QueueLimits(max_studies=8), max_studies=2) as rig:
        first = await rig.occupy()
        waiting = rig.batcher.submit([request(f"w{i}") for i in range(3)])
        large = rig.batcher.submit([request(f"l{i}") for i in range(8)])
        with pytest.raises(OverloadedError):
            rig.batcher.submit([request("one more")])
        rig.gate.set()
        assert all(isinstance(answer, Answer) for answer in await settle([first, *waiting, *large]))


def test_a_wait_is_predicted_once_and_one_slow_batch_does_not_refuse_everybody() -> None:
    line = WaitingLine(QueueLimits(), BatchLimits(max_studies=16))
    line.s_per_study = 0.05
    line.check_time(1, deadline_s=0.07, running=0, lanes=1)
    line.check_time(1, deadline_s=0.2, running=2, lanes=1)  # 3 x 0.05 s and a margin
    line.check_time(2, deadline_s=0.2, running=4, lanes=2)
    with pytest.raises(DeadlineError):
        line.check_time(1, deadline_s=0.15, running=2, lanes=1)
    line.took(1, 3.0)  # sixty times as long as any before
    assert line.s_per_study < 0.1


async def test_a_self_test_asks_every_worker_and_one_failure_fails_it() -> None:
    async with Rig(workers=2, cache=8) as rig:
        (answer,) = await settle(rig.batcher.submit([request("a")]))
        assert isinstance(answer, Answer)
        rig.made[1].passes = False
        assert not (await rig.batcher.self_test()).passed
        assert [worker.tested for worker in rig.made] == [1, 1]
        (again,) = await settle(rig.batcher.submit([request("a")]))
        assert isinstance(again, Answer)
        assert not again.cached


async def test_studies_that_wait_go_before_a_self_test_and_one_that_nobody_waits_for_is_not_run() -> None:
    async with Rig(max_studies=1) as rig:
        first = await rig.occupy()
        waiting = rig.batcher.submit([request("a"), request("b")])
        testing = asyncio.create_task(rig.batcher.self_test())
        gone = asyncio.create_task(rig.batcher.self_test())
        await asyncio.sleep(0)
        gone.cancel()
        rig.gate.set()
        await settle([first, *waiting])
        assert (await testing).passed
        assert rig.made[0].tested_after == [3]


def photograph(content: int, note: str) -> Request:
    """A study with a photograph of its own, of a caller."""
    return Request(study=Study(image=b"photograph %d" % content, note=note), ask=Ask())


HOSTILE, GOOD = Share("hostile"), Share("good")


async def lose(rig: Rig, count: int, note: str) -> list[Answer | BaseException]:
    """One photograph after another, each another one."""
    answers: list[Answer | BaseException] = []
    for content in range(count):
        answers += await settle(rig.batcher.submit([photograph(content, note)], share=HOSTILE))
    return answers


@pytest.mark.parametrize("note", ["kills", "hangs", "is slow"])
async def test_a_caller_whose_photographs_cost_three_workers_is_refused_its_next_and_nobody_else_is(note: str) -> None:
    async with Rig() as rig:
        answers = await lose(rig, 3, note)
        assert not any(isinstance(answer, Answer | OverloadedError) for answer in answers)
        for share in (HOSTILE, Share("hostile", bulk=True)):
            with pytest.raises(OverloadedError, match="ended 3 workers") as refused:
                rig.batcher.submit([photograph(3, "another")], share=share)
            assert 0 < refused.value.retry_after_s <= 60
        good = rig.batcher.submit([photograph(4, "another")], share=GOOD)
        note_alone = rig.batcher.submit([request("note")], share=HOSTILE)
        assert all(isinstance(answer, Answer) for answer in await settle([*good, *note_alone]))


async def test_without_that_limit_each_photograph_costs_a_worker() -> None:
    """The twin."""
    async with Rig(lost_per_caller=0) as rig:
        await lose(rig, 8, "is slow")
        assert rig.batcher.lost["hung"] == 8


async def test_a_caller_is_let_in_again_after_a_while() -> None:
    async with Rig(lost_per_caller=1, lost_per_caller_s=0.05) as rig:
        await lose(rig, 1, "is slow")
        with pytest.raises(OverloadedError) as refused:
            rig.batcher.submit([photograph(1, "good")], share=HOSTILE)
        await asyncio.sleep(refused.value.retry_after_s)
        (answer,) = await settle(rig.batcher.submit([photograph(1, "good")], share=HOSTILE))
        assert isinstance(answer, Answer)


async def test_photographs_that_wait_are_refused_with_those_to_come() -> None:
    async with Rig(max_studies=1) as rig:
        rig.gate.clear()
        slow = rig.batcher.submit([photograph(content, "is slow") for content in range(20)], share=HOSTILE)
        good = rig.batcher.submit([photograph(20, "good")], share=GOOD)
        rig.gate.set()
        answers = await settle(slow)
        assert [type(answer) for answer in answers] == [PoisonError] * 3 + [OverloadedError] * 17
        assert rig.batcher.lost["hung"] == 3
        assert isinstance((await settle(good))[0], Answer)
        assert rig.batcher.queued_bytes == 0


async def test_a_worker_that_somebody_killed_is_not_held_against_a_caller() -> None:
    async with Rig(lost_per_caller=1) as rig:
        await lose(rig, 3, "is killed")
        assert rig.batcher.lost["died"] == 3
        (answer,) = await settle(rig.batcher.submit([photograph(5, "good")], share=HOSTILE))
        assert isinstance(answer, Answer)


async def test_a_stale_loss_and_a_study_of_the_server_itself_are_not_counted() -> None:
    now = [0.0]
    callers = CallerStrikes(2, 10.0, clock=lambda: now[0])
    assert callers.lost("a") is None
    now[0] = 11.0
    assert callers.lost("a") is None
    now[0] = 15.0
    refusal = callers.lost("a")
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(6.0)
    assert callers.refusal("b") is None
    now[0] = 21.5
    assert callers.refusal("a") is None
    assert [callers.lost("") for _ in range(5)] == [None] * 5
