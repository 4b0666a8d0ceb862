"""Which studies killed or hung a worker. Remembers hashes alone, and a bounded number of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from foveal_runtime.errors import PoisonError

_TO_REFUSE = 2
_MAX_KEPT = 10_000


class Strikes:
    """In company a study is only suspected and runs alone from then on; alone it is known. With two strikes it is refused."""

    def __init__(self) -> None:
        self._count: OrderedDict[bytes, int] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._count)

    def suspect(self, key: bytes) -> bool:
        """Whether the study has to be run alone."""
        return self._count.get(key, 0) > 0

    def refused(self, key: bytes) -> bool:
        """Whether the study may not be run again."""
        return self._count.get(key, 0) >= _TO_REFUSE

    def lost(self, keys: Sequence[bytes]) -> None:
        """A worker was lost over these studies."""
        for key in keys:
            before = self._count.get(key, 0)
            self._remember(key, before + 1 if len(keys) == 1 else max(before, 1))

    def condemn(self, key: bytes) -> None:
        """It was seen to be this one alone: once is enough."""
        self._remember(key, _TO_REFUSE)

    def _remember(self, key: bytes, strikes: int) -> None:
        self._count[key] = strikes
        self._count.move_to_end(key)
        if len(self._count) > _MAX_KEPT:
            self._count.popitem(last=False)

    def forgive(self, key: bytes) -> None:
        """The study was run, and the worker lives."""
        self._count.pop(key, None)


def poison_error() -> PoisonError:
    """What a refused study is told."""
    return PoisonError("this study killed or hung its worker twice and is not run again; check its photograph, or leave it out")
