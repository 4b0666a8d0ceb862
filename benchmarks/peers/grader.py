"""A photograph's grade by foveal's own decoding and graphs, in a peer's process. What every peer has in common.

The graphs are those that `foveal compile` kept, as `foveal serve` loads them, in calls of as many rows. What a peer adds is
what is compared: its protocol, its queue, its batches and its processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.engine.compiled import find_compiled
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.grading import grade
from foveal_runtime.serving.spec import CPU_ROWS
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Study

EVERY = frozenset(Evidence)
"""Evidence whose grades are answered: as `foveal serve --allow-unverified --allow-untrained` does."""


class Grader:
    """One process's share of a server: one thread inside a graph call, since there is a process for each core."""

    def __init__(self, bundle: str | Path) -> None:
        """Load the compiled graphs.

        Raises:
            FovealError: the bundle or what was compiled can't be used, for example with another ONNX Runtime.
        """
        opened = Bundle.open(Path(bundle))
        self._engine = Engine(opened, threads=1, max_rows=CPU_ROWS, compiled=find_compiled(opened, "cpu"))

    def __call__(self, photographs: Sequence[bytes]) -> list[list[float]]:
        """Probabilities of the ICDR grades of each photograph; an empty list where it can't be graded.

        Raises:
            StudyError: one of them can't be read.
        """
        answers: list[list[float]] = []
        # As foveal's worker does: no more decoded at once than one graph call takes, since decoded photographs are large.
        for first in range(0, len(photographs), CPU_ROWS):
            prepared = [self._engine.prepare(Study(image=each)) for each in photographs[first : first + CPU_ROWS]]
            for outcome in self._engine.run(prepared):
                scheme = grade(outcome, self._engine.manifest, given=EVERY).schemes[ICDR]
                answers.append(list(scheme.probabilities) if outcome.gradable else [])
        return answers
