"""Text fits the screen: long names lose their middle, lines wrap between words, and pipes get everything."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import on_a_screen

from foveal_runtime.cli.layout import fitted, printable, shortened, width, wrapped


def test_a_long_path_loses_its_middle_and_keeps_its_name() -> None:
    assert shortened("clinic/2026/visit-7/left.jpg", 18) == "clinic/2…/left.jpg"
    assert shortened("left.jpg", 18) == "left.jpg"


@pytest.mark.parametrize("columns", [6, 20, 33])
def test_no_shortened_name_is_too_long(columns: int) -> None:
    for name in ("a" * 60, "folder/" * 9 + "left.jpg", "folder/" + "b" * 60 + ".jpg"):
        assert len(shortened(name, columns)) == columns


def test_a_wrapped_line_keeps_its_words_and_its_indent() -> None:
    line = "answers     image, text, structured, and all of them together, each calibrated by itself"
    text = wrapped(line, 40, indent=12)
    assert max(map(len, text.splitlines())) <= 40
    assert text.split() == line.split()
    assert all(each.startswith(" " * 12) for each in text.splitlines()[1:])
    assert wrapped(line, 0, indent=12) == line


def test_a_hash_is_never_cut() -> None:
    assert "f" * 64 in wrapped(f"space and more words before it {'f' * 64}", 50, indent=2).splitlines()[-1]


def test_a_pipe_has_no_width(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert width() == 0


def test_control_characters_of_a_name_never_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\udcff.jpg") == "a\\x1b[2Jb\\nc\\udcff.jpg"
    assert printable("größe.jpg") == "größe.jpg"


def test_values_that_wrap_stand_below_their_values() -> None:
    text = fitted("ok       INT8            " + "word " * 20 + "\nmade with " + "torch 2.14.1, " * 9 + "\n", 80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith(" " * 25 + "word")
    assert lines[-1].startswith("  ")
    assert fitted("a  b " * 40, 0) == "a  b " * 40 + "\n"


@pytest.mark.parametrize("columns", [80, 120])
def test_inspect_and_doctor_fit_the_screen(bundle_path: Path, columns: int) -> None:
    for command in ("inspect", "doctor"):
        lines = on_a_screen(columns, command, str(bundle_path)).stdout.splitlines()
        assert len(lines) > 5
        assert max(map(len, lines)) <= columns
