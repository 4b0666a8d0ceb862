"""`foveal quality`: what the check says of files here, a threshold for a clinic, and a server that uses it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from bundles import photograph
from commands import foveal, one_line
from PIL import Image, ImageFilter
from servers import RunningServer

from foveal_runtime.photo.quality import shipped_check


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty usable photographs, and two blurred ones in a folder of their own among them."""
    folder = tmp_path_factory.mktemp("clinic")
    (folder / "unusable").mkdir()
    for seed in range(20):
        (folder / f"{seed:02d}.jpg").write_bytes(photograph(seed))
    for seed in range(2):
        image = Image.open(io.BytesIO(photograph(seed))).filter(ImageFilter.GaussianBlur(6))
        image.save(folder / "unusable" / f"{seed}.jpg")
    return folder


def test_check_says_of_each_file_whether_it_can_be_graded_and_why_not(clinic: Path) -> None:
    done = foveal("quality", "check", str(clinic / "00.jpg"), str(clinic / "unusable" / "0.jpg"))
    assert done.returncode == 0, done.stderr
    good, bad = done.stdout.splitlines()
    assert good.startswith(f"{clinic / '00.jpg'}: gradable (probability ")
    assert ": not gradable: the photograph is out of focus; take it again (probability 0.0" in bad


def test_check_prints_json_as_a_server_answers(clinic: Path) -> None:
    (row,) = json.loads(foveal("quality", "check", str(clinic / "00.jpg"), "--json").stdout)
    assert row["quality"] == {"gradable": True, "status": "GRADABLE", "message": "the photograph can be graded"}
    assert shipped_check().min_gradable < row["probability"] <= 1


def test_a_file_that_is_no_photograph_is_named_and_does_not_stop_the_others(clinic: Path, tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("not a photograph")
    done = foveal("quality", "check", str(tmp_path / "note.jpg"), str(clinic / "00.jpg"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"{tmp_path / 'note.jpg'}: ")
    assert ": gradable" in done.stdout


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Photographs among what phones and servers leave in a folder."""
    folder = tmp_path / "mixed"
    (folder / "@eaDir").mkdir(parents=True)
    for seed in range(20):
        (folder / f"a-{seed}.jpg").write_bytes(photograph(seed))
    for name in ("b.HEIC", ".DS_Store", "notes.txt"):
        (folder / name).write_bytes(b"no photograph")
    return folder


LEFT_OUT = (
    "@eaDir: a Synology server's thumbnails",
    ".DS_Store: hidden",
    "b.HEIC: HEIC is not read",
    "notes.txt: by its suffix",
)


@pytest.mark.parametrize("words", [("check",), ("fit", "--out", "OUT")])
def test_what_a_folder_holds_besides_is_listed_at_the_end_with_the_reason(
    mixed: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    flags = [str(tmp_path / "quality.json") if word == "OUT" else word for word in words[1:]]
    done = foveal("quality", words[0], str(mixed), *flags)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(LEFT_OUT)
    for line, expected in zip(lines, LEFT_OUT, strict=True):
        assert line.startswith(f"skipped: {mixed}/{expected}")


def test_fit_lists_a_file_once_though_both_folders_hold_it(mixed: Path, tmp_path: Path) -> None:
    (mixed / "unusable").mkdir()
    Image.open(io.BytesIO(photograph(0))).filter(ImageFilter.GaussianBlur(6)).save(mixed / "unusable" / "0.jpg")
    (mixed / "unusable" / "c.heic").write_bytes(b"")
    done = foveal("quality", "fit", str(mixed), "--unusable", str(mixed / "unusable"), "--out", str(tmp_path / "q.json"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("c.heic") == 1
    assert done.stderr.count("skipped: ") == 5


def test_fit_takes_the_unusable_folder_out_of_the_usable_one(clinic: Path, tmp_path: Path) -> None:
    out = tmp_path / "clinic.json"
    done = foveal("quality", "fit", str(clinic), "--unusable", str(clinic / "unusable"), "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    assert json.loads(done.stdout) == document
    assert (document["usable"], document["usable_refused"], document["unusable"], document["unusable_refused"]) == (20, 0, 2, 2)
    assert document["min_gradable"] > shipped_check().min_gradable


def test_check_with_a_clinics_threshold_goes_by_it(clinic: Path, tmp_path: Path) -> None:
    out = tmp_path / "clinic.json"
    foveal("quality", "fit", str(clinic), "--unusable", str(clinic / "unusable"), "--out", str(out))
    document = json.loads(out.read_text()) | {"min_gradable": 0.99999}
    out.write_text(json.dumps(document))
    done = foveal("quality", "check", str(clinic / "00.jpg"), "--quality", str(out))
    assert "not gradable" in done.stdout


def test_too_few_photographs_are_refused(clinic: Path, tmp_path: Path) -> None:
    done = foveal("quality", "fit", str(clinic / "unusable"), "--out", str(tmp_path / "clinic.json"))
    assert done.returncode == 2
    assert "at least 20" in one_line(done.stderr)
    assert not (tmp_path / "clinic.json").exists()


def test_a_server_goes_by_the_clinics_threshold_and_a_malformed_one_stops_it(
    bundle_path: Path, clinic: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clinic.json"
    foveal("quality", "fit", str(clinic), "--unusable", str(clinic / "unusable"), "--out", str(out))
    document = json.loads(out.read_text())
    out.write_text(json.dumps(document | {"min_gradable": 0.99999}))
    with RunningServer(bundle_path, "--quality", str(out)) as server:
        done = foveal("grade", str(clinic / "00.jpg"), "--address", server.address, "--json")
        (row,) = json.loads(done.stdout)
        assert row["verdict"] == "ungradable"
    out.write_text(json.dumps(document | {"min_gradable": 2}))
    done = foveal("serve", str(bundle_path), "--address", "127.0.0.1:0", "--quality", str(out))
    assert done.returncode == 2
    assert "foveal quality fit" in one_line(done.stderr)
