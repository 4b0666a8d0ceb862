"""What providers are told, and what compiling for a GPU does up to the engine build, which no machine of ours can run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Graph
from foveal_runtime.engine import compiler
from foveal_runtime.engine.compiled import find_compiled
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.providers import Provider, build_options, stack
from foveal_runtime.errors import BundleError, ConfigError

RANGE = {"min": [1, 4], "opt": [8, 54], "max": [3, 104]}


def for_tensorrt(path: Path) -> Bundle:
    """A bundle that says it was exported for TensorRT, with profiles of at most three rows."""
    write_bundle(path)
    document = json.loads((path / "manifest.json").read_text())
    document["target"] = "tensorrt"
    for graph in document["graphs"].values():
        graph["shapes"] = {graph["inputs"][-1]["name"]: RANGE}
    (path / "manifest.json").write_text(json.dumps(document))
    return Bundle.open(path)


def test_engine_is_built_strongly_typed_for_the_manifests_shapes(tmp_path: Path) -> None:
    graph = Graph(file="fusion.onnx", sha256="", bytes=0, inputs=(), outputs=(), shapes={
        "tokens_BTD": {"min": (1, 4, 256), "opt": (8, 53, 256), "max": (32, 104, 256)},
        "mask_BT": {"min": (1, 4), "opt": (8, 53), "max": (32, 104)},
    })  # fmt: skip
    options = build_options(graph, tmp_path / "fusion.onnx", tmp_path / "timing")
    assert options["trt_profile_min_shapes"] == "tokens_BTD:1x4x256,mask_BT:1x4"
    assert options["trt_profile_opt_shapes"] == "tokens_BTD:8x53x256,mask_BT:8x53"
    assert options["trt_profile_max_shapes"] == "tokens_BTD:32x104x256,mask_BT:32x104"
    assert options["trt_ep_context_file_path"] == str(tmp_path / "fusion.onnx")
    # Either of these would make ONNX Runtime build a weakly typed network and choose precisions itself.
    assert not {"trt_fp16_enable", "trt_int8_enable", "trt_bf16_enable"} & set(options)
    assert all(isinstance(value, str) for value in options.values())


def test_providers_fall_back_node_by_node_in_order() -> None:
    assert [name for name, _ in stack(Provider.TENSORRT)] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert stack(Provider.CPU) == [("CPUExecutionProvider", {})]
    assert stack(Provider.CUDA)[0][1]["use_tf32"] == "0"
    assert stack(Provider.TENSORRT, {"a": "b"})[0][1] == {"a": "b"}


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Stands in for ONNX Runtime with a GPU: remembers what it was told and writes the file it was told to write."""
    told: dict[str, Any] = {"writes": True}
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiler, "require_provider", lambda provider: None)

    def open_session(bundle: Bundle, name: str, path: Path, options: Any, providers: Any) -> None:
        told[name] = (options, providers)
        target = providers[0][1].get("trt_ep_context_file_path") or options.optimized_model_filepath
        if told["writes"]:
            Path(target).write_bytes(b"engine of " + name.encode())
            Path(target).with_suffix(".engine").write_bytes(b"the same")

    class Passed:
        passed = True

    monkeypatch.setattr(compiler, "open_session", open_session)
    monkeypatch.setattr(compiler, "Engine", lambda *_, **given: told.setdefault("compiled", given["compiled"]))
    monkeypatch.setattr(compiler, "self_test", lambda engine: Passed())
    return told


@pytest.mark.parametrize("provider", [Provider.TENSORRT, Provider.CUDA])
def test_what_a_gpu_compiles_is_kept_hashed_and_found_again(no_gpu: dict[str, Any], tmp_path: Path, provider: Provider) -> None:
    bundle = for_tensorrt(tmp_path / "bundle")
    compiled, _ = compiler.compile_bundle(bundle, provider, threads=1)
    assert compiled.path("fusion").read_bytes() == b"engine of fusion"
    assert not list(compiled.folder.glob("*.engine"))
    assert find_compiled(bundle, provider.value) == compiled
    assert find_compiled(bundle, "cpu") is None
    assert no_gpu["fusion"][1][0][0] == {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}[provider]
    if provider is Provider.TENSORRT:
        timing = Path(no_gpu["fusion"][1][0][1]["trt_timing_cache_path"])
        assert timing.parent == tmp_path / "cache" / "foveal"
        assert timing.stat().st_mode & 0o777 == 0o700


def test_provider_that_takes_no_part_of_a_graph_is_an_error(no_gpu: dict[str, Any], tmp_path: Path) -> None:
    no_gpu["writes"] = False
    with pytest.raises(BundleError, match="wrote nothing"):
        compiler.compile_bundle(for_tensorrt(tmp_path / "bundle"), Provider.TENSORRT, threads=1)


def test_bundle_for_onnx_runtime_is_not_compiled_for_tensorrt(no_gpu: dict[str, Any], tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "bundle"))
    with pytest.raises(ConfigError, match="--target tensorrt"):
        compiler.compile_bundle(bundle, Provider.TENSORRT, threads=1)


def test_engine_never_calls_with_more_rows_than_were_built_for(tmp_path: Path) -> None:
    assert Engine(for_tensorrt(tmp_path / "bundle"), threads=1, max_rows=16).max_rows == 3
    assert Engine(Bundle.open(write_bundle(tmp_path / "other")), threads=1, max_rows=16).max_rows == 16
