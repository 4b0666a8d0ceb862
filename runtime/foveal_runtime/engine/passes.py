"""The rows of the fusion graph that a batch of studies asks for, and how long a graph takes. Runs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from foveal_runtime.engine.answers import Ask, Prepared, VectorKind
from foveal_runtime.study.study import Modality, Subset


@dataclass(frozen=True, slots=True)
class Pass:
    """One row of the fusion graph: a study seen through some of its modalities."""

    study: int
    sees: Subset


def passes_of(prepared: Sequence[Prepared], asks: Sequence[Ask]) -> list[Pass]:
    """What has to be fused so that every study gets what it asks for; each row once."""
    passes: dict[Pass, None] = {}
    for i, (item, ask) in enumerate(zip(prepared, asks, strict=True)):
        if ask.grade or VectorKind.JOINT in ask.kinds:
            passes[Pass(i, item.subset)] = None
        for modality in Modality:
            if modality in item.subset and VectorKind(modality.value) in ask.kinds:
                passes[Pass(i, frozenset({modality}))] = None
    return list(passes)


def grouped(rows: Sequence[int], lengths: Sequence[int], bucket_tokens: int, most: int) -> list[list[int]]:
    """Split rows into graph calls: like lengths together, at most `most`."""
    buckets: dict[int, list[int]] = {}
    for row, length in zip(rows, lengths, strict=True):
        buckets.setdefault(-(-length // bucket_tokens), []).append(row)
    return [bucket[i : i + most] for bucket in buckets.values() for i in range(0, len(bucket), most)]


@contextlib.contextmanager
def timed(milliseconds: dict[str, float], name: str, clock: Callable[[], float]) -> Iterator[None]:
    """Note under `name` how many milliseconds the block takes."""
    began = clock()
    yield
    milliseconds[name] = (clock() - began) * 1e3
