"""The report: one self-contained page that says what the figures do and do not mean, and `foveal evaluate` that writes it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import fits_and_is_accessible
from graded import Trained, make_arrays, make_samples

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.record import FeatureStats
from foveal_runtime.study.study import Modality
from foveal_train.cli import evaluate
from foveal_train.evaluation import evaluate_arrays, page, plots
from foveal_train.evaluation.mistakes import worst_graded
from foveal_train.evaluation.report import html, write_html
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import profile
from foveal_train.runs.predict import predict
from foveal_train.runs.run import RunInfo

VOID = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Collects text and checks that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def metrics(tiny: tuple[MultimodalModel, NoteTokeniser]) -> dict[str, Any]:
    arrays = make_arrays(make_samples(60), tiny[1])
    found = evaluate_arrays(tiny[0], arrays, Trained(), tokenise=tiny[1], bootstrap=20)
    return {"split": "test", "run": "a <b>run</b>", "data": ["brset:x"], **found}


@pytest.fixture(scope="module")
def info() -> RunInfo:
    return RunInfo(
        foveal_version="0", recipe={"name": "edge"}, model=profile("tiny"), data=("brset:x",), seed=0, features=FeatureStats(),
        trained_heads=(), trained_subsets=(), space_id="ab" * 32, best_epoch=2, epochs=2,
    )  # fmt: skip


HISTORY = [
    {"epoch": e, "train": {"loss": 1 / e}, "validation": {"loss": 2 / e}, "weights": {}, "learning_rates": [0.1]}
    for e in (1, 2)
]


def text_of(document: str) -> str:
    parser = Balance()
    parser.feed(document)
    assert parser.open == []
    return " ".join(" ".join(parser.text).split())


@pytest.fixture(scope="module")
def document(metrics: dict[str, Any], info: RunInfo) -> str:
    return html(metrics, info, HISTORY)


def test_page_is_well_formed_self_contained_and_escapes_names(document: str) -> None:
    text = text_of(document)
    assert "<b>run</b>" not in document.replace("&lt;b&gt;run&lt;/b&gt;", "")
    assert "a <b>run</b>" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)', document)
    assert document.count("data:image/svg+xml;base64,") >= 5


def test_page_says_what_the_figures_do_and_do_not_mean(metrics: dict[str, Any], document: str) -> None:
    text = text_of(document)
    for expected in (
        "always grade 0", "balanced accuracy", "quadratic kappa", "the note names the label", "at most the ceiling",
        "best a note alone can do", "leaked into the text vector", "Confusion matrices", "ECE before", "resampling patients",
        "In words", "kept",
    ):  # fmt: skip
        assert expected in text, expected
    for warning in metrics["warnings"]:
        assert warning in text


def test_page_without_history_text_or_subgroups_still_stands(
    tiny: tuple[MultimodalModel, NoteTokeniser], info: RunInfo, tmp_path: Path
) -> None:
    samples = [replace(s, note="", note_without_dr="", record=None, findings=(), camera="") for s in make_samples(24)]
    trained = Trained(subsets=(frozenset({Modality.IMAGE}),), aligned=())
    found = evaluate_arrays(tiny[0], make_arrays(samples, tiny[1]), trained, tokenise=tiny[1], bootstrap=0)
    write_html(tmp_path / "report.html", found, info)
    text = text_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Retrieval" not in text.split("Method")[0]
    assert "no sex, age, eye or camera" in text
    assert "= photograph alone" in text
    assert not list(tmp_path.glob("*.part"))


def test_same_metrics_give_the_same_drawing(metrics: dict[str, Any]) -> None:
    assert plots.recalls(metrics["retrieval"]) == plots.recalls(metrics["retrieval"])


def test_undefined_figures_are_a_dash_with_their_reason() -> None:
    cell = page.cell({"value": None, "interval": None, "n": 0, "reason": "no study of grade <4>"})
    assert "–" in cell
    assert "no study of grade &lt;4&gt;" in cell
    assert "no interval" in page.cell({"value": 0.5, "interval": None, "n": 3, "reason": "3 patients are too few"})
    assert page.cell({"value": -0.0312, "interval": [-0.1, 0.05], "n": 9}, share=False).startswith("<b>−0.031</b>")


@pytest.fixture(scope="module")
def own_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in a folder that may be written into."""
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp("runs") / "tiny")


def test_evaluate_writes_metrics_and_report_into_the_run(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.evaluate(own_run, json_=True, bootstrap=20)
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((own_run / "metrics.json").read_text(encoding="utf-8"))
    assert printed == written
    assert printed["split"] == "test"
    assert printed["studies"] > 0
    assert (own_run / "report.html").is_file()


def test_evaluate_on_named_data_leaves_out_what_was_seen_and_the_runs_own_report_alone(
    own_run: Path, synth_spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (own_run / "metrics.json").read_bytes()
    evaluate.evaluate(own_run, data=[synth_spec], json_=True, bootstrap=0)
    found = json.loads(capsys.readouterr().out)
    own = json.loads(before)
    assert found["studies"] == own["studies"]
    assert found["seen"] > 0
    assert (own_run / "metrics.json").read_bytes() == before
    assert (own_run / "evaluation-brset-synth" / "report.html").is_file()


def test_a_negative_number_of_replicates_is_refused() -> None:
    with pytest.raises(ConfigError, match="--bootstrap"):
        evaluate.evaluate(bootstrap=-1)


def test_the_worst_graded_photographs_are_shown_where_they_are_asked_for(
    tiny: tuple[MultimodalModel, NoteTokeniser], info: RunInfo, metrics: dict[str, Any], document: str
) -> None:
    arrays = make_arrays(make_samples(24), tiny[1])
    trained = Trained(subsets=(frozenset({Modality.IMAGE}),), aligned=())
    worst = worst_graded(tiny[0], arrays, trained, 3)
    answers = predict(tiny[0], arrays, subset=frozenset({Modality.IMAGE}))
    far = np.abs(arrays.labels[ICDR][answers.rows] - answers.logits[ICDR].argmax(1))
    assert [abs(one.truth - one.answer) for one in worst] == sorted(far, reverse=True)[:3]
    assert "data:image/jpeg" not in document
    shown = html(metrics, info, HISTORY, mistakes=worst)
    assert shown.count("data:image/jpeg") == 3
    assert f"reader: {worst[0].truth}" in text_of(shown)
    assert worst_graded(tiny[0], arrays, Trained(subsets=(), aligned=()), 3) == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_fits_a_telephone_and_the_dark(tmp_path: Path, document: str, width: int, scheme: str) -> None:
    (tmp_path / "report.html").write_text(document, encoding="utf-8")
    fits_and_is_accessible(tmp_path / "report.html", width, scheme)
