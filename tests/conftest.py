"""What the rooms' tests share: a bundle, a small data set and a tiny run, and the real photographs when they are there."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_IDRID = Path(__file__).resolve().parents[2] / "shared" / "data" / "idrid"


@pytest.fixture(scope="session")
def idrid() -> Path:
    """The folder of real photographs (IDRiD's own layout); the test is skipped by name where it is absent."""
    if not SHARED_IDRID.is_dir():
        pytest.skip(f"real photographs are absent: no {SHARED_IDRID}")
    return SHARED_IDRID


@pytest.fixture(scope="session")
def cases() -> Path:
    """Small inputs that were misread once (`shared/cases`, its README says what is right); skipped by name where absent."""
    folder = SHARED_IDRID.parents[1] / "cases"
    if not folder.is_dir():
        pytest.skip(f"inputs that were misread are absent: no {folder}")
    return folder


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle with hand-made graphs, everything trained."""
    from bundles import write_bundle

    return write_bundle(tmp_path_factory.mktemp("bundle") / "plain")


@pytest.fixture(scope="session")
def synth_spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BRSET-shaped data set of 40 patients, small photographs, balanced grades."""
    from foveal_train.data.synthetic import synthesise

    out = tmp_path_factory.mktemp("data") / "synth"
    synthesise(out, patients=40, seed=7, balanced=True, side_px=160)
    return f"brset:{out}"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, synth_spec: str) -> Path:
    """A finished run of the `tiny` recipe on `synth_spec`: every head and every subset of modalities trained."""
    from foveal_train.pipeline import train
    from foveal_train.training.recipe_file import load_recipe

    out = tmp_path_factory.mktemp("runs") / "tiny"
    train(load_recipe("tiny", ("optimiser.epochs=2",)), [synth_spec], out)
    return out
