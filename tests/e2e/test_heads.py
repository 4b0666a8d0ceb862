"""Heads beside the grading schemes, from a data set's columns to an answer over gRPC and KServe."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import commands
import httpx
import pytest
from servers import RunningServer

from foveal_runtime.study.labels import CLASSES, FINDING
from foveal_runtime.study.study import Study

CLASSES_OF_HAZE = ["clear", "hazy"]
TINY = ("--recipe", "tiny", "--set", "optimiser.epochs=1", "--set", "image_spec.side_px=32", "--set", 'modalities=["image"]')


def foveal(*arguments: str | Path, code: int = 0) -> str:
    done = commands.foveal(*map(str, arguments))
    assert done.returncode == code, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def folder_spec(synth_spec: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The generated data set as a clinic's folder, with a column of its own."""
    root = Path(synth_spec.partition(":")[2])
    folder = tmp_path_factory.mktemp("clinic")
    shutil.copytree(root / "fundus_photos", folder / "photographs")
    (table,) = root.glob("label*.csv")
    with table.open(newline="") as source, (folder / "labels.csv").open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["file", "patient", "grade", "edema", "label_haze"])
        for i, row in enumerate(csv.DictReader(source)):
            name = next((root / "fundus_photos").glob(f"{row['image_id']}.*")).name
            haze = CLASSES_OF_HAZE[int(row["DR_ICDR"]) > 1] if i % 5 else ""
            writer.writerow([f"photographs/{name}", row["patient_id"], row["DR_ICDR"], row["macular_edema"], haze])
    return f"folder:{folder}"


def test_any_label_column_becomes_a_head_that_is_trained_exported_verified_and_served(
    tmp_path: Path, folder_spec: str, synth_spec: str
) -> None:
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    foveal("train", *TINY, "--data", folder_spec, "--heads", "icdr,edema,haze", "--out", run)
    info = json.loads((run / "run.json").read_text())
    assert info["trained_heads"] == ["icdr", "edema", "haze"]
    assert info["model"]["heads"][2] == {"name": "haze", "classes": CLASSES_OF_HAZE}
    metrics = json.loads((run / "metrics.json").read_text())
    haze = metrics["grading"]["image"]["heads"]["haze"]
    assert len(haze["confusion"]) == len(haze["counts"]) == 2
    assert metrics["classes"]["haze"] == CLASSES_OF_HAZE
    foveal("export", run, "--precision", "fp16", "--out", bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["heads"] == {"icdr": list(CLASSES["icdr"]), "edema": list(FINDING), "haze": CLASSES_OF_HAZE}
    parity = json.loads((bundle / "parity.json").read_text())
    assert set(parity["subsets"]["image"]["heads"]) == {"icdr", "edema", "haze"}
    foveal("verify", bundle)
    photograph = next(Path(synth_spec.partition(":")[2]).glob("fundus_photos/*")).read_bytes()
    flags = ("--allow-unverified", "--allow-untrained", "--http", "127.0.0.1:0")
    with RunningServer(bundle, *flags) as server, server.client() as client:
        (result,) = client.grade([Study(image=photograph)]).results
        heads = {each.head: each for each in result.grade.graded.heads}
        assert list(heads) == ["icdr", "edema", "haze"]
        assert [each.name for each in heads["haze"].classes] == CLASSES_OF_HAZE
        assert sum(each.probability for each in heads["haze"].classes) == pytest.approx(1.0)
        assert heads["edema"].likeliest in FINDING
        assert result.grade.graded.sdrg == 0
        described = {each["name"]: each["shape"] for each in httpx.get(f"{server.http}/v2/models/foveal").json()["outputs"]}
        assert described["haze_probabilities"][-1] == 3
        assert "sdrg_probabilities" not in described


def test_a_head_that_the_data_lacks_is_named_before_anything_is_trained(tmp_path: Path, synth_spec: str) -> None:
    said = foveal(
        "train", "--recipe", "tiny", "--data", synth_spec, "--heads", "icdr,glaucoma", "--out", tmp_path / "run", code=2
    )
    assert "no study has a label of head 'glaucoma'" in said
    assert "drusen" in said
