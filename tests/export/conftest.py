"""A run for export's tests: the tiny profile on a small generated data set, never trained, and its bundles, made once."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from once import made_once

from foveal_export.bundle import golden
from foveal_export.graphs import graphs, text_optimum
from foveal_export.graphs.twins import Attend
from foveal_export.parity.budget import DEFAULTS
from foveal_export.pipeline import export_run
from foveal_export.planning import Request
from foveal_export.result import Exported
from foveal_runtime.bundle.manifest import Precision, Target
from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import SCHEMES
from foveal_runtime.study.record import FeatureStats
from foveal_runtime.study.study import ALL_SUBSETS, Modality, Study, Subset, subset_name
from foveal_train.data import load, split_patients
from foveal_train.data.synthetic.writer import synthesise
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import ModelConfig, profile
from foveal_train.model.weights import build_model
from foveal_train.runs.run import SPLIT_FILE, RunInfo, space_id, write_json, write_run


class Quiet:
    """A reporter that says nothing."""

    def stage(self, name: str) -> None:
        """Nothing."""


Traced = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="session")
def traced(shared: Path) -> Traced:
    """`export_graph` that traces each graph of a model once a test run: tracing is most of an export's time."""
    original = graphs.export_graph

    def remembered(model: MultimodalModel, config: ModelConfig, name: str, how: Attend = Attend.FUSED) -> onnx.ModelProto:
        weights = float(sum(p.detach().double().sum() for p in model.parameters()))
        key = hashlib.sha256(f"{weights} {config} {name} {how}".encode()).hexdigest()[:16]
        made = made_once(
            shared, f"graph-{name}-{key}", lambda folder: onnx.save(original(model, config, name, how), folder / "graph.onnx")
        )
        return onnx.load(made / "graph.onnx")

    return remembered


@pytest.fixture(scope="session", autouse=True)
def remembered(traced: Traced) -> Iterator[None]:
    """Exports of this session take traced graphs, and golden studies that are drawn once."""
    draw, drawn = golden.golden_studies, dict[str, tuple[Study, ...]]()

    def golden_studies(subsets: tuple[Subset, ...], *, seed: int = 20, images: Path | None = None) -> tuple[Study, ...]:
        key = f"{[subset_name(subset) for subset in subsets]} {seed} {images}"
        if images is not None or key not in drawn:
            drawn[key] = draw(subsets, seed=seed, images=images)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "export_graph", traced)
        patch.setattr(golden, "golden_studies", golden_studies)
        yield


@pytest.fixture(scope="session")
def exported_once(shared: Path, tiny_run: Path, remembered: None) -> Callable[..., Exported]:
    """Exports `tiny_run` with what is given, or says what an equal export of this test run gave. Its bundle is not changed."""

    def export(name: str, precision: Precision, **changes: object) -> Exported:
        def make(folder: Path) -> None:
            request = Request(
                run=tiny_run,
                out=folder / name,
                precision=precision,
                budget=DEFAULTS[precision],
                **changes,  # type: ignore[arg-type]
            )
            (folder / "exported.pickle").write_bytes(pickle.dumps(export_run(request, Quiet())))

        made: Exported = pickle.loads((made_once(shared, f"exported-{name}", make) / "exported.pickle").read_bytes())
        return made

    return export


@pytest.fixture(scope="session")
def fp32(exported_once: Callable[..., Exported]) -> Exported:
    """The FP32 bundle."""
    return exported_once("fp32", Precision.FP32)


@pytest.fixture(scope="session")
def int8(exported_once: Callable[..., Exported]) -> Exported:
    """The INT8 bundle, its plan chosen."""
    return exported_once("int8", Precision.INT8)


@pytest.fixture(scope="session")
def for_tensorrt(exported_once: Callable[..., Exported]) -> Callable[[Precision], Exported]:
    """A bundle for TensorRT, which has not seen it."""

    def export(precision: Precision) -> Exported:
        return exported_once(f"tensorrt-{precision.value}", precision, target=Target.TENSORRT)

    return export


@pytest.fixture(scope="session")
def optimum() -> None:
    """Skips where Optimum's exporter can't be used, as beside transformers 5."""
    try:
        text_optimum.require()
    except ConfigError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def tiny_run(shared: Path) -> Path:
    """A run folder whose data, split and weights are real in form."""
    return made_once(shared, "untrained", _write_untrained) / "run"


def _write_untrained(root: Path) -> None:
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
        trained_heads=SCHEMES,
        trained_subsets=tuple(subset_name(s) for s in ALL_SUBSETS),
        aligned=tuple(Modality),
        space_id=space_id(built.model, built.config, features, built.tokenizer_json),
    )
    run = root / "run"
    write_run(run, info, built.model, built.tokenizer_json)
    parts = split_patients(load(spec).samples, fractions=(0.5, 0.25, 0.25))
    write_json(run / SPLIT_FILE, {name: [s.id for s in getattr(parts, name)] for name in ("train", "validation", "test")})
