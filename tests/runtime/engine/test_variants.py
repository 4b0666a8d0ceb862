"""Variants of a graph: which one a machine serves, what `foveal compile` chooses, and that each is checked as all are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundles import add_variant, golden_studies, open_engine, write_bundle
from commands import foveal
from servers import RunningServer

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Cpu, Precision
from foveal_runtime.engine import compiler
from foveal_runtime.engine.compiled import find_compiled
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.processor import Feature, Level, Processor
from foveal_runtime.engine.providers import Provider
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.engine.session import require_processor
from foveal_runtime.engine.variants import eligible, fastest, safe, served
from foveal_runtime.errors import BundleError, CheckFailed, ConfigError

AVX2 = Processor(machine="x86_64", level=Level.V3, features=frozenset({Feature.AVX2}))
VNNI = Processor(machine="x86_64", level=Level.V3, features=frozenset({Feature.AVX2, Feature.AVX_VNNI}))
ARM = Processor(machine="aarch64")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    return write_bundle(tmp_path / "bundle")


def _int8(path: Path, cpu: Cpu) -> None:
    """Make the manifest say that the bundle's own graphs are INT8."""
    document = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(document | {"precision": Precision.INT8, "cpu": cpu}))


def test_a_bundle_with_one_file_a_graph_is_served_as_it_is(path: Path) -> None:
    bundle = Bundle.open(path)
    assert served(bundle, Provider.CPU) is bundle
    assert bundle.manifest.variants == {}


def test_the_safe_file_follows_from_the_class_of_the_processor(path: Path) -> None:
    add_variant(path, "image", "int8", cpu=Cpu.VNNI)
    add_variant(path, "image", "fp32", cpu=Cpu.ANY)
    add_variant(path, "image", "fp16-typed", cpu=Cpu.ANY, for_gpu=True)
    _int8(path, Cpu.ANY)
    bundle = Bundle.open(path)
    assert safe(bundle, Provider.CPU, VNNI) == {"image": "int8"}
    assert safe(bundle, Provider.CPU, AVX2) == {"image": "int8-reduced"}
    assert safe(bundle, Provider.CPU, ARM) == {"image": "int8-reduced"}
    assert safe(bundle, Provider.CUDA, AVX2) == {"image": "fp16-typed"}
    assert eligible(bundle, Provider.CPU, AVX2).keys() == {"int8-reduced", "fp32"}
    assert eligible(bundle, Provider.CPU, VNNI).keys() == {"int8-reduced", "int8", "fp32"}
    on_vnni = served(bundle, Provider.CPU, processor=VNNI)
    assert on_vnni.manifest.graphs["image"].file == "image.int8.onnx"
    assert on_vnni.manifest.runs_on is Cpu.VNNI
    assert served(bundle, Provider.CPU, processor=AVX2).manifest.runs_on is Cpu.ANY


def test_a_bundle_for_vnni_is_served_elsewhere_by_what_is_right_there(path: Path) -> None:
    _int8(path, Cpu.VNNI)
    for graph in ("image", "structured"):
        add_variant(path, graph, "fp32", cpu=Cpu.ANY)
    refused = served(Bundle.open(path), Provider.CPU, processor=AVX2)
    assert refused.served == {"image": "fp32", "structured": "fp32"}
    with pytest.raises(ConfigError, match="without --cpu vnni"):  # text and fusion have no other file
        require_processor(refused.manifest, Provider.CPU, AVX2)
    document = json.loads((path / "manifest.json").read_text())
    for graph in ("text", "fusion"):
        document["graphs"][graph]["cpu"] = "any"
    (path / "manifest.json").write_text(json.dumps(document))
    require_processor(served(Bundle.open(path), Provider.CPU, processor=AVX2).manifest, Provider.CPU, AVX2)


def test_the_fastest_file_of_each_graph_has_to_gain_something() -> None:
    ms = {"int8": {"image": 10.0, "fusion": 2.0}, "fp32": {"image": 8.0, "fusion": 1.95}}
    assert fastest(ms, {"image": "int8", "fusion": "int8"}) == {"image": "fp32", "fusion": "int8"}
    assert fastest(ms, {"image": "fp16"}) == {"image": "fp32"}, "what was out of tolerance has no time"


def test_compile_keeps_the_fastest_that_holds_the_tolerances(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = add_variant(path, "image", "fp16")
    add_variant(path, "image", "int8", seed=1)  # of another model
    bundle = Bundle.open(path)
    raced: list[str] = []

    def race(engines: dict[str, Engine], studies: object) -> dict[str, dict[str, float]]:
        raced.extend(engines)
        return {name: {"image": 1.0 if name == "fp16" else 2.0} for name in engines}

    monkeypatch.setattr(compiler, "race_graphs", race)
    compiled, report = compiler.compile_bundle(bundle, Provider.CPU, threads=1)
    assert raced == ["fp32", "fp16"]
    assert report.passed
    assert compiled.graphs["image"].source == chosen
    found = find_compiled(bundle, "cpu")
    assert found is not None
    assert found.ms == {"fp32": {"image": 2.0}, "fp16": {"image": 1.0}}
    engine = Engine(bundle, threads=1, compiled=found)
    assert engine.bundle.served == {"image": "fp16"}
    assert self_test(engine).passed


def test_compile_refuses_where_no_file_holds_the_tolerances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    path = write_bundle(tmp_path / "bundle", golden_shift=5.0)
    add_variant(path, "image", "fp16")
    with pytest.raises(CheckFailed, match=r"whichever variant is served: fp32 \(.*\), fp16 \("):
        compiler.compile_bundle(Bundle.open(path), Provider.CPU, threads=1)


def test_graphs_are_timed_each_by_itself(path: Path) -> None:
    add_variant(path, "image", "fp16")
    compiled, _ = compiler.compile_bundle(Bundle.open(path), Provider.CPU, threads=1)
    assert compiled.ms.keys() == {"fp32", "fp16"}
    for ms in compiled.ms.values():
        assert ms.keys() == {"image", "text", "structured", "fusion"}
        assert all(value > 0 for value in ms.values())


def test_a_variant_is_checked_like_every_graph(path: Path) -> None:
    add_variant(path, "image", "fp16")
    file = path / "image.fp16.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"\0")
    with pytest.raises(BundleError, match=r"image\.fp16\.onnx was changed"):
        Bundle.open(path)
    file.unlink()
    with pytest.raises(BundleError, match=r"image\.fp16\.onnx is missing"):
        Bundle.open(path)
    file.write_bytes(whole)
    Bundle.open(path)
    add_variant(path, "structured", "fp16", inputs=[])
    with pytest.raises(BundleError, match="other inputs or outputs than its graph"):
        Bundle.open(path)


def test_a_variant_of_no_graph_is_refused(path: Path) -> None:
    add_variant(path, "image", "fp16")
    document = json.loads((path / "manifest.json").read_text())
    document["variants"]["audio"] = document["variants"].pop("image")
    (path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match="variants are of a graph that is not there"):
        Bundle.open(path)


def test_inspect_verify_compile_and_the_server_say_what_is_served(path: Path) -> None:
    add_variant(path, "image", "fp16", cpu=Cpu.ANY)
    said = foveal("inspect", str(path)).stdout
    assert "image fp16" in said
    assert "cpu serves here: image fp32" in said
    assert "served of each graph: image fp32" in foveal("verify", str(path)).stderr
    done = foveal("compile", str(path), "--graphs-only", "--json")
    chosen = json.loads(done.stdout)["variants"]
    assert chosen["image"] in ("fp32", "fp16")
    assert f"image: serving {chosen['image']} of fp32 " in done.stderr
    with RunningServer(path) as server, server.client() as client:
        assert dict(client.model().variants) == chosen
    bundle = Bundle.open(path)
    engine = open_engine(path)
    assert engine.bundle.served == {"image": "fp32"}
    assert bundle.served == {}
    study = engine.prepare(golden_studies()[0])
    assert engine.run([study])[0].logits
