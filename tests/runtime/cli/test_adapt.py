"""`foveal adapt`: a bundle and a clinic's folder to a bundle of the clinic's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from bundles import open_engine, photograph, write_bundle
from clinics import labelled_folder
from commands import foveal, one_line
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from foveal_runtime.bundle.bundle import Bundle, sha256_file
from foveal_runtime.bundle.signing import read_public_key
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Study


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_bundle(tmp_path_factory.mktemp("adapt") / "old")
    (path / "MODEL_CARD.md").write_text("# A model\n")
    document = json.loads((path / "manifest.json").read_text())
    document["files"]["MODEL_CARD.md"] = sha256_file(path / "MODEL_CARD.md")
    (path / "manifest.json").write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty labelled photographs, and one that can't be decoded."""
    return labelled_folder(tmp_path_factory.mktemp("clinic"), [0, 0, 0, 1, 2] * 12)


def test_a_clinic_s_bundle_is_whole_signed_and_calibrated_by_its_studies(old: Path, clinic: Path, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "key.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    out = tmp_path / "new"
    done = foveal(
        "adapt", str(old), "--data", f"folder:{clinic}", "--site", "Clinic 12", "--out", str(out), "--threads", "1",
        "--sign", str(tmp_path / "key.pem"), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    made = Bundle.open(out, signed_by=read_public_key(tmp_path / "key.pub"))
    was = Bundle.open(old)
    assert (made.manifest.schema_version, made.manifest.space_id) == (2, was.manifest.space_id)
    assert made.manifest.adapted is not None
    assert (made.manifest.adapted.site, made.manifest.adapted.bundle_sha256) == ("Clinic 12", was.sha256)
    figures = document["subsets"]["image"]
    assert (figures["studies"], figures["referable"]) == (60, 12)
    assert figures["ungradable"] + figures["unusable"] <= 1
    assert document["unchanged"] == sorted(set(was.manifest.trained_subsets) - {"image"})
    assert made.manifest.calibration["image"].bias[ICDR][0] > 0, "the clinic sees more healthy eyes"
    assert "Adapted to a site" in (out / "MODEL_CARD.md").read_text()
    shares = []
    for path in (old, out):
        engine = open_engine(path)
        outcomes = engine.run([engine.prepare(Study(image=photograph(i))) for i in range(60)])
        logits = np.stack([outcome.logits[ICDR] for outcome in outcomes])
        shares.append(engine.manifest.calibration["image"].probabilities(ICDR, logits).mean(0))
    truth = np.asarray([0.6, 0.2, 0.2, 0, 0])
    assert np.abs(shares[1] - truth).max() < 0.1 < np.abs(shares[0] - truth).max()


def test_too_few_labels_write_nothing(old: Path, clinic: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    rows = (clinic / "labels.csv").read_text().splitlines()[:20]
    (few / "labels.csv").write_text("\n".join(rows) + "\n")
    for i in range(19):
        shutil.copy(clinic / f"eye-{i}.jpg", few)
    done = foveal("adapt", str(old), "--data", f"folder:{few}", "--site", "Few", "--out", str(tmp_path / "new"))
    assert done.returncode == 2
    assert "error: too few labelled studies to adapt on: 19 of image" in done.stderr
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))


def test_a_prior_in_a_manifest_that_older_runtimes_would_misread_is_refused(old: Path, tmp_path: Path) -> None:
    path = tmp_path / "b"
    shutil.copytree(old, path)
    document = json.loads((path / "manifest.json").read_text())
    document["calibration"]["image"]["bias"] = {"icdr": [1.0, 0, 0, 0, -1.0]}
    (path / "manifest.json").write_text(json.dumps(document))
    done = foveal("inspect", str(path))
    assert done.returncode == 2
    assert "a site's prior in a manifest of schema 1" in one_line(done.stderr)
