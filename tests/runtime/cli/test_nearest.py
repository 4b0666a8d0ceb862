"""A mistyped command or option is answered with the nearest one that there is."""

from __future__ import annotations

import pytest
from commands import foveal, one_line


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("grad x.jpg", "no command 'grad'; did you mean 'grade'? `foveal --help` lists them"),
        ("store stat", "no command 'stat'; did you mean 'stats'? `foveal store --help` lists them"),
        ("data chek x", "no command 'chek'; did you mean 'check'? `foveal data --help` lists them"),
        ("grade x.jpg --jsn", "no option '--jsn'; did you mean '--json'? `foveal grade --help` lists them"),
        ("grade x.jpg --opertng-point=a", "no option '--opertng-point'; did you mean '--operating-point'?"),
        ("store stats x --jso", "did you mean '--json'? `foveal store stats --help` lists them"),
        ("train --recipee edge", "no option '--recipee'; did you mean '--recipe'? `foveal train --help` lists them"),
        ("--hlp", "no option '--hlp'; did you mean '--help'? `foveal --help` lists them"),
    ],
)
def test_the_nearest_word_is_named(typed: str, says: str) -> None:
    done = foveal(*typed.split())
    assert done.returncode == 2
    assert says in one_line(done.stderr)


@pytest.mark.parametrize("typed", ["frobnicate", "grade x.jpg --frobnicate"])
def test_what_is_near_to_nothing_gets_the_list_alone(typed: str) -> None:
    done = foveal(*typed.split())
    assert done.returncode == 2
    assert "did you mean" not in one_line(done.stderr)
    assert "--help` lists them" in done.stderr


def test_a_missing_argument_is_still_named() -> None:
    done = foveal("train")
    assert done.returncode == 2
    assert "--data" in one_line(done.stderr)


def test_the_commands_of_data_have_a_line_each() -> None:
    listed = foveal("data", "--help").stdout
    assert "Generate a BRSET-shaped data set" in listed
    assert "Read a data set as training would" in listed
