"""Entries that come one by one, stored in groups: nobody waits for company, and nobody's fault is another's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from foveal_runtime.errors import InputError
from foveal_runtime.store.entry import Entry
from foveal_runtime.store.grouped import MOST, GroupedWrites, StoreAwayError


class Transactions:
    """What was written together; each waits until it is let go."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.bad: dict[str, Exception] = {}
        self.gate = asyncio.Event()

    async def write(self, entries: Sequence[Entry]) -> None:
        self.groups.append([entry.id for entry in entries])
        await self.gate.wait()
        for entry in entries:
            if entry.id in self.bad:
                raise self.bad[entry.id]


def _entry(entry_id: str) -> Entry:
    return Entry(id=entry_id, vectors={})


async def _started(writes: GroupedWrites, ids: Sequence[str]) -> list[asyncio.Task[None]]:
    """Those that were asked for while the first was being written."""
    tasks = []
    for each in ids:
        tasks.append(asyncio.create_task(writes.store(_entry(each))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


async def test_the_first_is_written_at_once_and_all_that_come_meanwhile_by_the_next_transaction() -> None:
    done = Transactions()
    tasks = await _started(GroupedWrites(done.write), ["a", "b", "c", "d"])
    assert done.groups == [["a"]]
    assert not tasks[0].done(), "acknowledged before its transaction was over"
    done.gate.set()
    await asyncio.gather(*tasks)
    assert done.groups == [["a"], ["b", "c", "d"]]


async def test_a_transaction_carries_the_name_of_no_call() -> None:
    name = ContextVar("name", default="-")
    seen = []

    async def write(entries: Sequence[Entry]) -> None:
        seen.append(name.get())

    name.set("of one call")
    await GroupedWrites(write).store(_entry("a"))
    assert seen == ["-"]


async def test_a_transaction_is_bounded() -> None:
    done = Transactions()
    tasks = await _started(GroupedWrites(done.write), [str(i) for i in range(MOST + 5)])
    done.gate.set()
    await asyncio.gather(*tasks)
    assert [len(group) for group in done.groups] == [1, MOST, 4]


async def test_an_entry_that_fails_costs_no_other_its_place() -> None:
    done = Transactions()
    done.bad["c"] = InputError("c is unusable")
    tasks = await _started(GroupedWrites(done.write), ["a", "b", "c", "d"])
    done.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [None, None, done.bad["c"], None] == found
    assert done.groups[2:] == [["b"], ["c"], ["d"]]


async def test_where_postgresql_is_away_nobody_waits_for_it_twice() -> None:
    done = Transactions()
    done.bad["b"] = StoreAwayError("can't be reached")
    tasks = await _started(GroupedWrites(done.write), ["a", "b", "c"])
    done.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found == [None, done.bad["b"], done.bad["b"]]
    assert done.groups == [["a"], ["b", "c"]]


async def test_two_of_one_id_are_written_in_the_order_in_which_they_came() -> None:
    done = Transactions()
    tasks = await _started(GroupedWrites(done.write), ["a", "b", "c", "b", "d"])
    done.gate.set()
    await asyncio.gather(*tasks)
    assert done.groups == [["a"], ["b", "c", "d"], ["b"]]


async def test_who_has_left_is_not_written_and_whose_archive_closes_is_told() -> None:
    done = Transactions()
    writes = GroupedWrites(done.write)
    tasks = await _started(writes, ["a", "b", "c"])
    tasks[1].cancel()
    await asyncio.sleep(0)
    done.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert done.groups == [["a"], ["c"]]
    done.gate.clear()
    tasks = await _started(writes, ["d", "e"])
    await writes.close()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]


async def test_a_fault_is_told_to_all_who_wait_and_the_next_is_written() -> None:
    done = Transactions()
    done.bad["b"] = ZeroDivisionError()
    writes = GroupedWrites(done.write)
    tasks = await _started(writes, ["a", "b", "c"])
    done.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[0] is None
    assert all(isinstance(each, ZeroDivisionError) for each in found[1:])
    await writes.store(_entry("d"))
    assert done.groups[-1] == ["d"]
