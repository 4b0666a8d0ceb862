"""A model repository of Triton's: its files, and its model with Triton's part played by ONNX Runtime over the same files.

tests/e2e/test_triton.py (slow) asks Triton itself; what stands in for it here is its Python backend's interface alone.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from bundles import SIDE_PX, D, photograph, write_bundle
from commands import foveal, one_line

from foveal_export.triton import check_layout, write_repository
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.engine.engine import Engine
from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import ICDR, SCHEME_CLASSES
from foveal_runtime.study.study import Study

HEADS = {**SCHEME_CLASSES, "haze": ("clear", "hazy", "opaque")}


@dataclass
class PlayedTensor:
    """Triton's `Tensor`."""

    name: str
    values: np.ndarray

    def as_numpy(self) -> np.ndarray:
        return self.values


@dataclass
class Played:
    """Triton's `triton_python_backend_utils` over a repository; counts calls of each graph."""

    repository: Path
    called: list[str] = field(default_factory=list)
    broken: str = ""

    def module(self) -> ModuleType:
        made: Any = ModuleType("triton_python_backend_utils")
        played = self

        class InferenceRequest:
            def __init__(self, *, model_name: str, requested_output_names: list[str], inputs: list[PlayedTensor]) -> None:
                self._model, self._names, self._inputs = model_name, requested_output_names, inputs

            def exec(self) -> Any:
                played.called.append(self._model)
                if self._model == played.broken:
                    return SimpleNamespace(has_error=lambda: True)
                session = onnxruntime.InferenceSession(played.repository / self._model / "1" / "model.onnx")
                found = session.run(self._names, {each.name: each.values for each in self._inputs})
                outputs = [PlayedTensor(name, values) for name, values in zip(self._names, found, strict=True)]
                return SimpleNamespace(has_error=lambda: False, outputs=outputs)

        made.Tensor, made.InferenceRequest = PlayedTensor, InferenceRequest
        made.TritonError = SimpleNamespace
        made.TritonError = lambda message: SimpleNamespace(message=message)
        made.InferenceResponse = lambda output_tensors, error=None: SimpleNamespace(outputs=output_tensors, error=error)
        made.get_output_tensor_by_name = lambda response, name: next(x for x in response.outputs if x.name == name)
        made.get_input_tensor_by_name = lambda request, name: next((x for x in request.inputs if x.name == name), None)
        return made


@dataclass
class Asked:
    """Triton's request."""

    inputs: list[PlayedTensor]
    names: list[str]

    def requested_output_names(self) -> list[str]:
        return self.names


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "b", heads=HEADS)


@pytest.fixture(scope="module")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("triton") / "repository"
    write_repository(bundle, target)
    return target


def model(
    repository: Path, monkeypatch: pytest.MonkeyPatch, *, evidence: str = "proven", broken: str = ""
) -> tuple[Any, Played]:
    """The model as Triton would start it."""
    played = Played(repository, broken=broken)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", played.module())
    spec = importlib.util.spec_from_file_location("triton_model", repository / "foveal" / "1" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.TritonPythonModel()
    config = {"parameters": {"evidence": {"string_value": evidence}}}
    made.initialize({"model_repository": str(repository / "foveal"), "model_version": "1", "model_config": json.dumps(config)})
    return made, played


def texts(*values: bytes) -> np.ndarray:
    return np.array(values, dtype=np.object_)


def test_graphs_and_their_axes_are_told_to_triton(repository: Path) -> None:
    folders = sorted(path.name for path in repository.iterdir())
    assert folders == ["foveal", "foveal_fusion", "foveal_image", "foveal_structured", "foveal_text"]
    image = (repository / "foveal_image" / "config.pbtxt").read_text()
    assert f'name: "pixels_BCHW" data_type: TYPE_FP32 dims: [ 3, {SIDE_PX}, {SIDE_PX} ]' in image
    assert "max_batch_size: 16" in image
    fusion = (repository / "foveal_fusion" / "config.pbtxt").read_text()
    assert f'name: "tokens_BTD" data_type: TYPE_FP32 dims: [ -1, {D} ]' in fusion
    assert 'name: "mask_BT" data_type: TYPE_BOOL dims: [ -1 ]' in fusion
    assert 'name: "haze_BG" data_type: TYPE_FP32 dims: [ 3 ]' in fusion
    whole = (repository / "foveal" / "config.pbtxt").read_text()
    assert whole.count("optional: true") == 9
    assert 'name: "haze_probabilities" data_type: TYPE_FP64 dims: [ -1, 4 ]' in whole
    for path in repository.glob("*/config.pbtxt"):
        text = path.read_text()
        assert re.search(rf'^name: "{path.parent.name}"$', text, re.MULTILINE)
        assert text.count("{") == text.count("}")
        assert text.count("[") == text.count("]")


def test_every_subset_is_graded_as_by_the_engine_and_one_bad_study_hurts_no_other(
    repository: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, played = model(repository, monkeypatch)
    images, notes = texts(photograph(1), b"", b"no photograph", photograph(2)), texts(b"", b"macula", b"", b"macula edema")
    names = ["verdict", "referral", "icdr_probabilities", "haze_probabilities", "vector_joint"]
    (response,) = made.execute([Asked([PlayedTensor("image", images), PlayedTensor("note", notes)], names)])
    assert response.error is None
    got = {each.name: each.values for each in response.outputs}
    assert list(got) == names
    assert [each.decode() for each in got["verdict"]] == ["graded", "graded", "error", "graded"]
    studies = [Study(image=photograph(1)), Study(note="macula"), Study(image=photograph(2), note="macula edema")]
    engine = Engine(Bundle.open(bundle), threads=1)
    expected = engine.run([engine.prepare(study) for study in studies], kinds=frozenset())
    for row, outcome in zip((0, 1, 3), expected, strict=True):
        calibration = engine.manifest.calibration.get("image" if row == 0 else "", None)
        probabilities = (
            calibration.probabilities(ICDR, outcome.logits[ICDR])
            if calibration is not None
            else np.exp(outcome.logits[ICDR]) / np.exp(outcome.logits[ICDR]).sum()
        )
        np.testing.assert_allclose(got["icdr_probabilities"][row], [*probabilities, 0.0], atol=1e-5)
    assert got["icdr_probabilities"][2].tolist() == [0, 0, 0, 0, 0, 1]
    assert np.isnan(got["vector_joint"][2]).all()
    assert {"foveal_image", "foveal_text", "foveal_structured", "foveal_fusion"} == set(played.called), "the self-test has all"


def test_nothing_is_answered_by_graphs_that_do_not_answer_as_pytorch_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shifted = write_bundle(tmp_path / "b", golden_shift=3.0)
    write_repository(shifted, tmp_path / "repository")
    made, _ = model(tmp_path / "repository", monkeypatch)
    (response,) = made.execute([Asked([PlayedTensor("image", texts(photograph(1)))], ["verdict"])])
    assert "self-test failed" in response.error.message
    assert not response.outputs


def test_a_request_that_is_none_and_a_graph_that_fails_are_errors_without_what_was_sent(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, played = model(repository, monkeypatch)
    (response,) = made.execute([Asked([PlayedTensor("sex", texts(b"Miller"))], ["verdict"])])
    assert "none of male, female" in response.error.message
    assert "Miller" not in response.error.message
    played.broken = "foveal_fusion"
    (response,) = made.execute([Asked([PlayedTensor("note", texts(b"macula"))], ["verdict"])])
    assert "foveal_fusion failed" in response.error.message


def test_grades_that_nothing_shows_are_withheld_unless_the_configuration_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_repository(write_bundle(tmp_path / "b", evidence=Evidence.UNVERIFIED), tmp_path / "repository")
    asked = Asked([PlayedTensor("image", texts(photograph(1)))], ["verdict", "reason"])
    (response,) = model(tmp_path / "repository", monkeypatch)[0].execute([asked])
    assert [each.values.tolist() for each in response.outputs] == [[b"error"], [b"UNVERIFIED"]]
    (response,) = model(tmp_path / "repository", monkeypatch, evidence="proven,unverified")[0].execute([asked])
    assert response.outputs[0].values.tolist() == [b"graded"]


def test_a_repository_is_replaced_by_force_alone_and_nothing_else_ever(repository: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="replace it with --force"):
        check_layout(repository, force=False)
    write_repository(bundle, repository, force=True)
    (tmp_path / "photographs").mkdir()
    with pytest.raises(ConfigError, match="no model repository"):
        check_layout(tmp_path / "photographs", force=True)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--layout", "openvino"), "choose one of bundle, triton"),
        (("--layout", "triton", "--target", "tensorrt"), "a plan is for one GPU"),
        (("--layout", "triton", "--target", "tensorrt", "--keep-engines", "--engines", "sm86,sm89"), "a plan is for one GPU"),
    ],
)
def test_what_can_not_be_laid_out_is_refused_before_anything_is_exported(
    tiny_run: Path, tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    done = foveal("export", str(tiny_run), "--precision", "fp16", "--out", str(tmp_path / "bundle"), *flags)
    assert says in one_line(done.stderr)
    assert not list(tmp_path.iterdir())
