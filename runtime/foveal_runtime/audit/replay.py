"""Recorded answers computed again from their photographs, with the bundle that gave them. Reads no trail and prints nothing.

The trail keeps no note and no record of a patient: only what was answered to a photograph that came alone can be
computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.engine.answers import Ask, Outcome
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.grading import Reason, abstention, grade
from foveal_runtime.errors import FovealError, ImageError
from foveal_runtime.photo.imaging import ImageLimits
from foveal_runtime.serving.isolation import prepare_alone, run_alone
from foveal_runtime.study.labels import ICDR, SDRG
from foveal_runtime.study.study import Study

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.compiled import Compiled
    from foveal_runtime.engine.providers import Provider

ANSWERS = ("graded", "ungradable", "abstained", "rejected")
"""Verdicts on one study that was to be graded."""
_CALLS = ("Grade", "GradeExam", "GradeStream")
_EXACT = ("verdict", "reason", "icdr", "sdrg", "referral", "operating_point")


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What a record says otherwise than the bundle does now."""

    sequence: int
    field: str
    recorded: Any
    now: Any


@dataclass(kw_only=True, slots=True)
class Replayed:
    """What became of a trail's answers."""

    answers: int = 0
    """Recorded answers to studies that were to be graded."""
    replayed: int = 0
    """Computed again."""
    other_bundle: int = 0
    """Given by another bundle."""
    not_alone: int = 0
    """To a study without a photograph, or with a note or a record beside it."""
    of_the_moment: int = 0
    """Refused for what is not the photograph's: load, a lost worker, an id given twice."""
    not_found: list[str] = field(default_factory=list)
    """SHA-256 of the photographs that were not given."""
    without_record: list[str] = field(default_factory=list)
    """SHA-256 of the photographs that were given and that no record names."""
    differences: list[Difference] = field(default_factory=list)


class Replay:
    """Computes with one bundle."""

    def __init__(
        self,
        bundle: Bundle,
        provider: Provider,
        read: Callable[[str], bytes],
        hashes: Iterable[str],
        compiled: Compiled | None = None,
    ) -> None:
        """Args:
        bundle: as it was served.
        provider: where the graphs run.
        read: the bytes of a photograph by its SHA-256.
        hashes: of the photographs that are there.
        compiled: the bundle's graphs as they were served.
        """
        self._bundle, self._provider, self._read, self._compiled = bundle, provider, read, compiled
        self._there = frozenset(hashes)
        self._seen: set[str] = set()
        self._settings: Mapping[str, Any] = {}
        self._engines: dict[str, Engine] = {}
        self._outcomes: dict[tuple[str, str], Outcome | FovealError] = {}
        self.result = Replayed()

    def take(self, record: Mapping[str, Any]) -> None:
        """Compare a record of the trail; they come in their order."""
        if record["verdict"] == "started":
            self._settings = record["settings"]
        photograph = record.get("photograph")
        if photograph in self._there:
            self._seen.add(photograph)
        if record["call"] not in _CALLS or record["verdict"] not in ANSWERS:
            return
        result = self.result
        result.answers += 1
        if record["verdict"] == "rejected" and record["reason"] != ImageError.reason:
            result.of_the_moment += 1
        elif record.get("bundle", {}).get("sha256") != self._bundle.sha256:
            result.other_bundle += 1
        elif photograph is None or not record.get("alone"):
            result.not_alone += 1
        elif photograph not in self._there:
            if photograph not in result.not_found:
                result.not_found.append(photograph)
        else:
            result.replayed += 1
            result.differences += self._differences(record, self._answer(photograph, record))

    def end(self) -> Replayed:
        """What became of all."""
        self.result.without_record = sorted(self._there - self._seen)
        return self.result

    def _differences(self, record: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
        fields = [name for name in _EXACT if record.get(name) != now.get(name)]
        before, after = record.get("probability"), now.get("probability")
        if before != after:
            most = self._bundle.manifest.tolerances.max_abs_probability
            if before is None or after is None or abs(before - after) > most:
                fields.append("probability")
        return [
            Difference(sequence=record["sequence"], field=name, recorded=record.get(name), now=now.get(name)) for name in fields
        ]

    def _answer(self, photograph: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """The same fields as in a record, computed now."""
        outcome = self._outcome(photograph)
        if isinstance(outcome, FovealError):
            return {"verdict": "rejected", "reason": outcome.reason}
        if not outcome.gradable:
            assert outcome.quality is not None
            return {"verdict": "ungradable", "reason": outcome.quality.name}
        point = (record.get("operating_point") or {}).get("name", record.get("point", ""))
        given = frozenset(map(Evidence, self._settings.get("evidence", [Evidence.PROVEN])))
        grades = grade(outcome, self._bundle.manifest, given=given, operating_point=point)
        withheld = abstention(outcome, grades, frozenset(map(Reason, self._settings.get("abstain", ()))))
        if withheld is not None:
            return {"verdict": "abstained", "reason": withheld.reason.name}
        found: dict[str, Any] = {
            "verdict": "graded",
            **{head: scheme.grade for head, scheme in grades.schemes.items() if head in (ICDR, SDRG)},
        }
        if grades.referable is not None:
            used = grades.referable.operating_point
            found |= {
                "referral": "refer" if grades.referable.decision else "not_referable",
                "probability": grades.referable.probability,
                "operating_point": {"name": used.name, "threshold": used.threshold},
            }
        return found

    def _outcome(self, photograph: str) -> Outcome | FovealError:
        settings = repr(self._settings)
        key = photograph, settings
        if key not in self._outcomes:
            engine = self._engines.get(settings)
            if engine is None:
                engine = self._engines[settings] = self._engine()
            prepared = prepare_alone(engine, Study(image=self._read(photograph)))
            (self._outcomes[key],) = [prepared] if isinstance(prepared, FovealError) else run_alone(engine, [(prepared, Ask())])
        return self._outcomes[key]

    def _engine(self) -> Engine:
        pixels = self._settings.get("max_image_pixels")
        limits = None if pixels is None else ImageLimits(max_pixels=pixels)
        least = self._settings.get("min_gradable")
        return Engine(self._bundle, provider=self._provider, limits=limits, compiled=self._compiled, min_gradable=least)
