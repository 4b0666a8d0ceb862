"""A study: what is known of one eye at one visit, any non-empty subset of image, note and record. No I/O, no decoding."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from itertools import combinations
from typing import Any

from foveal_runtime.errors import StudyError

MAX_AGE_YEARS = 125.0
MAX_NOTE_CHARS = 100_000
MAX_ID_CHARS = 256


class Modality(StrEnum):
    """One of the three inputs; the order of declaration is the order of the CLS tokens in the fusion graph."""

    IMAGE = "image"
    TEXT = "text"
    STRUCTURED = "structured"


Subset = frozenset[Modality]
"""A non-empty set of modalities."""

ALL_SUBSETS: tuple[Subset, ...] = tuple(frozenset(c) for n in (1, 2, 3) for c in combinations(Modality, n))


def subset_name(subset: Iterable[Modality]) -> str:
    """Canonical name of a subset: `image+text`, modalities in declaration order."""
    return _name_of(frozenset(subset))


@cache
def _name_of(subset: frozenset[Modality]) -> str:
    return "+".join(m.value for m in Modality if m in subset)


def subset_of(name: str) -> Subset:
    """Inverse of `subset_name`.

    Raises:
        ValueError: for a name that is not a modality.
    """
    return frozenset(Modality(part) for part in name.split("+"))


def photograph_subsets(names: Iterable[str]) -> list[Subset]:
    """Those of the named subsets that have a photograph, largest first."""
    return sorted((subset for subset in map(subset_of, names) if Modality.IMAGE in subset), key=len, reverse=True)


class Sex(StrEnum):
    """Sex as recorded by the clinic."""

    MALE = "male"
    FEMALE = "female"


class Eye(StrEnum):
    """Laterality: OD is the right eye, OS the left."""

    RIGHT = "right"
    LEFT = "left"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The patient record's six features (paper, section III-A). `None` is missing and gets imputed."""

    age_years: float | None = None
    sex: Sex | None = None
    eye: Eye | None = None
    diabetes_years: float | None = None
    """Years since diagnosis of diabetes."""
    insulin: bool | None = None
    diabetes: bool | None = None

    def __post_init__(self) -> None:
        for name in ("age_years", "diabetes_years"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 <= value <= MAX_AGE_YEARS):
                raise StudyError(
                    f"record.{name} is outside 0 to {MAX_AGE_YEARS:g} years; send years, or leave it out when unknown",
                    field=f"record.{name}",
                )

    @property
    def is_blank(self) -> bool:
        """True when every feature is missing: the modality then counts as absent."""
        return all(getattr(self, name) is None for name in self.__slots__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What is known of one eye at one visit.

    An empty or blank note and an all-missing record are *absent*: they do not count as modalities (DESIGN, section 4).
    """

    id: str = ""
    """The caller's own identifier; opaque, echoed back, never logged."""
    image: bytes | None = field(default=None, repr=False)
    """A compressed photograph (JPEG, PNG, TIFF, WebP), as it came from the camera."""
    note: str | None = field(default=None, repr=False)
    record: Record | None = field(default=None, repr=False)

    @property
    def modalities(self) -> Subset:
        """The modalities that are present."""
        present = set()
        if self.image:
            present.add(Modality.IMAGE)
        if self.note is not None and self.note.strip():
            present.add(Modality.TEXT)
        if self.record is not None and not self.record.is_blank:
            present.add(Modality.STRUCTURED)
        return frozenset(present)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """As usual, with the photograph wrapped, so that who pickles may take it out: `bytes` are copied into a pickle."""
        image = self.image if self.image is None or protocol < 5 else pickle.PickleBuffer(self.image)
        return _study, (self.id, image, self.note, self.record)

    def validate(self) -> None:
        """Check what can be checked without decoding.

        Raises:
            StudyError: no modality is present, or the note or id is over its limit.
        """
        if len(self.id) > MAX_ID_CHARS:
            raise StudyError(f"id has {len(self.id)} characters, at most {MAX_ID_CHARS} are allowed", field="id")
        if self.note is not None and len(self.note) > MAX_NOTE_CHARS:
            raise StudyError(
                f"note has {len(self.note)} characters, at most {MAX_NOTE_CHARS} are allowed; send the eye findings alone",
                field="note",
            )
        if not self.modalities:
            raise StudyError(
                "study has no modality: give an image, a non-blank note, or a record with a known field", field="study"
            )

    def only(self, subset: Iterable[Modality]) -> Study:
        """A copy that keeps the modalities of `subset` alone."""
        keep = set(subset)
        return Study(
            id=self.id,
            image=self.image if Modality.IMAGE in keep else None,
            note=self.note if Modality.TEXT in keep else None,
            record=self.record if Modality.STRUCTURED in keep else None,
        )

    def within(self, subsets: Iterable[Subset]) -> Study:
        """A copy that keeps the first of these subsets that it has whole; all of it where it has none."""
        return self.only(next((subset for subset in subsets if subset <= self.modalities), self.modalities))


def _study(id: str, image: bytes | None, note: str | None, record: Record | None) -> Study:
    return Study(id=id, image=image, note=note, record=record)
