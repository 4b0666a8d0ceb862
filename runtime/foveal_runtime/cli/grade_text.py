"""Graded photographs as a person reads them: a line each for pipes and files, an aligned table for a screen. Grades nothing.

Whatever has no grade says so in words: no row can be taken for a healthy eye because something is missing from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foveal_runtime._proto import screening_pb2
from foveal_runtime.cli.layout import printable, shortened, wrapped
from foveal_runtime.study.labels import ICDR, SDRG

_LEAST_NAME, _GAP = 16, 2
_COLUMNS = (("ICDR", 15), ("p", 4), ("set", 3), ("SDRG", 4), ("referral", 14), ("p(refer)", 8))
_ICDR_WORDS = ("none", "mild", "moderate", "severe", "proliferative")


def grade_line(file: Path, grade: Any) -> str:
    """One line, with the file's whole name."""
    return f"{printable(file)}: {said(grade)}"


def said(grade: Any) -> str:
    """What is said of one study, in one line."""
    missing = no_grade(grade)
    parts = [_head_text(result) for result in grade.graded.heads] if missing is None else [missing]
    if grade.graded.icdr_set.grades:
        parts.append(f"may be {_span(grade.graded.icdr_set)} ({grade.graded.icdr_set.coverage:.0%} sets)")
    if grade.graded.referral:
        parts.append(_referral_text(grade.graded))
    return "; ".join([*parts, *_remarks(grade)])


def no_grade(grade: Any) -> str | None:
    """Why a study has no grade; None when it has one."""
    match grade.WhichOneof("verdict"):
        case "graded":
            return None if grade.graded.heads else "no grade: no head of this bundle answers for what the study holds"
        case "ungradable":
            return f"not gradable: {grade.ungradable.message}"
        case "abstained":
            return f"no grade, a person has to look: {grade.abstained.message or grade.abstained.reason}"
        case _:
            return "no grade: a verdict that this foveal does not know; a person has to look, and foveal to be upgraded"


def _remarks(grade: Any) -> list[str]:
    remarks = []
    if grade.novelty.unlike_training:
        remarks.append("unlike the photographs that this model was trained on: its grade has not been tested on such")
    if grade.unverified_heads:
        remarks.append(f"unverified: {', '.join(grade.unverified_heads)}")
    if grade.imputed_fields:
        remarks.append(f"imputed: {', '.join(grade.imputed_fields)}")
    return remarks


def _head_text(result: Any) -> str:
    """One head's grade as a person reads it."""
    if result.head == SDRG:
        return f"SDRG {result.likeliest}"
    place = _place(result)
    if result.head != ICDR:
        return f"{result.head.upper()} {result.likeliest} (p {result.classes[place].probability:.2f})"
    return f"{result.head.upper()} {place} ({result.likeliest}, p {result.classes[place].probability:.2f})"


def _place(result: Any) -> int:
    return [each.name for each in result.classes].index(result.likeliest)


def _referral_text(graded: Any) -> str:
    """The referral and what it rests on."""
    basis = graded.referral_basis
    reached = f"p {basis.probability:.3f}, threshold {basis.operating_point.threshold:.3f}"
    if graded.referral != screening_pb2.REFERRAL_REFER:
        return f"not referable ({reached})"
    return f"referable by its grade ({reached})" if basis.by_grade_alone else f"referable ({reached})"


def grade_table(rows: Sequence[tuple[Path, Any]], width: int) -> str:
    """A row a photograph in `width` columns; what holds for several of them stands once, below.

    Args:
        rows: files with their `Grade` messages.
        width: columns of the screen, 80 or more for the whole table to fit.
    """
    names = [printable(file) for file, _ in rows]
    room = max(_LEAST_NAME, width - sum(_GAP + columns for _, columns in _COLUMNS))
    room = min(room, max(len(name) for name in [*names, "photograph"]))
    lines = [_row("photograph", [title for title, _ in _COLUMNS], room)]
    below: dict[str, int] = {}
    for name, (_, grade) in zip(names, rows, strict=True):
        start = f"{shortened(name, room):<{room}}"
        missing = no_grade(grade)
        if missing is None:
            lines.append(_row(start, _cells(grade.graded), room))
        else:
            lines.append(wrapped(f"{start}{'':{_GAP}}{missing}", width, indent=room + _GAP))
        for remark in [*_others(grade.graded), *_points(grade.graded), *_remarks(grade)]:
            below[remark] = below.get(remark, 0) + 1
    for remark, count in below.items():
        lines.append(wrapped(f"{remark} ({count} of {len(rows)})", width, indent=2))
    return "\n".join(lines) + "\n"


def _row(name: str, cells: Sequence[str], room: int) -> str:
    gap = " " * _GAP
    return gap.join(
        [f"{name:<{room}}", *(f"{cell:<{columns}}" for cell, (_, columns) in zip(cells, _COLUMNS, strict=True))]
    ).rstrip()


def _cells(graded: Any) -> list[str]:
    heads = {result.head: result for result in graded.heads}
    icdr, sdrg = heads.get(ICDR), heads.get(SDRG)
    cells = ["no grade", "", "", "-" if sdrg is None else sdrg.likeliest.partition(":")[0], "no decision", ""]
    if icdr is not None:
        place = _place(icdr)
        cells[:3] = [f"{place} {_ICDR_WORDS[place]}", f"{icdr.classes[place].probability:.2f}", _span(graded.icdr_set)]
    if graded.referral:
        by_grade = graded.referral_basis.by_grade_alone
        refer = graded.referral == screening_pb2.REFERRAL_REFER
        cells[4:] = [
            "refer by grade" if by_grade else "refer" if refer else "not referable",
            f"{graded.referral_basis.probability:.3f}",
        ]
    return cells


def _span(grades: Any) -> str:
    """A set of neighbouring grades, as 1-3; empty without one."""
    known = [number - screening_pb2.ICDR_GRADE_NO_RETINOPATHY for number in grades.grades]
    return "" if not known else str(known[0]) if len(known) == 1 else f"{known[0]}-{known[-1]}"


def _others(graded: Any) -> list[str]:
    """Heads that have no column."""
    return [_head_text(result) for result in graded.heads if result.head not in (ICDR, SDRG)]


def _points(graded: Any) -> list[str]:
    if not graded.referral:
        return []
    point = graded.referral_basis.operating_point
    return [f"operating point: {point.name}, threshold {point.threshold:.3f}"]
