"""A real server counts what it grades, by camera, and goes on with it after a restart."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from bundles import photograph
from commands import foveal
from dicoms import dicom
from google.protobuf.json_format import MessageToDict
from PIL import Image
from servers import RunningServer

from foveal_runtime.study.study import Study


def rgb(seed: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(photograph(seed))).convert("RGB"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, bundle_path: Path) -> Path:
    """Of a server that graded six photographs, one of them twice, and embedded one."""
    pytest.importorskip("pydicom")
    made = tmp_path_factory.mktemp("drift") / "counts"
    with RunningServer(bundle_path, "--drift", str(made)) as server, server.client() as client:
        header = {"Manufacturer": "Acme", "ManufacturerModelName": "Retina <9>", "DeviceSerialNumber": "S-77", "Modality": "OP"}
        studies = [Study(image=photograph(seed)) for seed in range(3)]
        studies += [Study(image=dicom(rgb(seed), **header)) for seed in (3, 4)]
        client.grade(studies)
        client.grade([studies[0]])
        list(client.grade_stream([Study(image=photograph(5))]))
        client.embed([Study(image=photograph(6))])
        client.grade([Study(note="macula")])
        (made.parent / "asked.json").write_text(json.dumps(MessageToDict(client.drift())))
    return made


def test_each_photograph_that_is_graded_counts_once_at_its_camera(folder: Path) -> None:
    document = json.loads(foveal("drift", "report", str(folder), "--json").stdout)
    found = {each["camera"]: each for each in document["cameras"]}
    named = next(name for name in found if name.startswith("device:"))
    assert {name: each["photographs"] for name, each in found.items()} == {"all": 4, named: 2}
    assert found[named]["device"].startswith("Retina 9#"), "of a model's name what is harmless"
    (week,) = found["all"]["weeks"].values()
    assert sum(week["grades"]) == week["quality"]["GRADABLE"] == 4
    assert week["missing"]["insulin"] == 4
    assert 0 < week["means"]["brightness"] < 1
    assert list(found["all"]["references"]) == ["own"], "the bundle does not say what it was judged on"


def test_the_call_tells_what_the_report_does(folder: Path) -> None:
    reported = json.loads(foveal("drift", "report", str(folder), "--json").stdout)["cameras"]
    asked = json.loads((folder.parent / "asked.json").read_text())
    assert asked["counted"] is True
    for told, kept in zip(asked["cameras"], reported, strict=True):
        assert (told["camera"], told.get("device", ""), int(told["photographs"])) == tuple(
            kept[name] for name in ("camera", "device", "photographs")
        )
        (week,), (name,) = told["weeks"], kept["weeks"]
        assert week["week"] == name
        assert week["icdr"] == kept["weeks"][name]["grades"]
        assert week["quality"] == [
            {"status": "QUALITY_STATUS_GRADABLE", "photographs": kept["weeks"][name]["quality"]["GRADABLE"]}
        ]
        assert week["means"] == {signal: mean for signal, mean in kept["weeks"][name]["means"].items() if mean is not None}
        (reference,) = told["references"]
        assert reference["kind"] == "DRIFT_REFERENCE_KIND_OWN"
        assert reference["evidence"] == pytest.approx(kept["references"]["own"]["evidence"], abs=1e-6), "files are rounded"


def test_a_report_for_people_has_a_line_a_week(folder: Path) -> None:
    done = foveal("drift", "report", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("camera all: 4 photographs\n  against its own photographs before  no difference (")
    assert "-W" in done.stdout
    assert "S-77" not in done.stdout


def test_a_restarted_server_goes_on_and_offers_what_it_knows(folder: Path, bundle_path: Path) -> None:
    with RunningServer(bundle_path, "--drift", str(folder), "--metrics", "127.0.0.1:0") as server, server.client() as client:
        figures = server.figures()
        assert figures['foveal_drift_photographs{camera="all"}'] == 4
        assert figures['foveal_drift_alarm{camera="all",reference="own"}'] == 0
        assert 0 <= figures['foveal_drift_evidence{camera="all",reference="own",signal="brightness"}'] < 1
        client.grade([Study(image=photograph(9))])
        assert server.figures()['foveal_drift_photographs{camera="all"}'] == 5
        done = foveal("serve", str(bundle_path), "--address", "127.0.0.1:0", "--drift", str(folder))
        assert done.returncode == 2
        assert "written by another server" in done.stderr
