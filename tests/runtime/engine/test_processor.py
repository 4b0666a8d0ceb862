"""The processor's class: what CPUID says, what follows for INT8, and which bundles are refused where."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import write_bundle
from commands import foveal, one_line
from emulation import emulated
from servers import RunningServer

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Cpu, Manifest, Precision, Target
from foveal_runtime.engine import processor, session
from foveal_runtime.engine.compiler import compile_bundle
from foveal_runtime.engine.device import device_facts
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.processor import Feature, Level, Processor, classify, refuse_too_old, this_processor
from foveal_runtime.engine.providers import Provider
from foveal_runtime.errors import CheckFailed, ConfigError
from foveal_runtime.photo.imaging import ImageLimits
from foveal_runtime.serving.worker import _load
from foveal_runtime.serving.workerspec import WorkerSpec

NEHALEM = {"SSE3", "SSSE3", "SSE41", "SSE42", "POPCNT", "CX16"}
HASWELL = NEHALEM | {"AVX", "AVX2", "BMI", "BMI2", "F16C", "FMA3", "LZCNT", "MOVBE"}
SKYLAKE_X = HASWELL | {"AVX512F", "AVX512BW", "AVX512CD", "AVX512DQ", "AVX512VL"}
CASCADE_LAKE = SKYLAKE_X | {"AVX512VNNI"}
SAPPHIRE_RAPIDS = CASCADE_LAKE | {"AVX512BF16", "AMX_TILE", "AMX_INT8", "AVX_VNNI"}
AVX2 = classify("x86_64", frozenset(HASWELL))
VNNI = classify("x86_64", frozenset(CASCADE_LAKE))


@pytest.mark.parametrize(
    ("names", "level", "saturates", "words"),
    [
        ({"SSE3", "SSSE3"}, Level.V1, False, "x86-64-v1"),
        (NEHALEM, Level.V2, False, "x86-64-v2"),
        (HASWELL - {"FMA3"}, Level.V2, False, "x86-64-v2"),
        (HASWELL, Level.V3, True, "x86-64-v3 without VNNI"),
        (HASWELL | {"AVX_VNNI"}, Level.V3, False, "x86-64-v3 with AVX-VNNI"),
        (SKYLAKE_X, Level.V4, True, "x86-64-v4 without VNNI"),
        (SKYLAKE_X | {"AVX512BF16"}, Level.V4, True, "x86-64-v4 without VNNI with BF16"),
        (CASCADE_LAKE, Level.V4, False, "x86-64-v4 with AVX-512 VNNI"),
        (SAPPHIRE_RAPIDS, Level.V4, False, "x86-64-v4 with AVX-512 VNNI, AVX-VNNI, BF16, AMX"),
    ],
)
def test_class_follows_from_the_features(names: set[str], level: Level, saturates: bool, words: str) -> None:
    found = classify("x86_64", frozenset(names))
    assert (found.level, found.saturates, str(found)) == (level, saturates, words)


def test_another_architecture_is_unknown_not_safe() -> None:
    assert classify("aarch64", None).saturates is None
    assert str(classify("aarch64", None)) == "aarch64, class unknown"
    assert classify("x86_64", None).level is Level.UNKNOWN


def test_glibc_and_numpy_agree_and_the_latter_never_says_more() -> None:
    glibc, numpy = processor._from_glibc(), processor._from_numpy()
    if glibc is None:
        pytest.skip("this C library does not say what the processor is (glibc before 2.33, or another)")
    assert numpy is not None
    full, poorer = classify("x86_64", glibc), classify("x86_64", numpy)
    assert poorer.level is full.level
    assert poorer.features <= full.features
    assert full.features - poorer.features <= {Feature.AVX_VNNI, Feature.AMX_INT8, Feature.BF16}


def test_class_is_asked_of_the_processor_not_of_the_kernel() -> None:
    script = "from foveal_runtime.engine.processor import this_processor; print(this_processor(), this_processor().saturates)"
    assert emulated("Nehalem", "-c", script).stdout == "x86-64-v2 False\n"
    assert emulated("Haswell", "-c", script).stdout == "x86-64-v3 without VNNI True\n"


def test_a_processor_without_sse42_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"SSE4\.2"):
        refuse_too_old(classify("x86_64", frozenset({"SSE3"})))
    refuse_too_old(classify("x86_64", frozenset(NEHALEM)))
    refuse_too_old(classify("aarch64", None))
    done = emulated("core2duo", "-m", "foveal_runtime.cli.main", "verify", "bundle")
    said = [line for line in done.stderr.splitlines() if "warning: TCG" not in line]
    assert done.returncode == 2
    assert len(said) == 1
    assert said[0].startswith("error: this processor is of class x86-64-v1")


def _manifest(path: Path, **changes: object) -> Manifest:
    return Bundle.open(path).manifest.model_copy(update=changes)


def test_older_bundles_count_as_what_they_are(bundle_path: Path) -> None:
    manifest = Bundle.open(bundle_path).manifest
    assert manifest.cpu is None
    for precision, target, runs_on in (
        (Precision.FP32, Target.ONNX, Cpu.ANY),
        (Precision.FP16, Target.ONNX, Cpu.ANY),
        (Precision.INT8, Target.ONNX, Cpu.VNNI),
        (Precision.INT8, Target.TENSORRT, Cpu.ANY),
    ):
        assert manifest.model_copy(update={"precision": precision, "target": target}).runs_on is runs_on
    assert manifest.model_copy(update={"precision": Precision.INT8, "cpu": Cpu.ANY}).runs_on is Cpu.ANY


def test_a_bundle_for_vnni_is_refused_where_sums_saturate_and_nowhere_else(bundle_path: Path) -> None:
    wide, safe = (_manifest(bundle_path, precision=Precision.INT8, cpu=cpu) for cpu in (None, Cpu.ANY))
    with pytest.raises(ConfigError, match=r"this one is x86-64-v3 without VNNI.*export again without --cpu vnni"):
        session.require_processor(wide, Provider.CPU, AVX2)
    for manifest, provider, here in (
        (wide, Provider.CPU, VNNI),
        (wide, Provider.CPU, Processor(machine="aarch64")),
        (wide, Provider.CUDA, AVX2),
        (safe, Provider.CPU, AVX2),
    ):
        session.require_processor(manifest, provider, here)


def test_engine_worker_compile_and_verify_refuse_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bundle(tmp_path / "bundle", cpu=Cpu.VNNI)
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    bundle = Bundle.open(path)
    monkeypatch.setattr(session, "this_processor", lambda: VNNI)
    Engine(bundle, threads=1)
    monkeypatch.setattr(session, "this_processor", lambda: AVX2)
    Engine(bundle, threads=1, exact=True)
    spec = WorkerSpec(bundle=bundle, provider="cpu", threads=1, max_rows=4, limits=ImageLimits(), compiled=None)
    for opening in (
        lambda: Engine(bundle, threads=1),
        lambda: _load(spec),
        lambda: compile_bundle(bundle, Provider.CPU, threads=1),
    ):
        with pytest.raises(ConfigError, match="without --cpu vnni"):
            opening()
    done = foveal("verify", str(path))
    assert done.returncode == 2
    assert "without --cpu vnni" in one_line(done.stderr)
    assert not (tmp_path / "cache").exists(), "nothing is compiled for a processor that may not serve it"


def test_server_refuses_to_start(tmp_path: Path) -> None:
    if not this_processor().saturates:
        pytest.skip("this processor has VNNI (or no AVX2), so its server starts; workers of an emulated one are not emulated")
    with pytest.raises(CheckFailed, match="without --cpu vnni"), RunningServer(write_bundle(tmp_path / "b", cpu=Cpu.VNNI)):
        pass


def test_compiled_graphs_of_another_class_are_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal_runtime.engine import device

    keys = set()
    for here in (AVX2, VNNI):
        monkeypatch.setattr(device, "this_processor", lambda here=here: here)
        keys.add(device.device_key(device_facts("cpu")))
    assert len(keys) == 2
