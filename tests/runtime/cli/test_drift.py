"""`foveal drift`: a data set against a reference, and cameras that are counted anew."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from bundles import photograph, write_bundle
from commands import foveal
from PIL import Image, ImageEnhance

DRAWN, TIMES = 20, 10


def folder_of(path: Path, *, light: float = 1.0) -> str:
    """A data set of drawn photographs, each some times, as a camera takes them with so much light."""
    path.mkdir()
    rows = ["image"]
    for seed in range(DRAWN):
        buffer = io.BytesIO()
        ImageEnhance.Brightness(Image.open(io.BytesIO(photograph(seed)))).enhance(light).save(buffer, "JPEG", quality=92)
        for again in range(TIMES):
            rows.append(f"{seed}-{again}.jpg")
            (path / rows[-1]).write_bytes(buffer.getvalue())
    (path / "table.csv").write_text("\n".join(rows) + "\n")
    return f"folder:{path}"


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> str:
    return folder_of(tmp_path_factory.mktemp("sets") / "usual")


@pytest.fixture(scope="module")
def image_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "b", trained_subsets=("image",))


def test_darker_photographs_differ_from_the_reference_and_equal_ones_do_not(
    image_bundle: Path, usual: str, tmp_path: Path
) -> None:
    darker = folder_of(tmp_path / "darker", light=0.6)
    done = foveal("drift", "check", str(image_bundle), "--data", darker, "--reference", usual, "--json")
    assert done.returncode == 1, done.stderr
    assert "camera all differs in " in done.stderr
    (camera,) = json.loads(done.stdout)["cameras"]
    assert camera["references"]["own"]["alarm"]["signals"].count("brightness") == 1
    done = foveal("drift", "check", str(image_bundle), "--data", usual, "--reference", usual)
    assert done.returncode == 0, done.stderr
    assert "no difference" in done.stdout


def test_a_bundle_that_does_not_say_what_it_was_judged_on_asks_for_a_reference(image_bundle: Path, usual: str) -> None:
    done = foveal("drift", "check", str(image_bundle), "--data", usual)
    assert done.returncode == 2
    assert "give others with --reference, or export it again" in done.stderr


def test_folders_and_cameras_that_are_not_there_are_named(tmp_path: Path) -> None:
    done = foveal("drift", "report", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "is no folder; name the one that `foveal serve --drift` writes" in done.stderr
    done = foveal("drift", "report", str(tmp_path))
    assert (done.returncode, done.stdout.split(";")[0]) == (0, "nothing was counted yet")
    done = foveal("drift", "forget", str(tmp_path), "all")
    assert done.returncode == 2
    assert "has no camera 'all'" in done.stderr
