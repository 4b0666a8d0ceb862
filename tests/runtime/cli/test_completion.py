"""`foveal completion` prints a script that a shell runs, also where only the runtime is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import photograph
from commands import foveal


def completed(words: list[str], folder: Path) -> set[str]:
    """What bash offers for the last of the words."""
    script = (
        'source "$1"; shift; cd "$1"; shift\n'
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n'
        '"$(complete -p foveal | sed "s/.*-F \\([^ ]*\\).*/\\1/")"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    file = folder / "completion.bash"
    file.write_text(foveal("completion", "bash").stdout)
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(file), str(folder), *words], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["foveal", "gr"], {"grade"}),
        pytest.param(["foveal", "store", "st"], {"stats"}, marks=pytest.mark.slow),
        (["foveal", "data", "sy"], {"synth"}),
        (["foveal", "grade", "--js"], {"--json"}),
        pytest.param(["foveal", "grade", "ey"], {"eye.jpg"}, marks=pytest.mark.slow),
        (["foveal", "grade", "--insulin", "ey"], {"eye.jpg"}),
        pytest.param(["foveal", "exam", "eye.jpg", "ey"], {"eye.jpg"}, marks=pytest.mark.slow),
        (["foveal", "embed", "--kind", "im"], {"image"}),
        pytest.param(["foveal", "completion", "z"], {"zsh"}, marks=pytest.mark.slow),
    ],
)
def test_bash_completes(words: list[str], offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "eye.jpg").write_bytes(photograph())
    assert completed(words, tmp_path) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_that_it_can_read(shell: str, tmp_path: Path) -> None:
    done = foveal("completion", shell)
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("grade", "exam", "stats", "synth", "--operating-point"))
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: that it can read the script is not tested")
    (tmp_path / "script").write_text(done.stdout)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True, timeout=60)


def test_rooms_that_are_not_installed_are_left_out() -> None:
    """The runtime's own wheel, without training and export."""
    code = (
        "import sys\n"
        "for room in ('foveal_train', 'foveal_export', 'psycopg'):\n    sys.modules[room] = None\n"
        "from foveal_runtime.cli.main import run\n"
        "sys.exit(run(['completion', 'bash']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    (commands,) = [line for line in done.stdout.splitlines() if "local all_commands=" in line]
    offered = set(commands.partition("=")[2].strip("'").split())
    assert {"grade", "exam", "serve", "store"} <= offered
    assert not {"train", "sweep", "data", "synth"} & offered  # `export` is also one of `foveal audit`


def test_another_shell_is_refused_with_the_ones_there_are() -> None:
    done = foveal("completion", "tcsh")
    assert done.returncode == 2
    assert "bash" in done.stderr
