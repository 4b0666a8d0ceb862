"""Programs of the folder benchmarks/ as modules, for tests of their functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports one by its name, and lets it find its siblings by theirs while the test runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module
