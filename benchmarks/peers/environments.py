"""Make the environments that peers run in: one each, since what they pin does not go together.

    python -m benchmarks peers                  all, below runs/benchmarks/peers
    python -m benchmarks peers ray triton --environments DIR

An environment is made whole or not at all, and anew once its pins have changed (benchmarks/environments.py). foveal is not
installed there: its runtime is read from this checkout.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import environments
from peers.settings import HERE


def python_of(folder: Path, name: str) -> Path:
    """The interpreter of a peer's environment."""
    return environments.interpreter(_pins(name), folder)


def is_made(folder: Path, name: str) -> bool:
    """Whether the environment is there, as the repository wants it."""
    return environments.is_made(_pins(name), folder)


def make(folder: Path, name: str) -> float:
    """Make one, where it is not there; its size in MB.

    Args:
        folder: of all environments.
        name: of the peer.

    Raises:
        subprocess.CalledProcessError: something can't be installed here.
    """
    # Everything is pinned. PyTriton's own requirements are those of its client, which nobody uses here.
    then = _unpack_triton if name == "triton" else None
    environments.python_of(_pins(name), folder, options=("--no-deps",), then=then)
    return megabytes(folder / name)


def _pins(name: str) -> Path:
    return HERE / name / "requirements.txt"


def triton_home(place: Path) -> Path:
    """Where PyTriton's package keeps Triton itself."""
    (site,) = (place / "lib").glob("python3.*/site-packages")
    return site / "pytriton" / "tritonserver"


def _unpack_triton(place: Path) -> None:
    """Give Triton's Python backend the stub of this Python, and its programs the right to run."""
    home, stub = triton_home(place), "triton_python_backend_stub"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(home / "python_backend_stubs" / version / stub, home / "backends" / "python")
    for program in (home / "bin" / "tritonserver", home / "backends" / "python" / stub):
        program.chmod(0o755)


def megabytes(place: Path) -> float:
    """Size of an environment's files."""
    sizes = ((Path(folder) / file).stat(follow_symlinks=False).st_size for folder, _, files in os.walk(place) for file in files)
    return round(sum(sizes) / 1e6)
