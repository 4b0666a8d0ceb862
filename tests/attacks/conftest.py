"""A bundle for every test of attacks."""

from pathlib import Path

import pytest
from bundles import write_bundle


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle with hand-made graphs, everything trained."""
    return write_bundle(tmp_path_factory.mktemp("bundle") / "plain")
