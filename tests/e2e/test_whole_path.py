"""Train, export, verify, serve, grade, embed, index, search: one tiny model through every room, by the README's commands."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
from servers import RunningServer

from foveal_runtime.client import Client
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.study.labels import ICDR, softmax
from foveal_runtime.study.study import ALL_SUBSETS, Study, subset_name
from foveal_train.data import load
from foveal_train.runs.reference import Reference
from foveal_train.runs.run import Run

PRECISIONS = ("fp32", pytest.param("int8", marks=pytest.mark.slow))
"""The ends of the range; FP16 has its tests in tests/export, as INT8 has, and an export takes its time."""


def foveal(*arguments: str | Path, code: int = 0) -> str:
    done = commands.foveal(*map(str, arguments))
    assert done.returncode == code, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundle_of(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of a precision, exported by the command when it is first asked for."""
    folder = tmp_path_factory.mktemp("bundles")

    def export(precision: str) -> Path:
        if not (folder / precision).exists():
            foveal("export", tiny_run, "--precision", precision, "--out", folder / precision)
        return folder / precision

    return export


@pytest.fixture(scope="module")
def studies(synth_spec: str, tiny_run: Path) -> list[Study]:
    """Held-out studies, each subset of their modalities."""
    held_out = set(Run.open(tiny_run).split["test"])
    whole = [sample.study() for sample in load(synth_spec).samples if sample.id in held_out]
    parts = [(study, subset) for subset in ALL_SUBSETS for study in whole if subset <= study.modalities]
    return [replace(study.only(subset), id=f"{study.id} {subset_name(subset)}") for study, subset in parts]


@pytest.fixture(scope="module")
def server(bundle_of: Callable[[str], Path]) -> Iterator[RunningServer]:
    """A bundle with an embedded archive."""
    # Not under pytest's folders: they are 0700, and a PostgreSQL of root's runs as another user.
    with tempfile.TemporaryDirectory(prefix="foveal-e2e-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with RunningServer(
            bundle_of("fp32"), "--allow-unverified", "--allow-untrained", "--store", f"{folder}/archive"
        ) as running:
            yield running


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_served_agrees_with_pytorch_for_every_subset(
    precision: str, bundle_of: Callable[[str], Path], studies: list[Study], tiny_run: Path
) -> None:
    run = Run.open(tiny_run)
    expected = Reference(run.model, run.tokenizer_json, run.info).run(studies, frozenset({VectorKind.JOINT}))
    with (
        RunningServer(bundle_of(precision), "--allow-unverified", "--allow-untrained") as served,
        Client(served.address) as client,
    ):
        graded = client.grade(studies).results
        embedded = client.embed(studies, [VectorKind.JOINT]).results
        model = client.model()
    assert model.model.space_id == run.info.space_id
    vectors = np.asarray([result.embedding.vectors[0].values for result in embedded])
    cosine = (vectors * expected.joint_ND).sum(-1)
    # A few of the drawn eyes are ungradable to the check of photographs.
    told_N = np.asarray([bool(result.grade.graded.heads) for result in graded])
    assert told_N.mean() > 0.8
    probabilities = np.asarray(
        [[each.probability for each in result.grade.graded.heads[0].classes] for result in graded if result.grade.graded.heads]
    )
    assert probabilities.shape == (told_N.sum(), 5)
    if precision == "int8":
        assert cosine.min() >= 0.95
    else:
        assert np.abs(vectors - expected.joint_ND).max() <= 1e-4
        temperature = [run.info.calibration[name].temperature.get(ICDR, 1.0) for name in _names(studies)]
        wanted = softmax(expected.logits[ICDR] / np.asarray(temperature)[:, None])
        assert np.abs(probabilities - wanted[told_N]).max() <= 1e-3


def _names(studies: list[Study]) -> list[str]:
    from foveal_runtime.study.study import subset_name

    return [subset_name(study.modalities) for study in studies]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_verifies_alone_and_against_its_run(
    precision: str, bundle_of: Callable[[str], Path], tiny_run: Path, synth_spec: str
) -> None:
    foveal("verify", bundle_of(precision))
    foveal("verify", bundle_of(precision), "--run", tiny_run, "--data", synth_spec)


def test_export_leaves_a_finished_bundle_alone(bundle_of: Callable[[str], Path], tiny_run: Path) -> None:
    foveal("export", tiny_run, "--precision", "fp32", "--out", bundle_of("fp32"), code=2)


def test_grades_come_as_documented_json(server: RunningServer, synth_spec: str, tmp_path: Path) -> None:
    photograph = next(sample.image_path for sample in load(synth_spec).samples)
    assert photograph is not None
    answers: list[dict[str, Any]] = json.loads(
        foveal("grade", photograph, "--age", "61", "--diabetes-years", "12", "--address", server.address, "--json")
    )
    (answer,) = answers
    assert answer["file"] == str(photograph)
    assert answer["status"] == "OK"
    assert answer["icdr"]["grade"] == int(np.argmax(answer["icdr"]["probabilities"]))
    assert sum(answer["sdrg"]["probabilities"]) == pytest.approx(1.0, abs=1e-5)
    assert set(answer["referable"]) >= {"decision", "probability"}
    assert set(answer["imputed"]) == {"sex", "eye", "insulin", "diabetes"}


def test_an_indexed_photograph_is_found_again_and_a_second_run_adds_nothing(server: RunningServer, synth_spec: str) -> None:
    folder = Path(synth_spec.removeprefix("brset:")) / "fundus_photos"
    photographs = sorted(folder.glob("*.jpg"))
    first = json.loads(foveal("index", folder, "--address", server.address, "--json"))
    assert (first["stored"], first["failed"]) == (len(photographs), 0)
    again = json.loads(foveal("index", folder, "--address", server.address, "--json"))
    assert (again["stored"], again["already_stored"]) == (0, len(photographs))
    by_image = json.loads(foveal("search", "--image", photographs[0], "--k", "3", "--address", server.address, "--json"))
    assert len(by_image["hits"]) == 3
    assert by_image["hits"][0]["score"] == pytest.approx(1.0, abs=1e-2)
    by_text = json.loads(foveal("search", "Macular edema is present.", "--k", "5", "--address", server.address, "--json"))
    assert len(by_text["hits"]) == 5
