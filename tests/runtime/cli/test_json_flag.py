"""`--json` is one flag, the same at every command that prints a result."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from bundles import write_bundle
from commands import foveal, one_line
from cyclopts import App

from foveal_runtime.cli.local_server import FOVEAL
from foveal_runtime.cli.main import build_app, run
from foveal_runtime.client import Client

_PRINTS_A_SCRIPT = ("completion",)
"""Commands whose output is no result but a program for a shell."""


def _commands() -> list[str]:
    def below(app: App, name: str) -> list[str]:
        subs = [sub for sub in app if not sub.startswith("-")]
        return [each for sub in subs for each in below(app[sub], f"{name} {sub}".strip())] if subs else [name]

    return [name for name in below(build_app(), "") if name.partition(" ")[0] not in _PRINTS_A_SCRIPT]


def test_the_walk_finds_the_commands_of_every_room() -> None:
    assert {"grade", "store check", "data synth", "train", "export", "evaluate", "sweep", "serve"} <= set(_commands())


@pytest.mark.parametrize("command", _commands())
def test_json_is_a_flag_of_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = build_app()
    for name in command.split():
        app = app[name]
    (argument,) = [each for each in app.assemble_argument_collection(parse_docstring=True) if "--json" in each.names]
    assert argument.hint is bool, "it takes no value"
    assert argument.names == ("--json",), "it has no other name and no --no-json"
    assert argument.parameter.help, "its line of help says what is printed"
    assert run([*command.split(), "--help"]) == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["inspect", "/nowhere", "--no-json"], ["demo", "--json", "true"]])
def test_json_takes_no_value(wrong: list[str]) -> None:
    done = foveal(*wrong)
    assert done.returncode == 2
    assert wrong[-1] in one_line(done.stderr)


def test_verify_prints_its_report_and_writes_the_same_to_a_file(bundle_path: Path, tmp_path: Path) -> None:
    done = foveal("verify", str(bundle_path), "--json", "--report", str(tmp_path / "report.json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "report.json").read_text())
    assert json.loads(done.stdout)["passed"] is True
    drifted = foveal("verify", str(write_bundle(tmp_path / "drifted", golden_shift=3.0)), "--json")
    assert drifted.returncode == 1
    assert json.loads(drifted.stdout)["passed"] is False


def test_serve_says_in_json_where_it_listens(bundle_path: Path) -> None:
    command = [*FOVEAL, "serve", str(bundle_path), "--address", "127.0.0.1:0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = server.stdout.readline()
            assert line, "the server ended before it served"
            text += line
        document = json.loads(text)
        with Client(document["address"]) as client:
            assert document["bundle_sha256"] == client.model().model.bundle_sha256
        server.terminate()
        assert server.wait(30) == 0
