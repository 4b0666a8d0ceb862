"""CSV opens in a spreadsheet: a row a file, nothing that runs, 0 where there is a 0."""

from __future__ import annotations

import csv
import io

import pytest
from commands import foveal, one_line

from foveal_runtime.cli.csv_rows import GRADE_COLUMNS, HIT_COLUMNS, grade_row, hit_row, print_csv


def rows_of(text: str) -> list[dict[str, str]]:
    """CSV text as a reader sees it."""
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("name", ["=1+2.jpg", "+1.jpg", "-1.jpg", "@SUM(A1).jpg", "\t=1.jpg", "\r=1.jpg"])
def test_a_name_that_is_a_formula_is_text_in_a_spreadsheet(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = {"file": name, "status": "INVALID_ARGUMENT", "message": name, "verdict": None, "quality": None, "heads": {}}
    print_csv(GRADE_COLUMNS, [grade_row(document | dict.fromkeys(("icdr", "sdrg", "referable")))])
    (row,) = rows_of(capsys.readouterr().out)
    assert row["file"] == row["message"] == "'" + name.replace("\r", "\\r")
    assert row["verdict"] == "failed"


def test_a_comma_a_quote_a_line_end_and_bytes_that_are_no_text_stay_in_their_cell(capsys: pytest.CaptureFixture[str]) -> None:
    hit = {"id": "a", "score": 0.5, "source": 'x,"y"\nz\udcff.jpg', "patient": "", "attributes": {"k": "=1"}}
    print_csv(HIT_COLUMNS, [hit_row(hit | {"icdr": 0, "referable": False}, 1)])
    (row,) = rows_of(capsys.readouterr().out)
    assert row["source"] == 'x,"y"\nz\\udcff.jpg'
    assert (row["place"], row["icdr"], row["referable"], row["eye"]) == ("1", "0", "false", "")
    assert row["attributes"] == '{"k": "=1"}'


@pytest.mark.parametrize("command", [("grade", "a.jpg"), ("search", "drusen")])
def test_csv_and_json_together_are_refused(command: tuple[str, ...]) -> None:
    done = foveal(*command, "--csv", "--json", "--address", "127.0.0.1:1")
    assert done.returncode == 2
    assert "--csv and --json" in one_line(done.stderr)
