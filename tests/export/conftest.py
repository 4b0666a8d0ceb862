"""A run for export's tests: the tiny profile on a small generated data set, never trained, written once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from foveal_export.graphs import graphs, text_optimum
from foveal_export.graphs.twins import Attend
from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import Head
from foveal_runtime.study.record import FeatureStats
from foveal_runtime.study.study import ALL_SUBSETS, Modality, subset_name
from foveal_train.data import load, split_patients
from foveal_train.data.synthetic.writer import synthesise
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import ModelConfig, profile
from foveal_train.model.weights import build_model
from foveal_train.runs.run import SPLIT_FILE, RunInfo, space_id, write_json, write_run


@pytest.fixture(scope="session", autouse=True)
def remembered_graphs() -> Iterator[None]:
    """Trace each graph of a model once a session: tracing is most of an export's time, and test_graphs tests it afresh."""
    original, known = graphs.export_graph, dict[tuple[str, ...], onnx.ModelProto]()

    def remembered(model: MultimodalModel, config: ModelConfig, name: str, how: Attend = Attend.FUSED) -> onnx.ModelProto:
        key = (str(float(sum(p.detach().double().sum() for p in model.parameters()))), config.profile, name, how.value)
        if key not in known:
            known[key] = original(model, config, name, how)
        return known[key]

    patch = pytest.MonkeyPatch()
    patch.setattr(graphs, "export_graph", remembered)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def optimum() -> None:
    """Skips where Optimum's exporter can't be used, as beside transformers 5."""
    try:
        text_optimum.require()
    except ConfigError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose data, split and weights are real in form."""
    root = tmp_path_factory.mktemp("export")
    synthesise(root / "data", patients=24, seed=3, side_px=128, balanced=True)
    spec = f"brset:{root / 'data'}"
    built = build_model(profile("tiny"), seed=0)
    features = FeatureStats()
    info = RunInfo(
        foveal_version="0.1.0",
        recipe={"profile": "tiny"},
        model=built.config,
        data=(spec,),
        seed=0,
        features=features,
        trained_heads=tuple(Head),
        trained_subsets=tuple(subset_name(s) for s in ALL_SUBSETS),
        aligned=tuple(Modality),
        space_id=space_id(built.model, built.config, features, built.tokenizer_json),
    )
    run = root / "run"
    write_run(run, info, built.model, built.tokenizer_json)
    parts = split_patients(load(spec).samples, fractions=(0.5, 0.25, 0.25))
    write_json(run / SPLIT_FILE, {name: [s.id for s in getattr(parts, name)] for name in ("train", "validation", "test")})
    return run
