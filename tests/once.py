"""What takes long to make is made once for all workers of a test run: in a folder that they share, behind a lock.

pytest-xdist gives every worker a session of its own, so a session's fixture alone would be made by each. Knows nothing of
what is made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared_root(factory: pytest.TempPathFactory) -> Path:
    """The folder of this test run that all its workers see."""
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    root.mkdir(exist_ok=True)
    return root


def made_once(root: Path, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that whoever comes first fills; others wait for it. Tests read it and never write into it.

    Args:
        root: of `shared_root`.
        name: of what is made.
        make: fills an empty folder.
    """
    folder, finished = root / name, root / f"{name}.finished"
    with FileLock(root / f"{name}.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a failed attempt
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder
