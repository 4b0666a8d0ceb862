"""Memory for decoding: photographs wait their turn, whoever is first goes first, and one alone is always let in."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from foveal_runtime.engine.budget import MemoryBudget

PATIENCE_S = 10.0


class Holder:
    """A thread that holds some bytes until it is let go."""

    def __init__(self, budget: MemoryBudget, size_bytes: int, order: list[int]) -> None:
        self.holds, self.let_go = threading.Event(), threading.Event()

        def hold() -> None:
            with budget.hold(size_bytes):
                order.append(size_bytes)
                self.holds.set()
                assert self.let_go.wait(PATIENCE_S)

        self._thread = threading.Thread(target=hold)
        self._thread.start()

    def end(self) -> None:
        self.let_go.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def order() -> list[int]:
    """Sizes, in the order in which they were let in."""
    return []


def in_line(budget: MemoryBudget, count: int) -> Callable[[], bool]:
    """Whether so many wait."""
    return lambda: len(budget._turns) == count


def until(true: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(1000):
        if true():
            return
        tick.wait(PATIENCE_S / 1000)
    raise AssertionError("it did not happen")


def test_what_fits_is_held_side_by_side_and_what_does_not_waits(order: list[int]) -> None:
    budget = MemoryBudget(100)
    first, second = Holder(budget, 60, order), Holder(budget, 40, order)
    assert first.holds.wait(PATIENCE_S)
    assert second.holds.wait(PATIENCE_S)
    third = Holder(budget, 1, order)
    until(in_line(budget, 1))
    assert not third.holds.is_set()
    second.end()
    assert third.holds.wait(PATIENCE_S)
    first.end()
    third.end()


def test_one_that_is_larger_than_the_whole_is_let_in_alone(order: list[int]) -> None:
    budget = MemoryBudget(100)
    small = Holder(budget, 1, order)
    assert small.holds.wait(PATIENCE_S)
    large = Holder(budget, 1000, order)
    until(in_line(budget, 1))
    assert not large.holds.is_set(), "it has company"
    small.end()
    assert large.holds.wait(PATIENCE_S)
    after = Holder(budget, 1, order)
    until(in_line(budget, 1))
    assert not after.holds.is_set()
    large.end()
    assert after.holds.wait(PATIENCE_S)
    after.end()


def test_small_ones_that_would_fit_do_not_pass_a_large_one(order: list[int]) -> None:
    budget = MemoryBudget(100)
    first = Holder(budget, 50, order)
    assert first.holds.wait(PATIENCE_S)
    large = Holder(budget, 80, order)
    until(in_line(budget, 1))
    small = []
    for size in (1, 2, 3):
        small.append(Holder(budget, size, order))
        until(in_line(budget, 1 + len(small)))
    assert order == [50]
    first.end()
    for holder in (large, *small):
        assert holder.holds.wait(PATIENCE_S)
    assert order == [50, 80, 1, 2, 3]
    for holder in (large, *small):
        holder.end()


def test_a_photograph_that_fails_gives_its_memory_back() -> None:
    budget = MemoryBudget(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), budget.hold(10):
            raise ValueError("broken")
    with budget.hold(10):
        pass


def test_a_waiter_that_is_interrupted_leaves_the_line_to_the_others(order: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    budget = MemoryBudget(100)
    first = Holder(budget, 100, order)
    assert first.holds.wait(PATIENCE_S)
    waits = budget._changed.wait

    def interrupted(timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(budget._changed, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt), budget.hold(50):
        pass
    monkeypatch.setattr(budget._changed, "wait", waits)
    after = Holder(budget, 50, order)
    until(in_line(budget, 1))
    first.end()
    assert after.holds.wait(PATIENCE_S)
    after.end()


def test_nothing_takes_no_room(order: list[int]) -> None:
    budget = MemoryBudget(10)
    full = Holder(budget, 10, order)
    assert full.holds.wait(PATIENCE_S)
    with budget.hold(0):
        pass
    full.end()
