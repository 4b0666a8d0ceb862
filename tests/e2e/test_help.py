"""Every command's `--help`: an example that names it, and its own words."""

from __future__ import annotations

import pytest

from foveal_runtime.cli.main import build_app, run


def _commands() -> list[str]:
    app = build_app()
    names = []
    for name in app:
        if name.startswith("-"):
            continue
        below = [f"{name} {sub}" for sub in app[name] if not sub.startswith("-")]
        names += below or [name]
    return names


@pytest.mark.parametrize("command", _commands())
def test_help_shows_an_example_of_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert "For example:" in said
    assert f"foveal {command} " in said.partition("For example:")[2]


def test_a_flag_that_is_off_shows_no_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    said = capsys.readouterr().out
    assert "[default: False]" not in said
    assert "--no-resume" not in said
    assert "edge by default" in said
