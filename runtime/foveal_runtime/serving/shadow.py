"""A bundle in the shadow: it grades what the default graded, its answers are compared and never sent. Knows no protobuf.

It works behind the callers' backs: never on a caller's time, with few studies in work and the rest counted as skipped. What is
kept of a comparison is counts, in a file of this user's alone that grows by nothing a patient sent (`foveal shadow report`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.engine.cachefolder import cache_root, check_private, replace_file
from foveal_runtime.errors import ConfigError, FovealError, OverloadedError, UnavailableError
from foveal_runtime.study.labels import CLASSES, ICDR, quadratic_kappa

if TYPE_CHECKING:
    from foveal_runtime.engine.grading import Grades
    from foveal_runtime.serving.host import Model, ModelHost
    from foveal_runtime.serving.request import Answer, Request

log = logging.getLogger(__name__)

_SAVE_EVERY_S = 10.0
_GRADES = len(CLASSES[ICDR])
Grader = Callable[["Answer", "Model"], "Grades"]
"""From an answer of a model to its grades, as the server would give them."""


@dataclass(kw_only=True, slots=True)
class Comparison:
    """Counts over the studies that both bundles were asked."""

    default_sha256: str
    shadow_sha256: str
    since: float = 0.0
    """Seconds since 1970, of the first study."""
    until: float = 0.0
    studies: int = 0
    """That were compared: both answered, or one of them."""
    skipped: int = 0
    """That the shadow had no time for."""
    failed_default_alone: int = 0
    failed_shadow_alone: int = 0
    ungradable_default_alone: int = 0
    """By the photograph's quality."""
    ungradable_shadow_alone: int = 0
    ungradable_both: int = 0
    ungraded: int = 0
    """Gradable, but one of the bundles gives no ICDR grade of it."""
    icdr: list[list[int]] = field(default_factory=lambda: [[0] * _GRADES for _ in range(_GRADES)])
    """Studies by the default's grade (row) and the shadow's (column)."""
    refer_default_alone: int = 0
    refer_shadow_alone: int = 0
    probability_sum: float = 0.0
    """Of |difference| of the referable probability, over the graded studies."""
    probability_max: float = 0.0

    @property
    def graded(self) -> int:
        """Studies that both graded."""
        return sum(map(sum, self.icdr))

    @property
    def same_grade(self) -> int:
        """Studies with one ICDR grade from both."""
        return sum(row[i] for i, row in enumerate(self.icdr))

    def add(self, now: float, default: Grades | FovealError | None, shadow: Grades | FovealError | None) -> None:
        """Count a study.

        Args:
            now: seconds since 1970.
            default: grades of the default bundle; None for a photograph that can't be graded; its error.
            shadow: the same of the shadow.
        """
        self.since = self.since or now
        self.until = now
        self.studies += 1
        if isinstance(default, FovealError) or isinstance(shadow, FovealError):
            self.failed_default_alone += not isinstance(shadow, FovealError)
            self.failed_shadow_alone += not isinstance(default, FovealError)
            return
        if default is None or shadow is None:
            self.ungradable_both += default is shadow
            self.ungradable_default_alone += shadow is not None
            self.ungradable_shadow_alone += default is not None
            return
        if default.referable is None or shadow.referable is None:
            self.ungraded += 1
            return
        self.icdr[default.schemes[ICDR].grade][shadow.schemes[ICDR].grade] += 1
        self.refer_default_alone += default.referable.decision and not shadow.referable.decision
        self.refer_shadow_alone += shadow.referable.decision and not default.referable.decision
        difference = abs(default.referable.probability - shadow.referable.probability)
        self.probability_sum += difference
        self.probability_max = max(self.probability_max, difference)

    @property
    def kappa(self) -> float | None:
        """Quadratic-weighted kappa of the two bundles' ICDR grades (Cohen 1968); None where it is not defined."""
        return quadratic_kappa(self.icdr)


def shadow_folder() -> Path:
    """Where comparisons are kept."""
    return cache_root() / "shadow"


def read_comparisons() -> list[Comparison]:
    """All comparisons of this user, the latest first.

    Raises:
        ConfigError: the folder is open to other users.
    """
    folder = shadow_folder()
    if not folder.is_dir():
        return []
    check_private(folder)
    found = [comparison for path in folder.glob("*.json") if (comparison := _read(path)) is not None]
    return sorted(found, key=lambda comparison: comparison.until, reverse=True)


def _read(path: Path) -> Comparison | None:
    try:
        return Comparison(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # not there yet, or of another version: counting begins anew


class Shadow:
    """Grades in the background what the default has graded, and counts how the answers differ."""

    def __init__(self, host: ModelHost, grades: Grader, *, most_in_work: int = 32) -> None:
        """Args:
        host: of the shadow's bundle.
        grades: as the server grades.
        most_in_work: studies in work at once; further ones are skipped.
        """
        self.host = host
        self._grades = grades
        self._most = most_in_work
        self._in_work = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._comparison: Comparison | None = None
        self._saved_at = time.monotonic()

    def compare(self, default: Model, asked: Sequence[tuple[Request, Answer | FovealError]]) -> None:
        """Ask the shadow what the default has answered; returns at once.

        Args:
            default: the model that answered.
            asked: studies that were to be graded, with its answers.
        """
        comparison = self._of(default)
        if comparison is None:
            return
        for request, answer in asked:
            if self._in_work >= self._most:
                comparison.skipped += 1
                continue
            self._in_work += 1
            task = asyncio.create_task(self._one(comparison, default, request, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _of(self, default: Model) -> Comparison | None:
        """The running comparison of these two bundles; None while the shadow is not up."""
        if not self.host.healthy:
            return None
        pair = default.bundle.sha256, self.host.bundle.sha256
        found = self._comparison
        if found is None or (found.default_sha256, found.shadow_sha256) != pair:
            self.save()
            new = Comparison(default_sha256=pair[0], shadow_sha256=pair[1])
            self._comparison = found = _read(_path(new)) or new
        return found

    async def _one(self, comparison: Comparison, default: Model, request: Request, answer: Answer | FovealError) -> None:
        try:
            model = self.host.model
            (future,) = model.batcher.submit([request])
            theirs: Answer | FovealError = await future
            shadow = self._verdict(theirs, model)
        except (OverloadedError, UnavailableError):
            comparison.skipped += 1
            return
        except FovealError as error:
            shadow = error
        except asyncio.CancelledError:
            comparison.skipped += 1
            raise
        finally:
            self._in_work -= 1
        comparison.add(time.time(), self._verdict(answer, default), shadow)
        if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
            self.save()

    def _verdict(self, answer: Answer | FovealError, model: Model) -> Grades | FovealError | None:
        if isinstance(answer, FovealError):
            return answer
        return self._grades(answer, model) if answer.outcome.gradable else None

    def save(self) -> None:
        """Write the counts; what can't be written is told in the log and kept in memory."""
        self._saved_at = time.monotonic()
        if self._comparison is None:
            return
        try:
            replace_file(_path(self._comparison), json.dumps(asdict(self._comparison)) + "\n")
        except (OSError, ConfigError) as error:
            log.warning("the shadow's comparison can't be kept: %s", error)

    async def close(self) -> None:
        """End what is in work, and write the counts."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.save()


def _path(comparison: Comparison) -> Path:
    return shadow_folder() / f"{comparison.default_sha256[:16]}-{comparison.shadow_sha256[:16]}.json"
