"""`foveal grade`: photographs and folders to a running server; lines, a table, CSV or JSON. Grades nothing itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.cli.asking import Answered, answered
from foveal_runtime.cli.client import Connection, Patient
from foveal_runtime.cli.csv_rows import GRADE_COLUMNS, Csv, grade_row, one_format, print_csv
from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.failures import report_failures
from foveal_runtime.cli.files import named_files, read_file, report_skipped
from foveal_runtime.cli.layout import width
from foveal_runtime.cli.progress import Progress
from foveal_runtime.cli.waiting import Patience
from foveal_runtime.errors import ConfigError, FovealError

if TYPE_CHECKING:
    from foveal_runtime.study.photographs import Skipped
    from foveal_runtime.study.study import Study

_WORTH_A_BAR = 9
"""Files from which on a bar says how far it is."""


def grade(
    files: list[Path],
    /,
    *,
    patient: Patient | None = None,
    operating_point: str = "",
    evidence_map: bool = False,
    connection: Connection | None = None,
    csv: Csv = False,
    json: Json = False,
) -> int:
    """Grade photographs with a running server.

    A folder stands for every photograph in it and below it, by their path; links to folders are not followed.
    What is left out (HEIC, hidden files, a server's thumbnails) is listed at the end on stderr.

    Prints a table on a screen and a line per photograph elsewhere; with --csv a row per photograph; with --json a list with an
    object per photograph: file, status ("OK", or a gRPC code with message), verdict, quality, icdr, sdrg, referable, what was
    imputed or cut, timings. A photograph that can't be graded has status OK, verdict "ungradable", and null grades.

    A file that fails is named on stderr and does not stop the others. Exit code 2 when any file failed, 1 when the server went
    away before all were answered. A server that is still loading is waited for, up to --timeout.

    For example:

        foveal grade left.jpg right.jpg
        foveal grade ./photographs --csv > grades.csv
        foveal grade left.jpg --age 61 --sex female --eye left --diabetes-years 12 --insulin --json

    Args:
        files: photographs (JPEG, PNG, TIFF, WebP or DICOM), folders of them, or study files (.json: image, note and record;
            docs/command-line.md).
        patient: what is known of the patient, where a study file does not say it.
        operating_point: which of the bundle's operating points decides on referrals; default: the server's.
        evidence_map: with --json: also where in each photograph the evidence for referral lies; some fifty times the work.
        connection: how to reach the server.
        csv: print CSV. A cell that a spreadsheet would run as a formula gets an apostrophe in front.
        json: print one JSON document.
    """
    one_format(csv=csv, json=json)
    if evidence_map and not json:
        raise ConfigError("--evidence-map is a grid of numbers; add --json to have it printed")
    skipped: list[Skipped] = []
    found, known, link = named_files(files, skipped), patient or Patient(), connection or Connection()
    rows: list[Answered] = []
    with _answers(found, known, operating_point, link, evidence_map=evidence_map) as answers:
        if csv:
            _print_rows(_kept(answers, rows))
        elif json or width():
            rows += answers
        else:
            _print_lines(_kept(answers, rows))
    if json:
        from foveal_runtime.cli.output import grade_document

        print_json([grade_document(row.file, row.answer, row.model) for row in rows])
    elif not csv and width():
        _print_table(rows)
    report_skipped(skipped)
    return report_failures((row.file, row.answer) for row in rows)


@contextmanager
def _answers(
    files: list[Path], known: Patient, operating_point: str, link: Connection, *, evidence_map: bool
) -> Iterator[Iterator[Answered]]:
    """Answers as they come, in the files' order, with a bar for many."""
    record = known.record()
    patience = Patience(link.timeout)

    def read(place: int, file: Path) -> Study:
        return read_file(file, study_id=str(place), note=known.note, record=record)

    with link.open() as client, Progress(len(files), "grading", at_least=_WORTH_A_BAR) as advance:

        def ask(studies: list[Study]) -> Any:
            return patience(lambda: client.grade(studies, operating_point, evidence_map=evidence_map))

        def counted() -> Iterator[Answered]:
            for each in answered(files, read, ask):
                advance(1)
                yield each

        yield counted()


def _kept(answers: Iterator[Answered], rows: list[Answered]) -> Iterator[Answered]:
    for each in answers:
        rows.append(each)
        yield each


def _print_rows(answers: Iterator[Answered]) -> None:
    """CSV; no header when nothing was answered."""
    from foveal_runtime.cli.output import grade_document

    first = next(answers, None)
    if first is not None:

        def documents() -> Iterator[dict[str, object]]:
            yield grade_row(grade_document(first.file, first.answer, first.model))
            for each in answers:
                yield grade_row(grade_document(each.file, each.answer, each.model))

        print_csv(GRADE_COLUMNS, documents())


def _print_lines(answers: Iterator[Answered]) -> None:
    from foveal_runtime.cli.grade_text import grade_line

    for each in answers:
        if not isinstance(each.answer, FovealError):
            sys.stdout.write(grade_line(each.file, each.answer.grade) + "\n")
            sys.stdout.flush()


def _print_table(rows: list[Answered]) -> None:
    from foveal_runtime.cli.grade_text import grade_table

    fine = [(row.file, row.answer.grade) for row in rows if not isinstance(row.answer, FovealError)]
    if fine:
        sys.stdout.write(grade_table(fine, width()))
