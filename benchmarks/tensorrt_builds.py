"""TensorRT's own parser and builder on every profile: refused nodes, layers, engine sizes, build times. Needs no GPU.

    python benchmarks/tensorrt_builds.py --json benchmarks/results/tensorrt_builds.json

Graphs are written as `foveal export --target tensorrt` writes them, with its profiles. Weights of `base` and `tiny` are random,
and INT8 takes the least and largest value of a few studies as its ranges, where an export compares rules: neither the parser
nor sizes depend on either. Build times are of one build each, beside whatever else the machine does.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import onnx
from cyclopts import Parameter

from export_speed import measurable
from foveal_export.bundle.golden import golden_studies
from foveal_export.graphs import observers
from foveal_export.graphs.blocks import blocks
from foveal_export.graphs.graphs import export_graph
from foveal_export.graphs.twins import Attend
from foveal_export.planning import engine_shapes
from foveal_export.quantise import calibrate
from foveal_export.quantise.int8 import activations
from foveal_export.quantise.plan import GraphPlan, Mode, RangeRule
from foveal_export.studies.cases import Case
from foveal_export.studies.feeds import Feeds
from foveal_export.tensorrt.architectures import Architecture
from foveal_export.tensorrt.engines import build_all, sizes
from foveal_export.tensorrt.parser import version
from foveal_export.tensorrt.typed import overflowing, to_tensorrt, to_typed_half
from foveal_runtime.bundle.manifest import FUSION, Precision, ShapeRange
from foveal_runtime.errors import CheckFailed
from foveal_runtime.study.labels import SCHEMES
from foveal_runtime.study.record import FeatureStats
from foveal_runtime.study.study import ALL_SUBSETS, Modality
from foveal_train.model.blocks import FLOAT_BLOCKS
from foveal_train.model.weights import build_model
from foveal_train.runs.reference import Reference
from foveal_train.runs.run import RunInfo

app = cyclopts.App(help=__doc__)
PROFILES = ("tiny", "edge", "base")
NAMES = (*(modality.value for modality in Modality), FUSION)


@app.default
def main(
    *,
    profiles: str = "tiny,edge,base",
    engines: str = "sm75,sm86,sm89,sm120",
    json_: Annotated[Path | None, Parameter(name=["--json"])] = None,
) -> None:
    """Build.

    Parameters
    ----------
    profiles
        Of tiny, edge and base.
    engines
        Architectures.
    json_
        Write the figures here.
    """
    architectures = tuple(Architecture(name) for name in engines.split(","))
    for profile in profiles.split(","):
        rows = _profile(profile, architectures)
        for row in rows:
            print(row["profile"], row["precision"], row["refused"] or row["engine_bytes"], flush=True)
        if json_ is not None:
            _write(json_, profile, rows)


def _write(path: Path, profile: str, rows: list[dict[str, Any]]) -> None:
    """The file with `rows` in place of those it has of the profile: `base` takes long enough to be run alone."""
    known = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    rows = sorted([*(row for row in known if row["profile"] != profile), *rows], key=lambda row: PROFILES.index(row["profile"]))
    document = {
        "parser": version(),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "asked": sum(len(row["asked"]) for row in rows),
        "built": sum(len(row["asked"]) for row in rows if not row["refused"]),
        "rows": rows,
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _profile(profile: str, architectures: tuple[Architecture, ...]) -> list[dict[str, Any]]:
    built = build_model(measurable(profile), seed=0)
    built.model.eval()
    info = RunInfo(
        foveal_version="", recipe={}, model=built.config, data=(), seed=0, features=FeatureStats(), trained_heads=SCHEMES,
        trained_subsets=("image+text+structured",), space_id="",
    )  # fmt: skip
    reference = Reference(built.model, built.tokenizer_json, info)
    studies = [study for study in golden_studies(ALL_SUBSETS) if len(study.modalities) == 3]
    cases = [Case(id=study.id, prepared=reference.prepare(study)) for study in studies]
    exact = {name: export_graph(built.model, built.config, name, Attend.PLAIN) for name in NAMES}
    profiles = engine_shapes(NAMES, built.model, built.config)
    feeds = Feeds(exact, cases, ALL_SUBSETS[-1:])
    del built, reference
    wide = {name: overflowing(exact[name], feeds.of(name)) for name in NAMES}
    half = {name: to_typed_half(exact[name], wide[name]) for name in NAMES}
    quantised = {
        name: to_tensorrt(exact[name], _plan(name, exact[name], feeds.of(name), wide[name]), Precision.INT8) for name in NAMES
    }
    return [
        _row(profile, precision, graphs, profiles, architectures)
        for precision, graphs in ((Precision.FP16, half), (Precision.INT8, quantised))
    ]


def _plan(name: str, proto: onnx.ModelProto, feeds: Sequence[observers.Feeds], wide: tuple[str, ...]) -> GraphPlan:
    """INT8 as an export plans it, without the comparison of rules."""
    if name == Modality.STRUCTURED:
        return GraphPlan(mode=Mode.FLOAT, symmetric=True, wide=wide)
    is_cnn = sum(node.op_type == "Conv" for node in proto.graph.node) > 1
    keep = tuple(block.name for block in blocks(proto)[:FLOAT_BLOCKS]) if is_cnn else ()
    seen = observers.observe(proto, activations(proto), feeds)
    found = calibrate.ranges(seen, RangeRule.MINMAX, symmetric=True)
    return GraphPlan(mode=Mode.STATIC, symmetric=True, wide=wide, keep=keep, ranges=found)


def _row(
    profile: str,
    precision: Precision,
    graphs: Mapping[str, onnx.ModelProto],
    profiles: Mapping[str, Mapping[str, ShapeRange]],
    architectures: tuple[Architecture, ...],
) -> dict[str, Any]:
    """One profile at one precision: what was built, or the words with which it was refused."""
    asked = [architecture.value for architecture in architectures]
    row: dict[str, Any] = {"profile": profile, "precision": precision.value, "asked": asked, "refused": []}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in graphs}
        for name, proto in graphs.items():
            files[name].write_bytes(proto.SerializeToString())
        row["onnx_bytes"] = {name: path.stat().st_size for name, path in files.items()}
        begun = time.perf_counter()
        try:
            made = build_all(files, profiles, architectures)
        except CheckFailed as error:
            return row | {"refused": [str(error)]}
        row["seconds"] = round(time.perf_counter() - begun, 1)
    return row | {"engine_bytes": sizes(made), "graphs": made["graphs"]}


if __name__ == "__main__":
    app()
