"""A bounded memory of outcomes by content: equal studies, asked equally of one bundle, are computed once."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Outcome


class OutcomeCache:
    """Outcomes by the key of their request; of no entries, it keeps nothing."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: OrderedDict[bytes, Outcome] = OrderedDict()

    @property
    def enabled(self) -> bool:
        """Whether anything is ever kept."""
        return self._entries > 0

    def get(self, key: bytes) -> Outcome | None:
        """The outcome, if it is kept."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def put(self, key: bytes, outcome: Outcome) -> None:
        """Keep an outcome."""
        if not self._entries:
            return
        self._kept[key] = outcome
        self._kept.move_to_end(key)
        if len(self._kept) > self._entries:
            self._kept.popitem(last=False)
