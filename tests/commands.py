"""The `foveal` command for tests, in this process: starting Python fifty times would take most of the time."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

from foveal_runtime.cli.main import run


@dataclass(frozen=True)
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


def foveal(*arguments: str) -> Done:
    """Run a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(arguments))
    return Done(code, out.getvalue(), err.getvalue())


def one_line(stderr: str) -> str:
    """`stderr` itself, which is one line about a mistake."""
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1, stderr
    assert "Traceback" not in stderr
    return stderr
