"""One device kept busy: what is prepared meanwhile, which studies share a call, and what is told of each job."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import RECORD, open_engine, photograph

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.answers import Ask, Outcome, Prepared, VectorKind
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.selftest import SelfTestReport
from foveal_runtime.errors import ImageError, PoisonError
from foveal_runtime.photo.imaging import ImageLimits
from foveal_runtime.serving.jobs import RunJob, SelfTestJob, Started, Waiting
from foveal_runtime.serving.pipeline import Pipeline
from foveal_runtime.serving.supervisor import Worker, WorkerLost
from foveal_runtime.serving.worker import Crew, run_batch
from foveal_runtime.serving.workerspec import Flow, Replay, WorkerSpec, flow_for
from foveal_runtime.study.study import Study

WAIT_S = 20.0


class HeldEngine:
    """A real engine whose graphs wait for a gate, and whose calls are recorded."""

    def __init__(self, engine: Engine, rows: int) -> None:
        self._engine = engine
        self.max_rows = rows
        self.gate = threading.Event()
        self.entered: queue.Queue[int] = queue.Queue()
        """Rows of each call, when it begins."""
        self.begun: queue.Queue[str] = queue.Queue()
        """Ids of the studies that are being prepared."""
        self.on_prepare = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def prepare(self, study: Study) -> Prepared:
        self.on_prepare()
        self.begun.put(study.id)
        return self._engine.prepare(study)

    def run_each(self, prepared: Sequence[Prepared], asks: Sequence[Ask]) -> list[Outcome]:
        self.entered.put(len(prepared))
        assert self.gate.wait(WAIT_S)
        return self._engine.run_each(prepared, asks)


class Line:
    """A pipeline with its threads, and what it says."""

    def __init__(self, engine: HeldEngine, threads: int) -> None:
        self.engine = engine
        self.told: list[tuple[int, object]] = []
        self._answers: dict[int, queue.Queue[Any]] = {}
        self.pipeline = Pipeline(engine, self._tell)  # type: ignore[arg-type]
        loops = [*[self.pipeline.decode] * threads, self.pipeline.run_graphs]
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in loops]
        for thread in self._threads:
            thread.start()

    def _tell(self, number: int, message: object) -> None:
        self.told.append((number, message))
        if not isinstance(message, Started | Waiting):
            self._answers[number].put(message)

    def put(self, number: int, *studies: Study) -> None:
        self._answers[number] = queue.Queue()
        self.pipeline.put(number, RunJob(studies, (Ask(),) * len(studies)))

    def put_self_test(self, number: int) -> None:
        self._answers[number] = queue.Queue()
        self.pipeline.put(number, SelfTestJob())

    def answer(self, number: int) -> Any:
        return self._answers[number].get(timeout=WAIT_S)

    def of(self, number: int) -> list[type]:
        """Kinds of messages about a job, in order."""
        return [type(message) for about, message in self.told if about == number]

    def close(self) -> None:
        self.engine.gate.set()
        self.pipeline.close()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()


@pytest.fixture
def line(bundle_path: Path) -> Iterator[Line]:
    """Two threads that prepare; four studies a graph call."""
    made = Line(HeldEngine(open_engine(bundle_path), rows=4), threads=2)
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


def note(name: str, text: str = "macula edema") -> Study:
    return Study(id=name, note=text)


def test_the_next_job_is_decoded_while_the_graphs_run(line: Line) -> None:
    line.put(0, note("a"))
    assert line.engine.entered.get(timeout=WAIT_S) == 1
    assert line.engine.begun.get(timeout=WAIT_S) == "a"
    line.put(1, Study(id="b", image=photograph()))
    assert line.engine.begun.get(timeout=WAIT_S) == "b"
    assert list not in line.of(0)
    line.engine.gate.set()
    assert [type(each) for each in (*line.answer(0), *line.answer(1))] == [Outcome, Outcome]


def test_studies_of_two_jobs_share_a_graph_call_in_the_order_in_which_they_came(line: Line) -> None:
    line.put(0, note("a"))
    assert line.engine.entered.get(timeout=WAIT_S) == 1
    line.put(1, note("b"), note("c"))
    line.put(2, note("d"), note("e"), note("f"))
    until(lambda: line.pipeline.ahead == 5 and line.of(2) == [Started, Waiting])
    line.engine.gate.set()
    assert len(line.answer(1)) == 2
    assert len(line.answer(2)) == 3
    assert [line.engine.entered.get_nowait() for _ in range(2)] == [4, 1]
    assert [outcome.batch_size for outcome in line.told[-1][1]] == [4, 4, 1]  # type: ignore[attr-defined]


def test_a_job_is_said_to_wait_while_only_others_are_in_the_graphs(line: Line) -> None:
    line.put(0, note("a"))
    line.engine.entered.get(timeout=WAIT_S)
    line.put(1, note("b"))
    until(lambda: line.of(1) == [Started, Waiting])
    line.engine.gate.set()
    line.answer(1)
    assert line.of(0) == [Started, Started, list]  # decoding, graphs
    assert line.of(1) == [Started, Waiting, Started, list]


def test_a_call_names_all_the_jobs_whose_studies_it_holds(line: Line) -> None:
    line.put(0, note("a"))
    line.engine.entered.get(timeout=WAIT_S)
    line.put(1, note("b"))
    line.put(2, note("c"))
    until(lambda: line.of(2) == [Started, Waiting])
    line.engine.gate.set()
    line.answer(2)
    assert (1, Started(also=(2,))) in line.told


def test_a_study_that_breaks_a_call_of_two_jobs_fails_alone(line: Line) -> None:
    line.put(0, note("a"))
    line.engine.entered.get(timeout=WAIT_S)
    line.put(1, note("b"), note("c", "breaks"))
    line.put(2, note("d"), Study(id="e", image=b"no photograph"))
    until(lambda: line.of(2) == [Started, Waiting])
    line.engine.gate.set()
    assert [type(each) for each in line.answer(1)] == [Outcome, PoisonError]
    assert [type(each) for each in line.answer(2)] == [Outcome, ImageError]


def test_no_more_is_prepared_than_two_calls_take(line: Line) -> None:
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, line.pipeline.ahead)

    line.engine.on_prepare = look
    line.put(0, *[note(str(i)) for i in range(40)])
    line.engine.entered.get(timeout=WAIT_S)
    until(lambda: line.pipeline.ahead == 8)
    line.engine.gate.set()
    assert len(line.answer(0)) == 40
    assert most == 8


def test_a_self_test_runs_after_what_came_before_it_and_ahead_of_what_came_later(line: Line) -> None:
    line.put(0, note("a"))
    line.engine.entered.get(timeout=WAIT_S)
    line.put_self_test(1)
    line.put(2, note("b"))
    until(lambda: line.of(2) == [Started, Waiting])
    line.engine.gate.set()
    line.answer(2)
    answers = [(number, type(message)) for number, message in line.told if not isinstance(message, Started | Waiting)]
    assert answers == [(0, list), (1, SelfTestReport), (2, list)]
    assert line.answer(1).passed


def test_a_job_without_studies_is_answered(line: Line) -> None:
    line.put(0)
    assert line.answer(0) == []


def test_a_gpu_gets_a_pipeline_and_the_cpu_lanes() -> None:
    assert [flow_for(provider) for provider in ("cpu", "cuda", "tensorrt")] == [Flow.LANES, Flow.PIPELINE, Flow.PIPELINE]


def spec(path: Path, *, rows: int) -> WorkerSpec:
    return WorkerSpec(
        bundle=Bundle.open(path),
        provider="cpu",
        threads=2,
        max_rows=rows,
        limits=ImageLimits(),
        replay=Replay.NONE,
        flow=Flow.PIPELINE,
    )


async def test_a_worker_with_a_pipeline_answers_as_lanes_do(bundle_path: Path) -> None:
    whole = Study(image=photograph(3), note="macula of the retina", record=RECORD)
    studies = [whole, note("b"), Study(record=RECORD), Study(image=photograph(4)), note("c", "breaks"), note("d", "the retina")]
    asks = [Ask(frozenset(VectorKind))] * len(studies)
    expected = run_batch(open_engine(bundle_path), Crew(1), studies, asks)
    worker = await Worker.start(spec(bundle_path, rows=4), start_timeout_s=60)
    try:
        halves = await asyncio.gather(*(worker.run(studies[i : i + 3], asks[i : i + 3], timeout_s=30) for i in (0, 3)))
        assert (await worker.self_test(timeout_s=60)).passed
    finally:
        await asyncio.to_thread(worker.close)
    for got, want in zip([*halves[0], *halves[1]], expected, strict=True):
        if not isinstance(want, Outcome):
            assert type(got) is type(want)
            continue
        assert isinstance(got, Outcome)
        assert got.subset == want.subset
        for head, logits in want.logits.items():
            np.testing.assert_allclose(got.logits[head], logits, atol=1e-5)
        for kind, vector in want.vectors.items():
            np.testing.assert_allclose(got.vectors[kind], vector, atol=1e-6)


async def test_a_study_that_hangs_the_device_is_blamed_and_the_job_behind_it_is_not(bundle_path: Path) -> None:
    worker = await Worker.start(spec(bundle_path, rows=1), start_timeout_s=60)
    try:
        begun = asyncio.Event()
        hanging = asyncio.create_task(worker.run([note("a", "hangs")], [Ask()], timeout_s=1.0, on_start=begun.set))
        await begun.wait()
        behind = asyncio.create_task(worker.run([note("b")], [Ask()], timeout_s=1.0))
        first, second = await asyncio.gather(hanging, behind, return_exceptions=True)
    finally:
        await asyncio.to_thread(worker.close)
    assert isinstance(first, WorkerLost)
    assert first.hung
    # Where it was ready first it is answered.
    assert isinstance(second, list) or (isinstance(second, WorkerLost) and not second.hung)
