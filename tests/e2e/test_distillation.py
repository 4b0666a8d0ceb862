"""Teachers, a student, its INT8 bundle: by the commands, on generated studies."""

from __future__ import annotations

import json
from pathlib import Path

import commands

from foveal_train.runs.teachers import fingerprint

TINY = ("--recipe", "tiny", "--set", "optimiser.epochs=1", "--set", "image_spec.side_px=32")


def foveal(*arguments: str | Path, code: int = 0) -> str:
    done = commands.foveal(*map(str, arguments))
    assert done.returncode == code, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def test_a_student_of_two_teachers_is_exported_in_int8(tmp_path: Path, tiny_run: Path, synth_spec: str) -> None:
    other = tmp_path / "other"
    foveal("train", *TINY, "--data", synth_spec, "--out", other, "--set", 'modalities=["image"]')
    student = tmp_path / "student"
    taught = ("distill", tiny_run, other, *TINY, "--data", synth_spec, "--out", student, "--set", "quantisation.epochs=1")
    document = json.loads(foveal(*taught, "--json"))
    assert [each["fingerprint"] for each in document["distillation"]["teachers"]] == [fingerprint(tiny_run), fingerprint(other)]
    assert "already holds a finished run" in foveal(*taught, code=2)
    bundle = tmp_path / "bundle"
    foveal("export", student, "--precision", "int8", "--out", bundle)
    assert json.loads((bundle / "manifest.json").read_text())["space_id"] == document["space_id"]
