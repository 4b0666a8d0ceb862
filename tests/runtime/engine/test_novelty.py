"""Distances from the training photographs against their definition, and what a bundle says of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from bundles import add_trust, open_engine, photograph, write_bundle
from safetensors.numpy import load_file, save_file

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.novelty import AXES, FILE, feature, fit_limit, fit_training, read_novelty
from foveal_runtime.errors import BundleError
from foveal_runtime.study.study import Study


def test_distances_are_mahalanobis_s_under_the_fitted_gaussian() -> None:
    rng = np.random.default_rng(0)
    spread = np.concatenate([np.linspace(5, 1, 6), np.full(10, 0.2)])
    training = rng.standard_normal((4000, 16)) * spread + 3
    fitted = fit_training(training)
    assert len(fitted.axes_KD) == 15
    strangers = rng.standard_normal((20, 16)) * 4
    away = strangers - training.mean(0)
    expected = np.sqrt(np.einsum("nd,de,ne->n", away, np.linalg.inv(np.cov(training.T)), away))
    np.testing.assert_allclose(fitted.distances(strangers), expected, rtol=1e-3)


def test_directions_without_an_axis_share_one_spread() -> None:
    rng = np.random.default_rng(1)
    spread = np.concatenate([np.full(4, 9.0), np.full(252, 0.5)])
    fitted = fit_training(rng.standard_normal((40, 256)) * spread)
    assert len(fitted.axes_KD) == 10, "a quarter of the photographs"
    aside = np.zeros((1, 256))
    aside[0, 200] = 30.0
    assert fitted.distances(aside)[0] > fitted.distances(np.eye(1, 256) * 30.0)[0] * 5


def test_about_one_held_out_photograph_in_a_hundred_is_beyond_the_limit() -> None:
    rng = np.random.default_rng(2)
    beyond = []
    for _ in range(60):
        limit = fit_limit(np.exp(rng.standard_normal(40) * 0.2))
        beyond.append((np.exp(rng.standard_normal(2000) * 0.2) > limit).mean())
    assert np.mean(beyond) == pytest.approx(0.01, abs=0.004)


def test_an_engine_measures_photographs_alone_and_in_company_alike(tmp_path: Path) -> None:
    plain = open_engine(write_bundle(tmp_path / "plain"))
    prepared = [plain.prepare(Study(image=photograph(seed))) for seed in range(3)]
    assert plain.run(prepared)[0].novelty is None
    norms = np.linalg.norm(plain.image_features(prepared), axis=1)
    add_trust(write_bundle(tmp_path / "b"), limit=2.0)
    engine = open_engine(tmp_path / "b")
    found = [outcome.novelty for outcome in engine.run(prepared)]
    np.testing.assert_allclose(found, norms / 2, rtol=1e-5)
    assert engine.run(prepared[:1])[0].novelty == found[0]
    note = engine.prepare(Study(note="macula edema"))
    assert engine.run([note])[0].novelty is None, "no photograph, no distance"


def test_the_class_token_is_left_out() -> None:
    tokens = np.asarray([[9.0, 9.0], [1.0, 2.0], [3.0, 4.0]])
    assert feature(tokens).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("damage", ["shape", "nan", "negative", "name"])
def test_a_measure_that_does_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    path = write_bundle(tmp_path / "b")
    add_trust(path, limit=1.0)
    arrays = load_file(path / FILE)
    if damage == "shape":
        arrays["axes"] = arrays["axes"][:, :-1].copy()
    elif damage == "nan":
        arrays["mean"][3] = np.nan
    elif damage == "negative":
        arrays["rest"][0] = -1
    else:
        arrays["means"] = arrays.pop("mean")
    save_file(arrays, path / FILE)
    document = json.loads((path / "manifest.json").read_text())
    document["files"][FILE] = hashlib.sha256((path / FILE).read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=r"novelty\.safetensors .* can't be read .*export the bundle again"):
        read_novelty(Bundle.open(path))


def test_a_measure_is_small() -> None:
    fitted = fit_training(np.random.default_rng(0).standard_normal((400, 256)))
    assert len(fitted.axes_KD) == AXES
    assert sum(each.nbytes for each in (fitted.mean_D, fitted.axes_KD, fitted.variances_K, fitted.rest)) < 70_000
