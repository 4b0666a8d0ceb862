"""What every data set becomes: samples with labels, and the rows that could not be one. Reads nothing but an image's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType

from foveal_runtime.errors import DataError
from foveal_runtime.study.labels import CLASSES, EDEMA, EDEMA_RISK, GRADES, ICDR, SDRG, Head
from foveal_runtime.study.problem import Problem as Problem
from foveal_runtime.study.problem import grouped
from foveal_runtime.study.study import Record, Study
from foveal_runtime.study.synonyms import fold

EDEMA_RISKS = len(CLASSES[EDEMA_RISK])


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What is to be learnt. `None` is missing: losses and metrics skip it."""

    icdr: int | None = None
    """International Clinical Diabetic Retinopathy grade, 0 to 4."""
    sdrg: int | None = None
    """Scottish Diabetic Retinopathy Grading level, 0 to 4."""
    macular_edema: int | None = None
    """Risk (IDRiD, 0 to 2) or flag (BRSET, mBRSET, 0 or 1): scales differ between data sets, so for reports only."""
    others: tuple[tuple[Head, int | str], ...] = ()
    """Of further heads, each the place of its class or the class in the table's word; `edema` and `edema_risk` among them."""

    def __post_init__(self) -> None:
        for name in ("icdr", "sdrg"):
            grade = getattr(self, name)
            if grade is not None and not 0 <= grade < GRADES:
                raise DataError(f"{name} grade is {grade}, grades are 0 to {GRADES - 1}; correct the label or leave it empty")

    def of(self, head: Head) -> int | str | None:
        """The label of a head as the data set has it; None where it is not known."""
        if head == ICDR:
            return self.icdr
        return self.sdrg if head == SDRG else dict(self.others).get(head)

    def place(self, head: Head, classes: Sequence[str]) -> int | None:
        """Which of a head's classes the label is; None where it is not known.

        Raises:
            DataError: it is none of them.
        """
        label = self.of(head)
        if label is None:
            return None
        words = [fold(each) for each in classes]
        if isinstance(label, str):
            if fold(label) in words:
                return words.index(fold(label))
            label = int(label) if label.isascii() and label.isdigit() else -1
        if not 0 <= label < len(classes):
            raise DataError(
                f"label of head {head} is none of its classes ({', '.join(classes)}); correct it, or leave it empty"
            )
        return label


def edema_labels(value: int | None, *, is_risk: bool) -> tuple[tuple[Head, int | str], ...]:
    """`Labels.others` of macular edema: of a flag, or of IDRiD's risk, whose highest is taken for edema.

    Args:
        value: None where it is not known.
        is_risk: 0 to 2, by how far hard exudates lie from the macula's centre (Porwal et al. 2018); else 0 or 1.
    """
    if value is None:
        return ()
    return ((EDEMA, int(value == EDEMA_RISKS - 1)), (EDEMA_RISK, value)) if is_risk else ((EDEMA, value),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One photograph (or none) with what is known of it."""

    id: str
    """The data set's own name of the image."""
    patient_id: str
    """`kind:patient`, so that patients of two data sets never meet; the image's own where a data set has no patients."""
    image_path: Path | None
    note: str = ""
    """Note with every sentence; "" is absent."""
    note_without_dr: str = ""
    """The note without the sentences that name diabetic retinopathy and so leak the label."""
    record: Record | None = None
    labels: Labels = Labels()
    camera: str = ""
    findings: tuple[str, ...] = ()
    """Positive flags by canonical name (`foveal_train.data.notes.Finding`)."""
    keywords: tuple[str, ...] = ()
    row: int = 0
    """Line of the table, the header being line 1; 0 where there is no table."""

    def study(self, *, note: str | EllipsisType | None = ...) -> Study:
        """The study of this sample, image bytes read from disk; whether they decode is the worker's business.

        Args:
            note: replaces the sample's own note; None or "" leaves the note out.

        Raises:
            DataError: the image file can't be read.
        """
        text = self.note if isinstance(note, EllipsisType) else note
        return Study(id=self.id, image=self.image_bytes(), note=text or None, record=self.record)

    def image_bytes(self) -> bytes | None:
        """The compressed photograph, None for a sample that has none.

        Raises:
            DataError: the file can't be read.
        """
        if self.image_path is None:
            return None
        try:
            return self.image_path.read_bytes()
        except OSError as error:
            raise DataError(
                f"image {self.image_path} can't be read ({error.strerror}); restore it, or remove its row"
            ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Samples in the order of the table, and what was skipped."""

    name: str
    """Kind and release, for example `brset 1.0.1`."""
    spec: str
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    """Rows that were skipped; empty unless skipping was asked for."""
    remarks: tuple[str, ...] = ()
    """Known quirks that were read as the documentation says, counted; no row is lost by them."""
    faults: tuple[str, ...] = ()
    """What is wrong with a table as a whole, for example a column of grades that is not read."""


_LISTED = 20


def problems_text(problems: Sequence[Problem]) -> str:
    """A sentence on what was skipped, the first ones listed."""
    rows = "row or photograph was" if len(problems) == 1 else "rows or photographs were"
    return f"{len(problems)} {rows} skipped: {_listed(problems)}."


def refuse(spec: str, problems: list[Problem]) -> DataError:
    """One error that lists the rows at fault, equal faults in one line."""
    rows = "row is" if len(problems) == 1 else "rows are"
    mend = "Correct them, or skip them (--skip-bad)"
    if any(problem.accepted for problem in problems):
        # Skipping could drop every left eye.
        mend = "Say in a mapping file what the unknown codes mean (--columns map.toml, docs/datasets.md), correct the rest"
    return DataError(f"{spec}: {len(problems)} {rows} unusable: {_listed(problems)}. {mend}")


def _listed(problems: Sequence[Problem]) -> str:
    lines = grouped(problems)
    return "; ".join(lines[:_LISTED]) + (f"; and {len(lines) - _LISTED} more" if len(lines) > _LISTED else "")
