"""Bundles of an older foveal are served: what they do not say is taken as not known, and never as good news."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.honesty import warnings_of
from foveal_runtime.bundle.manifest import Evidence, Manifest
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.errors import BundleError
from foveal_runtime.study.labels import ICDR

ADDED = (
    "checksum",
    "target",
    "cpu",
    "aligned",
    "calibration",
    "evidence",
    "trained_on",
    "parity",
    "made_with",
    "engines",
    "variants",
    "novelty",
    "occlusion",
    "held_out",
    "adapted",
    "heads",
)
"""Fields that a manifest of schema 1 may lack."""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "b")


def rewrite(bundle: Path, change: Any) -> None:
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_every_optional_field_is_listed_here() -> None:
    optional = {name for name, field in Manifest.model_fields.items() if not field.is_required()}
    assert optional == {*ADDED, "schema_version"}


@pytest.mark.parametrize("missing", [*((name,) for name in ADDED), ADDED])
def test_a_bundle_without_later_fields_is_opened_and_answers_as_its_reference_did(
    written: Path, missing: tuple[str, ...]
) -> None:
    rewrite(written, lambda document: [document.pop(name, None) for name in missing])
    engine = Engine(Bundle.open(written), threads=1)
    assert self_test(engine).passed


def test_what_an_older_bundle_does_not_say_is_not_proven(written: Path) -> None:
    rewrite(written, lambda document: document.pop("evidence"))
    manifest = Bundle.open(written).manifest
    assert manifest.evidence_of("image", ICDR).status is Evidence.UNVERIFIED
    assert any("ICDR from every input" in warning and "unverified" in warning for warning in warnings_of(manifest))


def _other_classes(document: dict[str, Any]) -> None:
    document["heads"]["icdr"] = ["none", "some"]


def _unknown_head(document: dict[str, Any]) -> None:
    document["trained_heads"].append("drusen")


def _narrow_graph(document: dict[str, Any]) -> None:
    document["heads"]["drusen"] = ["absent", "present"]
    document["trained_heads"].append("drusen")
    document["graphs"]["fusion"]["outputs"].append({"name": "drusen_BG", "dtype": "float32", "shape": ["batch", 3]})


def _prior_of_three(document: dict[str, Any]) -> None:
    document["schema_version"] = 2
    document["calibration"]["image"]["bias"] = {"icdr": [0.0, 0.0, 0.0]}


@pytest.mark.parametrize("change", [_other_classes, _unknown_head, _narrow_graph, _prior_of_three])
def test_heads_that_do_not_fit_their_classes_or_the_graph_are_refused(written: Path, change: Any) -> None:
    rewrite(written, change)
    with pytest.raises(BundleError, match=r"head|prior"):
        Bundle.open(written)


def test_evidence_without_upper_ends_is_read(written: Path) -> None:
    def old(document: dict[str, Any]) -> None:
        document["evidence"]["image"]["icdr"] = {
            "status": "proven", "studies": 80, "positives": 50, "kappa": 0.8, "kappa_low": 0.7, "auroc": 0.9, "auroc_low": 0.8
        }  # fmt: skip

    rewrite(written, old)
    evidence = Bundle.open(written).manifest.evidence_of("image", ICDR)
    assert (evidence.kappa_low, evidence.kappa_high) == (0.7, None)


def test_a_bundle_of_a_later_schema_is_refused_by_both_versions(written: Path) -> None:
    rewrite(written, lambda document: document.update(schema_version=3))
    with pytest.raises(BundleError, match=r"schema 3 .*reads \(1, 2\)"):
        Bundle.open(written)
