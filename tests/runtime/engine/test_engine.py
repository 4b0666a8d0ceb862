"""The engine: any mix of studies to vectors and logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import RECORD, golden_studies, open_engine, photograph, reference, weights, write_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.golden import read_golden
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.engine.session import available_providers
from foveal_runtime.errors import ConfigError, ImageError, StudyError, UntrainedError
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Modality, Record, Study

ALL = frozenset(VectorKind)


@pytest.fixture(scope="module")
def engine(bundle_path: Path) -> Engine:
    return open_engine(bundle_path)


def test_engine_agrees_with_an_independent_implementation(engine: Engine) -> None:
    w = weights(0)
    prepared = [engine.prepare(study) for study in golden_studies()]
    for item, outcome in zip(prepared, engine.run(prepared, kinds=ALL), strict=True):
        expected = reference(w, item, item.subset)
        np.testing.assert_allclose(outcome.vectors[VectorKind.JOINT], expected["joint"], atol=1e-5)
        np.testing.assert_allclose(outcome.logits[ICDR], expected["icdr"], atol=1e-3)
        for row, modality in enumerate(Modality):
            kind = VectorKind(modality.value)
            assert (kind in outcome.vectors) == (modality in item.subset)
            if modality in item.subset:
                alone = reference(w, item, frozenset({modality}))["cls"][row]
                np.testing.assert_allclose(outcome.vectors[kind], alone, atol=1e-5)


def test_vectors_are_unit(engine: Engine) -> None:
    (outcome,) = engine.run([engine.prepare(golden_studies()[-1])], kinds=ALL)
    for vector in outcome.vectors.values():
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


STUDIES = st.builds(
    Study,
    image=st.none() | st.integers(0, 5).map(photograph),
    note=st.none() | st.lists(st.sampled_from(["macula", "edema", "drusen", "the", "zebra"]), max_size=14).map(" ".join),
    record=st.none() | st.builds(Record, age_years=st.floats(0, 120), insulin=st.none() | st.booleans()),
).filter(lambda study: bool(study.modalities))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(study=STUDIES, neighbours=st.lists(STUDIES, max_size=7), place=st.integers(0, 7))
def test_an_answer_does_not_depend_on_its_neighbours(engine: Engine, study: Study, neighbours: list[Study], place: int) -> None:
    batch = [*neighbours[:place], study, *neighbours[place:]]
    index = len(neighbours[:place])
    alone = engine.run([engine.prepare(study)], kinds=ALL)[0]
    together = engine.run([engine.prepare(s) for s in batch], kinds=ALL)[index]
    assert alone.vectors.keys() == together.vectors.keys()
    for kind, vector in alone.vectors.items():
        assert np.abs(vector - together.vectors[kind]).max() <= 1e-4
    for head, logits in alone.logits.items():
        assert np.abs(logits - together.logits[head]).max() <= 1e-3


def test_a_graph_marked_one_at_a_time_never_sees_a_second_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(write_bundle(tmp_path / "b", one_at_a_time=("text", "fusion")))
    rows: dict[str, list[int]] = {}
    for name, session in list(engine._sessions.items()):

        def spy(feeds, session=session, name=name):
            rows.setdefault(name, []).append(len(next(iter(feeds.values()))))
            return session(feeds)

        spy.one_at_a_time = session.one_at_a_time
        engine._sessions[name] = spy
    engine.run([engine.prepare(s) for s in golden_studies()], kinds=ALL)
    assert set(rows["text"]) == {1}
    assert set(rows["fusion"]) == {1}
    assert rows["image"] == [4]


def test_an_encoder_runs_only_on_rows_that_have_its_modality(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    for name, session in list(engine._sessions.items()):

        def spy(feeds, session=session, name=name):
            called.append(name)
            return session(feeds)

        spy.one_at_a_time = session.one_at_a_time
        monkeypatch.setitem(engine._sessions, name, spy)
    engine.run([engine.prepare(Study(record=RECORD))])
    assert called == ["structured", "fusion"]


def test_imputed_fields_and_truncation_are_reported(engine: Engine) -> None:
    study = Study(note="macula " * 50, record=Record(age_years=40.0))
    (outcome,) = engine.run([engine.prepare(study)])
    assert outcome.truncated
    assert outcome.imputed == ("sex", "eye", "diabetes_years", "insulin", "diabetes")


def test_untrained_subset_is_refused(tmp_path: Path) -> None:
    engine = open_engine(write_bundle(tmp_path / "b", trained_subsets=("image", "image+text"), aligned=(Modality.IMAGE,)))
    with pytest.raises(UntrainedError, match="structured"):
        engine.run([engine.prepare(Study(record=RECORD))])
    with pytest.raises(UntrainedError, match="'text'"):
        engine.run([engine.prepare(Study(note="macula"))], kinds=frozenset({VectorKind.TEXT}), grade=False)


def test_an_aligned_modality_embeds_alone_even_where_it_does_not_grade(tmp_path: Path) -> None:
    engine = open_engine(write_bundle(tmp_path / "b", trained_subsets=("image",), aligned=(Modality.IMAGE, Modality.TEXT)))
    item = engine.prepare(Study(note="macula"))
    (outcome,) = engine.run([item], kinds=frozenset({VectorKind.TEXT}), grade=False)
    assert set(outcome.vectors) == {VectorKind.TEXT}
    assert outcome.logits == {}
    with pytest.raises(UntrainedError):
        engine.run([item])


def test_an_untrained_head_gives_no_number(tmp_path: Path) -> None:
    engine = open_engine(write_bundle(tmp_path / "b", trained_heads=(ICDR,)))
    (outcome,) = engine.run([engine.prepare(golden_studies()[0])])
    assert set(outcome.logits) == {ICDR}
    without = open_engine(write_bundle(tmp_path / "c", trained_heads=()))
    with pytest.raises(UntrainedError, match="head"):
        without.run([without.prepare(golden_studies()[0])])


@pytest.mark.parametrize(
    ("study", "error"),
    [(Study(), StudyError), (Study(image=b"not a photograph"), ImageError), (Study(image=photograph()[:900]), ImageError)],
)
def test_a_bad_study_is_refused_when_prepared(engine: Engine, study: Study, error: type[Exception]) -> None:
    with pytest.raises(error):
        engine.prepare(study)


def test_a_missing_provider_is_named_with_those_there_are(bundle_path: Path) -> None:
    if "cuda" in available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ConfigError, match=r"'cuda' is not in the installed ONNX Runtime, which has cpu"):
        Engine(Bundle.open(bundle_path), provider="cuda")
    with pytest.raises(ConfigError, match="no provider 'tpu'"):
        Engine(Bundle.open(bundle_path), provider="tpu")


def test_golden_replay_passes_on_the_machine_that_wrote_it(engine: Engine) -> None:
    report = self_test(engine)
    assert report.passed, report.failures
    assert report.studies == 7
    assert report.neighbour_dependence <= 1e-4


def test_golden_replay_fails_when_the_logits_moved(tmp_path: Path) -> None:
    report = self_test(open_engine(write_bundle(tmp_path / "b", golden_shift=3.0)))
    assert not report.passed
    assert {drift.quantity for drift in report.failures} >= {"probability.icdr"}


def test_golden_replay_fails_on_another_machines_vectors(engine: Engine, tmp_path: Path) -> None:
    other = read_golden(Bundle.open(write_bundle(tmp_path / "b", seed=1)))
    report = self_test(engine, other)
    assert not report.passed
    assert report.min_cosine < 0.9
