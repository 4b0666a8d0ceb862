"""Shares take turns, those that somebody waits for go first, and streams never stand still."""

from __future__ import annotations

from dataclasses import dataclass

from foveal_runtime.serving.turns import BULK_TURN, Share, Turns


@dataclass(frozen=True)
class Item:
    share: Share
    number: int = 0


ANN, BOB, STREAM = Share("ann"), Share("bob"), Share("ann", bulk=True)


def taken(turns: Turns[Item], count: int) -> list[tuple[str, int]]:
    """What comes next, as `first` announces it."""
    found = []
    for _ in range(count):
        first = turns.first()
        assert turns.pop() is first
        found.append((first.share.name + "*" * first.share.bulk, first.number))
    return found


def test_callers_take_turns_and_each_is_served_in_its_order() -> None:
    turns = Turns[Item]()
    for i in range(3):
        turns.append(Item(ANN, i))
    turns.append(Item(BOB))
    assert turns.before(BOB, 1) == 3  # its first, and as many of ann's as bob will have
    assert taken(turns, 4) == [("ann", 0), ("bob", 0), ("ann", 1), ("ann", 2)]
    assert len(turns) == 0


def test_a_stream_gets_every_fourth_place_while_somebody_waits() -> None:
    turns = Turns[Item]()
    for i in range(8):
        turns.append(Item(STREAM, i))
        turns.append(Item(ANN, i))
    names = [name for name, _ in taken(turns, 16)]
    assert names[:8] == ["ann", "ann", "ann", "ann*"] * 2
    assert BULK_TURN == 4
    assert names.count("ann*") == 8


def test_what_was_taken_comes_first_again_and_what_nobody_wants_goes() -> None:
    turns = Turns[Item]()
    turns.append(Item(BOB))
    turns.put_back([Item(ANN, 1), Item(ANN, 2)])
    assert turns.first().number == 1
    assert [item.number for item in turns.drop(lambda item: item.number == 1)] == [1]
    assert turns.drop(lambda item: item.share == BOB) == [Item(BOB)]
    assert (turns.shares, len(turns)) == (set(), 1)
