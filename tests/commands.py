"""The `foveal` command for tests, in this process: starting Python fifty times would take most of the time."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
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


_ON_A_SCREEN = (
    "import sys; sys.stdout.isatty = lambda: True; from foveal_runtime.cli.main import run; sys.exit(run(sys.argv[1:]))"
)


def on_a_screen(columns: int, *arguments: str) -> Done:
    """Run a command in a process of its own whose stdout is taken for a terminal of that many columns."""
    env = {**os.environ, "COLUMNS": str(columns), "PYTHONPATH": ":".join(sys.path)}
    words = [sys.executable, "-c", _ON_A_SCREEN, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, env=env)
    return Done(done.returncode, done.stdout, done.stderr)


def one_line(stderr: str) -> str:
    """`stderr` itself, which is one line about a mistake."""
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1, stderr
    assert "Traceback" not in stderr
    return stderr
