"""Tables that shift, swallow and hide: the line is named, its neighbours are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal_runtime.errors import DataError
from foveal_runtime.study.mapping import ColumnMap, read_map
from foveal_runtime.study.problem import Problem, grouped
from foveal_runtime.study.table import read_table

CASES = Path(__file__).parents[4] / "shared" / "cases"


def table(path: Path, text: str | bytes, mapping: ColumnMap | None = None):  # type: ignore[no-untyped-def]
    file = path / "t.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(file, mapping or ColumnMap())


@pytest.mark.parametrize(
    ("text", "read", "bad"),
    [
        ("file,age,grade\n1.jpg,61,3\n2.jpg,61,5,3\n3.jpg,50,1\n", [2, 4], {3: "more cells"}),
        ("file,age,grade\n1.jpg,61,3,\n3.jpg,50,1\n", [3], {2: "more cells"}),
        ("file,age,grade\n1.jpg,3\n3.jpg,50,1\n", [3], {2: "has 2 cells where 3"}),
        ('file,grade,note\n1.jpg,0,"clear\n2.jpg,2,x\n3.jpg,1,ok\n', [3, 4], {2: "never closed"}),
        ('file,grade,note\n1.jpg,0,"clear\n2.jpg,2,"x"\n3.jpg,1,ok\n', [3, 4], {2: "text after a closing quote"}),
        ('file,grade,note\n1.jpg,0,"clear\n2.jpg,2,x"\n3.jpg,1,ok\n', [4], {2: "closes in a later row", 3: "quote inside"}),
        ("file,grade,note\n1.jpg,0,clear\nmedia\n3.jpg,1,ok\n", [4], {2: "may be cut", 3: "cells"}),
        ("file,grade,note\n1.jpg,0,a\x00b\n2.jpg,1,ok\n", [3], {2: "no text"}),
        (b"file,grade,note\n1.jpg,0,m\xe9dia\n2.jpg,1,ok\n", [3], {2: "no text"}),
        ('file,note\n1.jpg,"two lines,\n of one note"\n2.jpg,ok\n', [2, 4], {}),
        ('file,note\n1.jpg, "a ""b"", c"\n', [2], {}),
        ("sep=;\nfile;age\n1.jpg;61,5\n", [3], {}),
        ("\ufefffile;age\r\n1.jpg;61,5\r\n", [2], {}),
        ("file\tage\r1.jpg\t61,5\r", [2], {}),
        ("file;age\n1.jpg;61,5\n".encode("utf-16"), [2], {}),
        (",file,grade\n0,1.jpg,2\n1,2.jpg,3\n", [2, 3], {}),
        ("file,grade,,\n1.jpg,2,,\n2.jpg,,2,\n", [2], {3: "more cells"}),
    ],
)
def test_a_row_is_read_or_its_line_is_named(text: str | bytes, read: list[int], bad: dict[int, str], tmp_path: Path) -> None:
    found = table(tmp_path, text)
    assert [line for line, _ in found.rows] == read
    assert {p.row: p.what for p in found.bad}.keys() == bad.keys()
    for problem in found.bad:
        assert bad[problem.row] in problem.what
        assert problem.id == ""


@pytest.mark.parametrize(
    ("name", "read", "bad"),
    [("table-shift", [2], [3, 4, 5]), ("table-quote", [3, 4, 5], [2]), ("table-words", [2, 3, 4, 5], [])],
)
def test_the_shared_cases_are_read_as_their_readme_says(name: str, read: list[int], bad: list[int]) -> None:
    if not CASES.is_dir():
        pytest.skip("shared/cases is not beside the checkout")
    found = read_table(CASES / name / "labels.csv")
    assert [line for line, _ in found.rows] == read
    assert [p.row for p in found.bad] == bad


def test_a_mapping_file_renames_columns_and_words_and_says_the_encoding(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(
        'encoding = "cp1252"\ndates = "day-first"\n[columns]\n"Grau final" = "icdr"\n"Qualidade" = ""\n'
        '[values.icdr]\n"R2" = 2\n"não graduável" = ""\n'
    )
    text = "Arquivo;GRAU_FINAL;Qualidade\n1.jpg;r2;5\n2.jpg;Não graduável;4\n".encode("cp1252")
    found = table(tmp_path, text, read_map(tmp_path / "map.toml"))
    assert [cells["icdr"] for _, cells in found.rows] == ["2", ""]
    assert found.columns == ("Arquivo", "icdr")
    assert found.left_out == ("Qualidade",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colums = 1", "'colums', which means nothing"),
        ("dates = 'first'", "dates is none of day-first"),
        ("encoding = 'utf-99'", "names none that is known"),
        ("[columns]\na = [1]", "holds something else"),
        ("[columns", "no TOML"),
        ("values = 1", "values is no table"),
    ],
)
def test_a_mapping_file_that_means_nothing_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_map(tmp_path / "map.toml")


def test_a_mapped_column_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'grau' that the mapping file names"):
        table(tmp_path, "file\n1.jpg\n", ColumnMap(columns={"grau": "icdr"}))


def test_equal_faults_are_one_line() -> None:
    codes = [
        Problem(row=i, id=f"{i}.jpg", what="eye has the unknown code 'X'", column="eye", code="'X'", accepted="right, left")
        for i in range(2, 17)
    ]
    (line,) = grouped([*codes])
    assert "(15 rows)" in line
    assert line.endswith("accepted: right, left")
    assert len(grouped([*codes, Problem(row=20, id="", what="has 3 cells")])) == 2
