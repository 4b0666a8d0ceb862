"""The generator: deterministic, BRSET-shaped, at BRSET's prevalence, and its images show what their labels say."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from foveal_runtime.errors import DataError
from foveal_runtime.photo.imaging import ImageSpec, load_square
from foveal_runtime.study.study import Eye
from foveal_train.data import load
from foveal_train.data.brset import RELEASES, Release
from foveal_train.data.notes import Finding
from foveal_train.data.synthetic import Camera, jpeg_bytes, render_fundus, synthesise
from foveal_train.data.synthetic.patients import draw_patient


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    one = synthesise(tmp_path / "one", patients=3, seed=4, side_px=64)
    other = synthesise(tmp_path / "other", patients=3, seed=4, side_px=64)
    assert contents(one) == contents(other)
    another = synthesise(tmp_path / "another", patients=3, seed=5, side_px=64)
    assert contents(one)["fundus_photos/img00001.jpg"] != contents(another)["fundus_photos/img00001.jpg"]


def test_a_patient_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few = contents(synthesise(tmp_path / "few", patients=2, seed=4, side_px=64))
    many = contents(synthesise(tmp_path / "many", patients=4, seed=4, side_px=64))
    for name in ("img00001", "img00002", "img00003", "img00004"):
        assert few[f"fundus_photos/{name}.jpg"] == many[f"fundus_photos/{name}.jpg"]


@pytest.mark.parametrize("release", RELEASES, ids=lambda r: r.version)
def test_every_release_is_written_with_its_own_header_and_read_back(release: Release, tmp_path: Path) -> None:
    out = synthesise(tmp_path / "set", patients=4, seed=1, release=release.version, side_px=64)
    with (out / release.table).open(encoding="utf-8") as file:
        assert tuple(next(csv.reader(file))) == release.columns
    dataset = load(f"brset:{out}")
    assert dataset.name == f"brset {release.version}"
    assert len(dataset.samples) == 8
    assert len({s.patient_id for s in dataset.samples}) == 4


def test_the_table_has_the_real_ones_quirks(generated: Path) -> None:
    with (generated / "labels_brset.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["vessels"] == "bv" for row in rows) == 1
    assert sum(row["optic_disc"] == "0" for row in rows) == 2
    assert sum((row["diabetic_retinopathy"] == "1") != (row["DR_ICDR"] != "0") for row in rows) >= 1
    durations = [row["diabetes_time_y"] for row in rows]
    assert any("," in d for d in durations)
    assert any("O" in d for d in durations)
    assert "Não" in durations
    assert any(d == "" for d in durations)


def test_prevalence_is_brsets() -> None:
    eyes = [eye for number in range(1, 4001) for eye in draw_patient(11, number).eyes]
    share = Counter[str]()
    for eye in eyes:
        share["dr"] += eye.icdr > 0
        share["none"] += not eye.findings
    assert share["dr"] / len(eyes) == pytest.approx(0.066, abs=0.012)
    assert share["none"] / len(eyes) == pytest.approx(0.52, abs=0.025)


def test_eyes_and_records_hang_together_as_in_clinics() -> None:
    patients = [p for p in (draw_patient(12, n) for n in range(1, 4001)) if p.diabetes]
    right, left = (np.array([p.eyes[i].icdr for p in patients]) for i in (0, 1))
    assert np.corrcoef(right, left)[0, 1] > 0.6
    ill = [p for p in patients if max(e.icdr for e in p.eyes) >= 3]
    well = [p for p in patients if max(e.icdr for e in p.eyes) == 0]
    assert np.mean([p.diabetes_years for p in ill]) > 1.5 * np.mean([p.diabetes_years for p in well])
    assert np.mean([p.insulin for p in ill]) > 2 * np.mean([p.insulin for p in well])
    eyes = [e for p in patients for e in p.eyes]
    assert np.corrcoef([e.icdr for e in eyes], [e.sdrg for e in eyes])[0, 1] > 0.9
    assert any(e.icdr != e.sdrg for e in eyes)


def test_balanced_right_eyes_show_every_grade_as_often(generated: Path) -> None:
    samples = load(f"brset:{generated}").samples
    right = Counter(s.labels.icdr for s in samples if s.record and s.record.eye is Eye.RIGHT)
    assert right == dict.fromkeys(range(5), 12)


def lit(rgb_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    bright: npt.NDArray[np.bool_] = rgb_HWC[..., 1] > 0.75 * rgb_HWC[..., 1].max()
    return bright


def test_the_disc_lies_on_the_side_of_the_eye() -> None:
    for seed in range(6):
        for eye in Eye:
            columns = np.flatnonzero(lit(render_fundus(seed=seed, eye=eye, side_px=256)).any(axis=0))
            on_the_right = float(np.median(columns)) > 128
            assert on_the_right == (eye is Eye.RIGHT)


def test_corners_are_black_and_the_middle_is_red() -> None:
    for camera in Camera:
        rgb_HWC = render_fundus(seed=3, eye=Eye.LEFT, camera=camera, side_px=256)
        assert rgb_HWC.shape == (256, 256, 3)
        assert rgb_HWC[:20, :20].max() < 10
        red, green, blue = rgb_HWC[100:156, 100:156].reshape(-1, 3).mean(axis=0)
        assert red > 1.3 * green > 1.3 * blue


def test_lesions_add_up_with_the_grade() -> None:
    """Fine dark or bright detail, over the same healthy eye's, grows from none through moderate to severe."""

    def detail(grade: int) -> float:
        total = 0.0
        for seed in range(12):
            square_SSC = load_square(jpeg_bytes(render_fundus(seed=seed, eye=Eye.RIGHT, icdr=grade)), ImageSpec())
            green_SS = square_SSC[40:-40, 40:-40, 1].astype(np.float64)
            total += float(np.abs(green_SS[1:, 1:] - green_SS[:-1, :-1]).mean())
        return total / 12

    none, moderate, severe = detail(0), detail(2), detail(3)
    assert none < 0.97 * moderate < 0.97 * severe


@pytest.mark.parametrize("finding", [f for f in Finding if f is not Finding.DIABETIC_RETINOPATHY])
def test_every_finding_is_drawn(finding: Finding) -> None:
    plain = render_fundus(seed=8, eye=Eye.LEFT, side_px=128)
    marked = render_fundus(seed=8, eye=Eye.LEFT, side_px=128, findings=[finding])
    assert not np.array_equal(plain, marked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patients": 0}, "0 patients"),
        ({"seed": -1}, "seed is -1"),
        ({"release": "2.0"}, "no BRSET release 2.0"),
        ({"side_px": 8}, "8 px"),
    ],
)
def test_arguments_out_of_range_are_refused_and_leave_nothing(
    arguments: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        synthesise(tmp_path / "set", **({"patients": 2, "seed": 1} | arguments))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_replaced_by_force_alone_and_only_if_generated(tmp_path: Path) -> None:
    out = synthesise(tmp_path / "set", patients=2, seed=1, side_px=64)
    with pytest.raises(DataError, match="--force"):
        synthesise(out, patients=1, seed=1, side_px=64)
    synthesise(out, patients=1, seed=1, side_px=64, force=True)
    assert len(load(f"brset:{out}").samples) == 2
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="was not generated"):
        synthesise(mine, patients=1, seed=1, side_px=64, force=True)
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "set"]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path / "set", patients=5, seed=1, side_px=64, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space left on device"):
        synthesise(tmp_path / "set", patients=1, seed=1, side_px=64)
    assert not list(tmp_path.iterdir())
