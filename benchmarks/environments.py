"""An environment of its own for each requirements.txt of a peer: made when it is missing or its requirements have changed.

An environment is made whole or not at all: its requirements are noted in it last. foveal itself is not installed there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_NOTE = "foveal-requirements.txt"


def interpreter(requirements: Path, root: Path) -> Path:
    """Of the environment below `root` for a file of pins, `NAME/requirements.txt`; this one where there is no such file."""
    return root / requirements.parent.name / "bin" / "python" if requirements.exists() else Path(sys.executable)


def is_made(requirements: Path, root: Path) -> bool:
    """Whether the environment is there, as the file wants it."""
    note = root / requirements.parent.name / _NOTE
    return note.is_file() and note.read_bytes() == requirements.read_bytes()


def python_of(
    requirements: Path,
    root: Path,
    *,
    over: bool = False,
    options: Sequence[str] = (),
    then: Callable[[Path], None] | None = None,
) -> Path:
    """The interpreter of an environment that holds what a file lists, made if need be.

    Args:
        requirements: pins, `NAME/requirements.txt`; without that file the interpreter is this one.
        root: folder of the environments; this one's is called NAME.
        over: it sees this environment's packages too, and holds only what they lack.
        options: of pip.
        then: what is left to do in the environment's folder once all is installed.

    Raises:
        subprocess.CalledProcessError: pip could not install it; its own words stand on stderr.
    """
    python = interpreter(requirements, root)
    if not requirements.exists() or is_made(requirements, root):
        return python
    folder = root / requirements.parent.name
    print(f"installing {requirements} into {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    if over:
        subprocess.run([sys.executable, str(ROOT / "scripts" / "over_venv.py"), sys.prefix, str(folder)], check=True)
    pip = (str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *options)
    subprocess.run([*pip, "-r", str(requirements)], check=True, stdout=sys.stderr)
    if then is not None:
        then(folder)
    shutil.copyfile(requirements, folder / _NOTE)
    return python
