"""Who is blamed for a lost worker: no loop, no clock, no process."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from foveal_runtime.serving.loss import Verdict, judge
from foveal_runtime.serving.strikes import Strikes


@dataclass(eq=False)
class Study:
    key: bytes
    group: object = None


def studies(*names: str) -> list[Study]:
    return [Study(name.encode()) for name in names]


def test_a_batch_that_killed_its_worker_runs_again_in_halves_with_nobody_else() -> None:
    a, b, c = studies("a", "b", "c")
    verdict = judge(Strikes(), [[a, b], [c]])
    assert verdict == Verdict(again=[a, b, c])
    assert a.group is not None
    assert b.group is c.group is not a.group


def test_a_study_alone_is_told_once_and_refused_the_second_time() -> None:
    strikes, (a,) = Strikes(), studies("a")
    assert judge(strikes, [[a]]) == Verdict(told=[a], culprits=[a])
    assert judge(strikes, [[a]]) == Verdict(refused=[a], culprits=[a])


def test_of_a_worker_that_hung_the_other_batches_run_again_unblamed() -> None:
    strikes, (a, b) = Strikes(), studies("a", "b")
    assert judge(strikes, [], hung=[a]) == Verdict(told=[a], culprits=[a])
    assert judge(strikes, [[b]], hung=[]) == Verdict(again=[b])
    assert strikes.suspect(a.key)
    assert not strikes.suspect(b.key)
    assert b.group is None
    assert judge(strikes, [], hung=[a]) == Verdict(refused=[a], culprits=[a])
    assert judge(strikes, [], hung=[a, b]).culprits == [], "nobody knows which"


def test_a_worker_that_had_nothing_in_work_blames_nobody() -> None:
    strikes = Strikes()
    assert judge(strikes, []) == Verdict()
    assert not strikes


@given(culprit=st.integers(0, 15), count=st.integers(1, 16), others=st.integers(0, 3))
def test_halving_always_finds_the_one_that_kills_and_blames_nobody_else(culprit: int, count: int, others: int) -> None:
    batch = [Study(bytes([i])) for i in range(count)]
    killer = batch[culprit % count]
    strikes, waiting, done, told, refused = Strikes(), [batch[i:] for i in (0,)], [], [], []
    for _ in range(64):
        if not waiting:
            break
        group = waiting.pop(0)
        if killer not in group:
            for study in group:
                strikes.forgive(study.key)
            done += group
            continue
        verdict = judge(strikes, [group])
        told, refused = told + verdict.told, refused + verdict.refused
        assert verdict.culprits == ([killer] if len(group) == 1 else [])
        groups: dict[object, list[Study]] = {}
        for study in verdict.again:
            groups.setdefault(study.group, []).append(study)
        waiting = [*groups.values(), *waiting]
    assert not waiting
    assert told + refused == [killer]
    assert len(done) == count - 1


@given(closing=st.booleans(), hangs=st.booleans(), sizes=st.lists(st.integers(1, 5), max_size=4))
def test_every_study_comes_to_exactly_one_end(closing: bool, hangs: bool, sizes: list[int]) -> None:
    number = iter(range(100))
    batches = [[Study(bytes([next(number)])) for _ in range(size)] for size in sizes]
    hung = batches.pop() if hangs and batches else None
    verdict = judge(Strikes(), batches, hung=hung, closing=closing)
    ends = verdict.again + verdict.told + verdict.refused
    assert sorted(study.key for study in ends) == sorted(s.key for batch in (*batches, hung or []) for s in batch)
    assert not (closing and verdict.again)
