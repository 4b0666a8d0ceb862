"""`foveal diff`: a bundle against the one that it is to replace, and the verdict by a declared envelope."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle
from clinics import labelled_folder
from commands import Done, foveal, one_line

from foveal_runtime.bundle.bundle import sha256_file
from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.study.labels import ICDR

WIDE = "time_ratio = inf\n"
"""Two runs of the same graphs differ in time on a busy machine."""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("diff") / "old")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled photographs, and one that can't be decoded."""
    return labelled_folder(tmp_path_factory.mktemp("clinic"), [0, 1, 2, 3, 4, 0])


def compare(old: Path, new: Path, folder: Path, envelope: str = "", *more: str) -> tuple[Done, dict[str, Any]]:
    file = folder / "envelope.toml"
    file.write_text(WIDE + envelope)
    done = foveal("diff", str(old), str(new), "--envelope", str(file), "--threads", "1", "--json", *more)
    return done, json.loads(done.stdout) if done.stdout else {}


def changed(bundle: Path, folder: Path, change: Callable[[dict[str, Any]], None], **how: Any) -> Path:
    """A bundle like `old` whose manifest says something else."""
    made = write_bundle(folder / "changed", **how)
    document = json.loads((made / "manifest.json").read_text())
    change(document)
    (made / "manifest.json").write_text(json.dumps(document))
    return made


def outside(document: dict[str, Any]) -> set[str]:
    return {row["quantity"] for row in document["judged"] if not row["inside"]}


def test_a_copy_is_inside_and_differs_in_nothing(old: Path, tmp_path: Path) -> None:
    done, document = compare(old, write_bundle(tmp_path / "copy"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert document["inside"]
    assert document["same_space"]
    assert document["bytes"]["ratio"] == 1.0
    assert document["golden"].keys() == {"image", "text", "structured", "image+text", "image+structured", "text+structured",
                                         "image+text+structured"}  # fmt: skip
    for part in document["golden"].values():
        assert part["heads"] == {head: {"changed": 0, "near_ties": 0, "counted": 0} for head in ("icdr", "sdrg")}
        assert part["vectors"]["joint"]["min_cosine"] == pytest.approx(1.0)
    assert {row["quantity"] for row in document["judged"]} >= {
        "golden_replay", "icdr_flips", "referable_flips", "threshold_change", "size_ratio", "min_cosine", "keeps_answers",
    }  # fmt: skip


def test_other_weights_change_answers_and_are_outside(old: Path, tmp_path: Path) -> None:
    done, document = compare(old, write_bundle(tmp_path / "other", seed=1), tmp_path, "icdr_flips = 0\nsame_space = true\n")
    assert done.returncode == 1
    assert {"icdr_flips", "same_space"} <= outside(document)
    assert "min_cosine" not in {row["quantity"] for row in document["judged"]}, "vectors of two spaces have no cosine"
    assert "do not replace" in one_line(done.stderr)
    (row,) = [row for row in document["judged"] if row["quantity"] == "icdr_flips"]
    assert row["got"] == sum(part["heads"]["icdr"]["counted"] for part in document["golden"].values()) > 0


def test_a_moved_threshold_is_held_against_its_limit(old: Path, tmp_path: Path) -> None:
    def move(document: dict[str, Any]) -> None:
        document["calibration"]["image"]["operating_points"][0]["threshold"] = 0.33

    new = changed(old, tmp_path, move)
    done, document = compare(old, new, tmp_path, "threshold_change = 0.01\nreferable_flips = 1\n")
    assert done.returncode == 1
    assert outside(document) == {"threshold_change"}
    assert document["thresholds"] == [{"subset": "image", "name": "screening", "old": 0.3, "new": 0.33}]
    assert compare(old, new, tmp_path, "threshold_change = 0.05\nreferable_flips = 1\n")[0].returncode == 0


def test_answers_that_are_lost_are_named(old: Path, tmp_path: Path) -> None:
    new = write_bundle(tmp_path / "less", trained_subsets=("image", "text"), trained_heads=(ICDR,))
    done, document = compare(old, new, tmp_path)
    assert done.returncode == 1
    assert {"modality subset image+text+structured", "head sdrg"} <= set(document["lost"])
    assert document["golden"].keys() == {"image", "text"}
    assert compare(old, new, tmp_path, "keeps_answers = false\n")[0].returncode == 0
    unproven = write_bundle(tmp_path / "unproven", evidence=Evidence.CHANCE)
    assert "evidence of icdr from image: proven, now chance" in compare(old, unproven, tmp_path)[1]["lost"]


def test_heads_that_old_has_not_proven_are_shown_and_not_judged(tmp_path: Path) -> None:
    noise = write_bundle(tmp_path / "noise", evidence=Evidence.CHANCE)
    done, document = compare(noise, write_bundle(tmp_path / "other", seed=1, evidence=Evidence.CHANCE), tmp_path)
    assert done.returncode == 0, done.stderr
    assert any(part["heads"]["icdr"]["changed"] for part in document["golden"].values())
    assert not {"icdr_flips", "referable_flips", "min_kappa"} & {row["quantity"] for row in document["judged"]}


def test_a_new_bundle_that_fails_its_own_golden_replay_is_outside(old: Path, tmp_path: Path) -> None:
    _, document = compare(old, write_bundle(tmp_path / "false", golden_shift=9.0), tmp_path)
    assert outside(document) == {"golden_replay"}


def test_a_larger_bundle_is_outside(old: Path, tmp_path: Path) -> None:
    new = write_bundle(tmp_path / "large")
    (new / "NOTES.md").write_text("x" * 3_000_000)

    document = json.loads((new / "manifest.json").read_text())
    document["files"]["NOTES.md"] = sha256_file(new / "NOTES.md")
    (new / "manifest.json").write_text(json.dumps(document))
    done, document = compare(old, new, tmp_path)
    assert done.returncode == 1
    assert outside(document) == {"size_ratio"}


def test_labelled_photographs_give_losses_against_the_labels(old: Path, clinic: Path, tmp_path: Path) -> None:
    new = write_bundle(tmp_path / "other", seed=1)
    wide = {"kappa_drop": 2, "sensitivity_drop": "inf", "specificity_drop": 1, "icdr_flips": 1, "sdrg_flips": 1,
            "referable_flips": 1, "min_kappa": -1}  # fmt: skip
    limits = "".join(f"{name} = {value}\n" for name, value in wide.items())
    done, document = compare(old, new, tmp_path, limits, "--data", f"folder:{clinic}")
    assert done.returncode == 0, done.stderr
    part = document["data"]["image"]
    assert part["studies"] + part["ungradable"] == 6
    assert part["unusable"] == 1, "the photograph that ends in the middle"
    assert part["labelled"]["studies"] == part["studies"]
    assert {"kappa_drop", "sensitivity_drop", "specificity_drop"} <= {row["quantity"] for row in document["judged"]}
    assert "eye-" not in json.dumps(document), "no file name of a patient"
    before, after = (part["labelled"][side]["kappa"] for side in ("old", "new"))
    (row,) = [row for row in document["judged"] if row["quantity"] == "kappa_drop"]
    assert row["got"] == pytest.approx(before - after)


def test_limits_on_labels_without_labels_are_refused(old: Path, tmp_path: Path) -> None:
    done, _ = compare(old, old, tmp_path, "kappa_drop = 0.1\n")
    assert done.returncode == 2
    assert "kappa_drop, which needs labelled studies" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("icdr_flip = 0.1", "known are icdr_flips"),
        ("icdr_flips = 'few'", "write a number"),
        ("icdr_flips = nan", "write a number"),
        ("icdr_flips = -0.1", "0 or more"),
        ("same_space = 1", "write true or false"),
        ("icdr_flips", "no TOML"),
    ],
)
def test_an_envelope_that_means_nothing_is_refused(old: Path, tmp_path: Path, text: str, says: str) -> None:
    done, _ = compare(old, old, tmp_path, text + "\n")
    assert done.returncode == 2
    assert says in one_line(done.stderr)


def test_the_screen_names_every_limit_of_the_default_envelope(old: Path, tmp_path: Path) -> None:
    done = foveal("diff", str(old), str(write_bundle(tmp_path / "other", seed=1)), "--threads", "1")
    assert done.returncode == 1
    assert "OUTSIDE icdr_flips" in done.stdout
    assert "another embedding space" in done.stdout
    assert done.stdout.rstrip().endswith("outside the envelope")


def test_labelled_data_needs_no_pytorch(old: Path, clinic: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'timm', 'transformers', 'sklearn'):\n"
        "    sys.modules[name] = None\n"
        "from foveal_runtime.cli.main import run\n"
        f"sys.exit(run(['diff', {str(old)!r}, {str(old)!r}, '--data', 'folder:{clinic}', '--threads', '1', '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout, done.stderr
    assert json.loads(done.stdout)["data"]["image"]["labelled"]


def test_a_record_names_both_bundles_every_limit_and_leaves_the_decision_to_people(old: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.md"
    _, document = compare(old, old, tmp_path, "", "--record", str(record))
    text = record.read_text()
    assert text.count(document["old"]["sha256"]) == 2
    assert all(f"| `{row['quantity']}` | {row['where']} |" in text for row in document["judged"])
    assert "is inside the envelope" in text
    assert "| Name, date, signature | |" in text
    new = write_bundle(tmp_path / "new", seed=5)
    compare(old, new, tmp_path, "", "--record", str(record))
    assert "is **OUTSIDE** the envelope" in record.read_text()
