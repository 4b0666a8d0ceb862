"""The golden replay follows the export's rules: what is served is compared, and grades count where they mean anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import open_engine, write_bundle

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.calibration import OperatingPoint, SubsetCalibration
from foveal_runtime.bundle.golden import Golden, read_golden
from foveal_runtime.bundle.manifest import Evidence, HeadEvidence, Manifest
from foveal_runtime.engine.answers import Outcome, trained_kinds
from foveal_runtime.engine.selftest import compare, self_test
from foveal_runtime.study.labels import ICDR, SCHEMES

LOOSE = {"max_abs_probability": 1.0, "icdr_flips": 0.0, "referable_flips": 0.0}


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Golden, list[Outcome]]:
    engine = open_engine(write_bundle(tmp_path_factory.mktemp("bundle") / "b"))
    golden = read_golden(engine.bundle)
    outcomes = engine.run([engine.prepare(study) for study in golden.studies], kinds=trained_kinds(engine.manifest))
    tolerances = engine.manifest.tolerances.model_copy(update=LOOSE)
    return engine.manifest.model_copy(update={"tolerances": tolerances, "calibration": {}}), golden, outcomes


def _turned(outcomes: list[Outcome]) -> list[Outcome]:
    """Every ICDR answer another one, surely."""
    return [replace(o, logits={**o.logits, ICDR: np.roll(o.logits[ICDR], 1)}) for o in outcomes]


def test_changed_grades_fail_the_replay_where_grades_are_proven(replayed: tuple[Manifest, Golden, list[Outcome]]) -> None:
    manifest, golden, outcomes = replayed
    assert compare(outcomes, {}, manifest, golden).passed
    report = compare(_turned(outcomes), {}, manifest, golden)
    assert {"icdr_flips"} <= {drift.quantity for drift in report.failures}
    assert report.icdr_flips > len(golden.studies) / 2


@pytest.mark.parametrize("status", [Evidence.CHANCE, Evidence.UNVERIFIED])
def test_grades_that_are_not_proven_are_held_to_probabilities(
    replayed: tuple[Manifest, Golden, list[Outcome]], status: Evidence
) -> None:
    manifest, golden, outcomes = replayed
    entry = {head: HeadEvidence(status=status) for head in SCHEMES}
    manifest = manifest.model_copy(update={"evidence": dict.fromkeys(manifest.trained_subsets, entry)})
    assert compare(_turned(outcomes), {}, manifest, golden).passed
    tight = manifest.tolerances.model_copy(update={"max_abs_probability": 1e-3})
    report = compare(_turned(outcomes), {}, manifest.model_copy(update={"tolerances": tight}), golden)
    assert {drift.quantity for drift in report.failures} == {"probability.icdr"}


def test_referrals_are_replayed_at_the_served_operating_point(replayed: tuple[Manifest, Golden, list[Outcome]]) -> None:
    manifest, golden, outcomes = replayed
    shifted = [replace(o, logits={**o.logits, ICDR: o.logits[ICDR] + [0, 0, 6, 6, 6]}) for o in outcomes]

    def flips(threshold: float) -> int:
        point = SubsetCalibration(operating_points=(OperatingPoint(name="p", threshold=threshold),))
        there = manifest.model_copy(update={"calibration": dict.fromkeys(manifest.trained_subsets, point)})
        return compare(shifted, {}, there, golden).referable_flips

    assert flips(0.5) > 0
    assert flips(0.0) == 0, "everybody reaches it, before and after"


def test_a_manifest_of_an_older_foveal_is_read_and_its_grades_are_unverified(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b")
    document = json.loads((path / "manifest.json").read_text())
    for name in ("evidence", "cpu"):
        del document[name]
    known = ("min_cosine", "max_abs_embedding", "max_abs_probability", "icdr_flips", "referable_flips", "neighbour_dependence")
    document["tolerances"] = {name: document["tolerances"][name] for name in known}
    (path / "manifest.json").write_text(json.dumps(document))
    manifest = Bundle.open(path).manifest
    assert manifest.evidence_of("image", ICDR).status is Evidence.UNVERIFIED
    assert not manifest.is_proven("image", ICDR)
    assert manifest.tolerances.golden_cosine == manifest.tolerances.min_cosine
    assert manifest.tolerances.kappa_drop is None


def test_a_bundle_that_grades_nothing_is_replayed_by_its_vectors(tmp_path: Path) -> None:
    engine = open_engine(write_bundle(tmp_path / "bundle", trained_heads=()))
    report = self_test(engine)
    assert report.passed
    assert report.studies == 7
    shifted = write_bundle(tmp_path / "other", trained_heads=(), seed=1)
    assert not self_test(engine, read_golden(Bundle.open(shifted))).passed
