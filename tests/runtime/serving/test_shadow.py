"""What is counted of a bundle in the shadow, and what is kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from foveal_runtime.engine.answers import Ask
from foveal_runtime.engine.grading import DEFAULT_POINT, Grades, Referable, SchemeGrade
from foveal_runtime.errors import FovealError, OverloadedError
from foveal_runtime.serving.request import Request
from foveal_runtime.serving.shadow import Comparison, Shadow, read_comparisons, shadow_folder
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Study


def grades(icdr: int, probability: float) -> Grades:
    scheme = SchemeGrade(grade=icdr, name=str(icdr), names=(), probabilities=(0.2,) * 5)
    referable = Referable(decision=probability >= 0.5, probability=probability, operating_point=DEFAULT_POINT)
    return Grades(schemes={ICDR: scheme}, referable=referable)


@given(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_grades_are_counted_and_kappa_is_the_fields(pairs: list[tuple[int, int]]) -> None:
    comparison = Comparison(default_sha256="a", shadow_sha256="b")
    for mine, theirs in pairs:
        comparison.add(1.0, grades(mine, mine / 4), grades(theirs, theirs / 4))
    assert comparison.graded == comparison.studies == len(pairs)
    assert comparison.same_grade == sum(mine == theirs for mine, theirs in pairs)
    assert comparison.refer_shadow_alone == sum(mine < 2 <= theirs for mine, theirs in pairs)
    assert comparison.refer_default_alone == sum(theirs < 2 <= mine for mine, theirs in pairs)
    assert comparison.probability_max == pytest.approx(max(abs(mine - theirs) / 4 for mine, theirs in pairs))
    if comparison.kappa is not None:
        expected = cohen_kappa_score(*zip(*pairs, strict=True), labels=range(5), weights="quadratic")
        assert comparison.kappa == pytest.approx(expected)


def test_what_fails_or_can_not_be_graded_is_counted_by_who() -> None:
    comparison, error = Comparison(default_sha256="a", shadow_sha256="b"), FovealError("no")
    for default, shadow in ((error, grades(0, 0)), (grades(0, 0), error), (error, error), (None, None), (None, grades(0, 0))):
        comparison.add(1.0, default, shadow)
    comparison.add(1.0, Grades(schemes={}, referable=None), grades(0, 0))
    assert (comparison.failed_default_alone, comparison.failed_shadow_alone) == (1, 1)
    assert (comparison.ungradable_both, comparison.ungradable_default_alone, comparison.ungradable_shadow_alone) == (1, 1, 0)
    assert (comparison.ungraded, comparison.graded, comparison.studies) == (1, 0, 6)


class Batcher:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Any]] = []
        self.full = False

    def submit(self, requests: list[Request]) -> list[asyncio.Future[Any]]:
        if self.full:
            raise OverloadedError("full", retry_after_s=1.0)
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1:]


def answer() -> Any:
    return SimpleNamespace(outcome=SimpleNamespace(gradable=True))


class Rig:
    def __init__(self) -> None:
        self.batcher = Batcher()
        model = SimpleNamespace(bundle=SimpleNamespace(sha256="bb" * 32), batcher=self.batcher)
        self.host = SimpleNamespace(healthy=True, bundle=model.bundle, model=model)
        self.default: Any = SimpleNamespace(bundle=SimpleNamespace(sha256="aa" * 32))
        self.shadow = Shadow(self.host, lambda answer, model: grades(1, 0.2), most_in_work=2)  # type: ignore[arg-type]

    async def ask(self, count: int) -> None:
        self.shadow.compare(self.default, [(Request(study=Study(note="secret words"), ask=Ask()), answer())] * count)
        for _ in range(5):
            await asyncio.sleep(0)


async def test_studies_beyond_those_in_work_are_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path))
    rig = Rig()
    await rig.ask(5)
    assert len(rig.batcher.asked) == 2
    for future in rig.batcher.asked:
        future.set_result(answer())
    await rig.ask(1)
    rig.batcher.full = True
    await rig.ask(1)
    await rig.shadow.close()
    (kept,) = read_comparisons()
    assert kept.graded == 2
    assert kept.skipped == 5  # three had no room here, one none in the shadow's queue, one was cut off by the end
    assert kept.failed_shadow_alone == 0
    assert shadow_folder().stat().st_mode & 0o777 == 0o700
    assert "secret" not in json.dumps([path.read_text() for path in shadow_folder().iterdir()])


async def test_counting_goes_on_after_a_restart_and_anew_with_another_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path))
    for _ in range(2):
        rig = Rig()
        await rig.ask(1)
        rig.batcher.asked[0].set_result(answer())
        await rig.ask(0)
        await rig.shadow.close()
    assert [kept.graded for kept in read_comparisons()] == [2]
    rig = Rig()
    rig.host.bundle.sha256 = "cc" * 32
    await rig.ask(1)
    rig.batcher.asked[0].set_result(answer())
    await rig.ask(0)
    await rig.shadow.close()
    assert sorted(kept.graded for kept in read_comparisons()) == [1, 2]


async def test_a_shadow_that_is_not_up_is_asked_nothing() -> None:
    rig = Rig()
    rig.host.healthy = False
    await rig.ask(1)
    assert not rig.batcher.asked
