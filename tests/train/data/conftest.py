"""Small generated data sets, made once."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from foveal_train.data.synthetic import synthesise

IDRID = Path(__file__).parents[4] / "shared" / "data" / "idrid"


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty patients, all grades, tiny photographs; never written to."""
    out = tmp_path_factory.mktemp("synthetic") / "set"
    return synthesise(out, patients=60, seed=5, balanced=True, side_px=64)


@pytest.fixture
def copied(generated: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(generated, tmp_path / "copy"))


@pytest.fixture
def edit() -> Callable[[Path, Callable[[str], str]], None]:
    """Rewrites a text file in place."""

    def apply(path: Path, change: Callable[[str], str]) -> None:
        before = path.read_text(encoding="utf-8")
        after = change(before)
        assert after != before, "the test changed nothing"
        path.write_text(after, encoding="utf-8")

    return apply


@pytest.fixture
def jpeg() -> Callable[[int], bytes]:
    """A 40 x 40 JPEG, another colour for another number."""

    def make(number: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (40, 40), (150 + number, 80, 40)).save(buffer, "JPEG")
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def idrid() -> Path:
    """Real photographs, where they are at hand."""
    if not IDRID.is_dir():
        pytest.skip("shared/data/idrid is not beside the checkout")
    return IDRID
