"""What a search prints: lines that the screen holds, whole names in a pipe, and CSV."""

from __future__ import annotations

import csv
import io
from itertools import count

import pytest

from foveal_runtime._proto import archive_pb2
from foveal_runtime.cli.csv_rows import HIT_COLUMNS, hit_row, print_csv
from foveal_runtime.cli.output import hit_document, hit_text

LONG = "/data/clinic/2026/11/26/patients/visit-7/left-macula.jpg"


def response(*facts: archive_pb2.Facts) -> archive_pb2.SearchResponse:
    """A server's answer."""
    return archive_pb2.SearchResponse(hits=[{"score": 0.5, "entry": {"facts": each}} for each in facts])


def test_grade_0_of_a_stored_photograph_is_printed_and_no_grade_is_not() -> None:
    text = hit_text(response(archive_pb2.Facts(id="a", icdr="ICDR_GRADE_NO_RETINOPATHY"), archive_pb2.Facts(id="b")), 80)
    assert text == "   1  0.5000  a  ICDR 0\n   2  0.5000  b\n"


@pytest.mark.parametrize("columns", [60, 80])
def test_long_names_lose_their_middle_on_a_screen_alone(columns: int) -> None:
    found = response(archive_pb2.Facts(id="a", source=LONG * 2, icdr="ICDR_GRADE_PROLIFERATIVE"))
    (line,) = hit_text(found, columns).splitlines()
    assert len(line) == columns
    assert line.endswith("/left-macula.jpg  ICDR 4")
    assert LONG * 2 in hit_text(found, 0)


def test_hits_are_rows(capsys: pytest.CaptureFixture[str]) -> None:
    facts = archive_pb2.Facts(
        id="a",
        icdr="ICDR_GRADE_NO_RETINOPATHY",
        referral="REFERRAL_NOT_REFERABLE",
        eye="EYE_LEFT",
        source="=x.jpg",
        attributes={"device": "k"},
    )
    hits = response(facts, archive_pb2.Facts(id="b")).hits
    print_csv(HIT_COLUMNS, map(hit_row, map(hit_document, hits), count(1)))
    first, second = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (first["place"], first["icdr"], first["referable"], first["eye"]) == ("1", "0", "false", "left")
    assert (first["source"], first["attributes"]) == ("'=x.jpg", '{"device": "k"}')
    assert (second["place"], second["icdr"], second["referable"], second["eye"]) == ("2", "", "", "")


def test_nothing_found_is_said() -> None:
    assert hit_text(response(), 80) == "nothing stored fits\n"
