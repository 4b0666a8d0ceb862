"""Graded studies in words: what has no grade says so, grade 0 is written 0, and a table holds to 80 columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal_runtime._proto import screening_pb2
from foveal_runtime.cli.csv_rows import grade_row
from foveal_runtime.cli.grade_text import grade_line, grade_table
from foveal_runtime.cli.output import grade_document
from foveal_runtime.study.labels import CLASSES, ICDR, SDRG

FILE = Path("clinic/2026-11-26/patient-with-a-long-name/left-macula.jpg")


def graded(
    icdr: int | None = None, *, sdrg: int | None = None, refer: bool = False, by_grade: bool = False
) -> screening_pb2.Grade:
    """A graded study, as a server sends it."""
    grade = screening_pb2.Grade(quality=screening_pb2.ImageQuality(status="QUALITY_STATUS_GRADABLE"))
    grade.graded.SetInParent()
    for head, place in ((ICDR, icdr), (SDRG, sdrg)):
        if place is not None:
            names = CLASSES[head]
            classes = [
                screening_pb2.ClassProbability(name=name, probability=0.6 if i == place else 0.1)
                for i, name in enumerate(names)
            ]
            grade.graded.heads.add(head=head, classes=classes, likeliest=names[place])
    if icdr is not None:
        grade.graded.referral = screening_pb2.REFERRAL_REFER if refer else screening_pb2.REFERRAL_NOT_REFERABLE
        basis = grade.graded.referral_basis
        basis.probability, basis.by_grade_alone = 0.125, by_grade
        basis.operating_point.name, basis.operating_point.threshold = "screening", 0.5
    return grade


def ungradable() -> screening_pb2.Grade:
    """A study whose photograph can't be graded."""
    message = "the photograph is out of focus; take it again"
    return screening_pb2.Grade(
        quality=screening_pb2.ImageQuality(status="QUALITY_STATUS_OUT_OF_FOCUS", message=message),
        ungradable=screening_pb2.Ungradable(reason="QUALITY_STATUS_OUT_OF_FOCUS", message=message),
    )


def abstained() -> screening_pb2.Grade:
    """A study of which the model says nothing."""
    return screening_pb2.Grade(abstained=screening_pb2.Abstained(reason="OUT_OF_DISTRIBUTION", message="unlike its training"))


def test_grade_0_is_0_in_lines_tables_json_and_csv() -> None:
    grade = graded(0, sdrg=0)
    document = grade_document(FILE, screening_pb2.GradeResult(grade=grade), None)
    assert "ICDR 0 (no apparent retinopathy, p 0.60); SDRG R0" in grade_line(FILE, grade)
    assert "0 none           0.60       R0    not referable   0.125" in grade_table([(FILE, grade)], 80)
    assert (document["icdr"]["grade"], document["sdrg"]["grade"]) == (0, 0)
    row = grade_row(document)
    assert (row["icdr"], row["sdrg"], row["referral"]) == (0, 0, "not_referable")


def test_a_further_head_stands_apart_whatever_it_is_called() -> None:
    grade = graded(1)
    classes = [screening_pb2.ClassProbability(name=name, probability=p) for name, p in (("poor", 0.25), ("good", 0.75))]
    grade.graded.heads.append(screening_pb2.HeadResult(head="quality", classes=classes, likeliest="good"))
    document = grade_document(FILE, screening_pb2.GradeResult(grade=grade), None)
    assert document["quality"]["status"] == "GRADABLE"
    assert document["heads"] == {"quality": {"likeliest": "good", "probabilities": {"poor": 0.25, "good": 0.75}}}
    assert grade_row(document)["heads"] == "quality: good 0.750"
    assert "QUALITY good (p 0.75)" in grade_line(FILE, grade)
    assert "QUALITY good (p 0.75)" in grade_table([(FILE, grade)], 80)


@pytest.mark.parametrize("grade", [ungradable(), abstained(), screening_pb2.Grade(), graded()])
def test_a_study_without_a_grade_says_so_and_reads_nowhere_as_healthy(grade: screening_pb2.Grade) -> None:
    document = grade_document(FILE, screening_pb2.GradeResult(grade=grade), None)
    for text in (grade_line(FILE, grade), grade_table([(FILE, grade)], 80)):
        assert "no grade" in text or "not gradable" in text
        assert "not referable" not in text
        assert "0 none" not in text
    assert document["icdr"] is None
    assert document["referable"] is None
    row = grade_row(document)
    assert row["verdict"] in ("ungradable", "abstained", "unknown", "graded")
    assert "icdr" not in row
    assert "referral" not in row


def test_an_abstention_is_a_verdict_of_its_own() -> None:
    document = grade_document(FILE, screening_pb2.GradeResult(grade=abstained()), None)
    assert document["verdict"] == "abstained"
    assert document["abstained"] == {"reason": "OUT_OF_DISTRIBUTION", "message": "unlike its training"}
    assert "a person has to look: unlike its training" in grade_line(FILE, abstained())


@pytest.mark.parametrize("columns", [80, 100])
def test_a_table_keeps_its_columns_under_each_other_and_its_width(columns: int) -> None:
    others = [(Path("a.jpg"), graded(4, sdrg=4, refer=True)), (Path("b.jpg"), graded(2, refer=True, by_grade=True))]
    rows = [(FILE, graded(0)), *others, (FILE, ungradable())]
    rows[0][1].imputed_fields.extend(["age_years", "sex", "diabetes_years", "insulin", "diabetes"])
    lines = grade_table(rows, columns).splitlines()
    assert max(map(len, lines)) <= columns
    start = lines[0].index("ICDR")
    assert [line[start : start + 1] for line in lines[1:4]] == ["0", "4", "2"]
    assert "…/left-macula.jpg" in lines[1] or columns > 80
    assert lines[2].split()[-2:] == ["refer", "0.125"]
    assert "refer by grade" in lines[3]
    assert "operating point: screening, threshold 0.500 (3 of 4)" in lines[-2]


def test_a_head_that_has_no_column_stands_below_the_table() -> None:
    grade = graded(1)
    grade.graded.heads.add(
        head="edema", classes=[screening_pb2.ClassProbability(name="present", probability=0.9)], likeliest="present"
    )
    assert "EDEMA present (p 0.90) (1 of 1)" in grade_table([(FILE, grade)], 80)
