"""BentoML around foveal's graphs: a worker a core, adaptive batches, and limits to concurrency and waiting.

BentoML's services speak HTTP; files come as forms. What a batchable API takes and gives are lists, of one a request here.
"""

from pathlib import Path

import bentoml

from peers.grader import Grader
from peers.settings import Settings

SETTINGS = Settings.from_environment()


@bentoml.service(
    workers=SETTINGS.workers,
    traffic={
        "timeout": SETTINGS.deadline_ms / 1e3,
        "max_concurrency": SETTINGS.queued + SETTINGS.workers * SETTINGS.batch,
    },
)
class Photograph:
    """What BentoML calls."""

    def __init__(self) -> None:
        """Load the graphs in a worker."""
        self._grade = Grader(SETTINGS.bundle)

    @bentoml.api(batchable=True, max_batch_size=SETTINGS.batch, max_latency_ms=int(SETTINGS.deadline_ms))
    def grade(self, photographs: list[Path]) -> list[list[float]]:
        """Probabilities of each."""
        return self._grade([each.read_bytes() for each in photographs])
