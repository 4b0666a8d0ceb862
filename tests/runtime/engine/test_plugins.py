"""Plugin providers: what they lack here is one line, they are registered once, and their sessions answer as the CPU's."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from bundles import golden_studies, write_bundle

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.cli.main import run
from foveal_runtime.engine import compiler, gpu, plugins, session
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.engine.compiled import find_compiled
from foveal_runtime.engine.compiler import compile_bundle
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.gpu import Driver, Gpu, nvidia_driver
from foveal_runtime.engine.providers import ORT_NAMES, PLUGINS, Provider, openvino_options, rtx_options
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.errors import BundleError, ConfigError

RTX = PLUGINS[Provider.TENSORRT_RTX].module
ADA = Gpu(name="NVIDIA L4", capability=(8, 9), memory_bytes=24 << 30)
TURING = Gpu(name="NVIDIA T4", capability=(7, 5), memory_bytes=16 << 30)
BLACKWELL = Gpu(name="NVIDIA B200", capability=(10, 0), memory_bytes=180 << 30)


class FakeOrt:
    """ONNX Runtime as far as plugins go: remembers what was registered."""

    def __init__(self, devices: int = 1, error: Exception | None = None) -> None:
        self.registered: list[tuple[str, str]] = []
        self._devices, self._error = devices, error
        self.__version__ = "1.24.0"

    def register_execution_provider_library(self, name: str, path: str) -> None:
        if self._error is not None:
            raise self._error
        self.registered.append((name, path))

    def get_available_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def get_ep_devices(self) -> list[Any]:
        own = SimpleNamespace(ep_name=ORT_NAMES[Provider.TENSORRT_RTX], ep_metadata={})
        processor = SimpleNamespace(ep_name="CPUExecutionProvider", ep_metadata={}, device=SimpleNamespace(vendor="AMD"))
        return [processor, *[own] * self._devices]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """A fake that was registered must not stay for the next test; what is real stays registered in ONNX Runtime itself."""
    kept = plugins._registered
    yield
    assert plugins._registered is kept


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOrt]:
    """The plugin's package, a driver and a card that fit it."""
    package = ModuleType(RTX)
    package.get_library_path = lambda: "/opt/rtx.so"  # type: ignore[attr-defined]
    package.__spec__ = importlib.util.spec_from_loader(RTX, loader=None)
    monkeypatch.setitem(sys.modules, RTX, package)
    ort = FakeOrt()
    monkeypatch.setattr(plugins, "ort_module", lambda: ort)
    monkeypatch.setattr(plugins, "nvidia_driver", lambda: Driver(version="580.65", cuda=(13, 0), gpus=(ADA,)))
    plugins._registered.cache_clear()
    yield ort
    plugins._registered.cache_clear()


def test_plugin_is_registered_once_and_its_devices_alone_are_taken(installed: FakeOrt) -> None:
    for _ in range(2):
        (device,) = plugins.plugin_devices(Provider.TENSORRT_RTX)
        assert device.ep_name == "NvTensorRTRTXExecutionProvider"
    assert installed.registered == [("NvTensorRTRTXExecutionProvider", "/opt/rtx.so")]


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (None, "no NVIDIA driver answers; install 580 or newer"),
        (Driver(version="550.90", cuda=(12, 4), gpus=(ADA,)), "driver 550.90 runs CUDA up to 12.4 and 13.0 is needed; install"),
        (Driver(version="580.65", cuda=(13, 0), gpus=(TURING,)), "8.9 and from 12.0 on, and this machine has NVIDIA T4"),
        (Driver(version="580.65", cuda=(13, 0), gpus=(BLACKWELL,)), "this machine has NVIDIA B200 (compute capability 10.0"),
        (Driver(version="580.65", cuda=(13, 0), gpus=()), "this machine has no GPU"),
    ],
    ids=["no driver", "driver too old", "Turing", "compute capability 10.0", "no card"],
)
def test_what_tensorrt_rtx_lacks_is_one_line_and_nothing_is_loaded(
    installed: FakeOrt, monkeypatch: pytest.MonkeyPatch, driver: Driver | None, words: str
) -> None:
    monkeypatch.setattr(plugins, "nvidia_driver", lambda: driver)
    assert words in plugins.lacks(Provider.TENSORRT_RTX)
    assert "\n" not in plugins.lacks(Provider.TENSORRT_RTX)
    with pytest.raises(ConfigError, match="provider 'tensorrt-rtx' can't be used here"):
        plugins.plugin_devices(Provider.TENSORRT_RTX)
    assert not installed.registered


def test_one_fitting_card_among_others_is_enough(installed: FakeOrt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "nvidia_driver", lambda: Driver(version="590.1", cuda=(13, 2), gpus=(TURING, ADA)))
    assert plugins.lacks(Provider.TENSORRT_RTX) == ""


@pytest.mark.parametrize(
    ("ort", "words"),
    [
        (
            FakeOrt(error=OSError("libcudart.so.13: cannot open\nand more")),
            "does not load (OSError: libcudart.so.13: cannot open)",
        ),
        (FakeOrt(devices=0), "lists no device"),
        (
            SimpleNamespace(__version__="1.22.0", get_available_providers=list),
            "knows no plugin providers; install onnxruntime 1.24",
        ),
    ],
    ids=["library does not load", "no device", "ONNX Runtime too old"],
)
def test_library_that_does_not_serve_is_one_line(
    installed: FakeOrt, monkeypatch: pytest.MonkeyPatch, ort: Any, words: str
) -> None:
    monkeypatch.setattr(plugins, "ort_module", lambda: ort)
    assert words in plugins.lacks(Provider.TENSORRT_RTX)
    assert "\n" not in plugins.lacks(Provider.TENSORRT_RTX)


def test_openvinos_plugin_on_another_makers_processor_names_the_package_to_take_instead(
    installed: FakeOrt, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = PLUGINS[Provider.OPENVINO].module
    monkeypatch.setitem(sys.modules, module, sys.modules[RTX])
    monkeypatch.setattr(plugins.importlib.util, "find_spec", lambda name: object())
    assert "takes Intel's processors alone and this one is AMD's; install onnxruntime-openvino" in plugins.lacks(
        Provider.OPENVINO
    )


def test_a_plugin_that_onnx_runtime_lists_once_it_is_registered_is_not_built_in(
    installed: FakeOrt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeOrt, "get_available_providers", lambda self: [name for name, _ in self.registered])
    plugins.plugin_devices(Provider.TENSORRT_RTX)
    assert not plugins.is_built_in(Provider.TENSORRT_RTX)


def test_a_provider_that_is_built_in_needs_no_plugin(installed: FakeOrt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeOrt, "get_available_providers", lambda self: ["OpenVINOExecutionProvider"])
    monkeypatch.setattr(plugins.importlib.util, "find_spec", lambda name: None)
    assert plugins.lacks(Provider.OPENVINO) == ""
    options = _Options()
    stack = [("OpenVINOExecutionProvider", openvino_options(1, built_in=True))]
    assert session.told(options, stack) == {"providers": stack}
    assert stack[0][1]["device_type"] == "CPU"
    assert not options.added


@pytest.mark.parametrize(("provider", "extra"), [("tensorrt-rtx", "rtx"), ("openvino", "openvino")])
def test_plugin_that_is_not_installed_is_one_line_of_the_command(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], provider: str, extra: str
) -> None:
    found = importlib.util.find_spec
    modules = {plugin.module for plugin in PLUGINS.values()}
    monkeypatch.setattr(plugins.importlib.util, "find_spec", lambda name: None if name in modules else found(name))
    assert run(["verify", str(bundle_path), "--provider", provider]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert f"install foveal[{extra}]" in line


class _Nvml(ModuleType):
    """NVIDIA's bindings, of a machine with one L4."""

    class NVMLError(Exception):
        """As theirs."""

    absent = False

    def nvmlInit(self) -> None:
        if self.absent:
            raise self.NVMLError("library not found")

    def nvmlShutdown(self) -> None: ...

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 12040

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.90.07"

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA L4"

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return 8, 9

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=24 << 30)


def test_driver_is_read_from_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = _Nvml("pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert nvidia_driver() == Driver(version="550.90.07", cuda=(12, 4), gpus=(ADA,))
    nvml.absent = True
    assert nvidia_driver() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.nvidia_driver() is None


def test_rtx_engines_get_the_manifests_profile_and_a_folder_for_their_kernels(tmp_path: Path) -> None:
    shapes = {"tokens_BTD": SimpleNamespace(min=(1, 4, 256), opt=(8, 53, 256), max=(32, 104, 256))}
    options = rtx_options(SimpleNamespace(shapes=shapes), tmp_path)  # type: ignore[arg-type]
    assert options == {
        "nv_profile_min_shapes": "tokens_BTD:1x4x256",
        "nv_profile_opt_shapes": "tokens_BTD:8x53x256",
        "nv_profile_max_shapes": "tokens_BTD:32x104x256",
        "nv_runtime_cache_path": str(tmp_path),
        "enable_cuda_graph": "0",
    }


def test_openvino_computes_fp32_in_fp32_and_takes_no_more_threads_than_given() -> None:
    settings = json.loads(openvino_options(2)["load_config"])["CPU"]
    assert settings == {"INFERENCE_NUM_THREADS": "2", "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}


class _Options:
    def __init__(self) -> None:
        self.added: list[tuple[list[Any], dict[str, str]]] = []

    def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
        self.added.append((devices, options))


def test_session_of_a_plugin_is_told_devices_and_no_provider_names(installed: FakeOrt) -> None:
    options = _Options()
    assert session.told(options, [("NvTensorRTRTXExecutionProvider", {"a": "b"}), ("CPUExecutionProvider", {})]) == {}
    ((devices, given),) = options.added
    assert len(devices) == 1
    assert given == {"a": "b"}
    assert session.told(options, [("CPUExecutionProvider", {})]) == {"providers": [("CPUExecutionProvider", {})]}
    assert len(options.added) == 1


def test_rtx_takes_no_bundle_for_onnx_runtime(
    installed: FakeOrt, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="--target tensorrt"):
        compile_bundle(Bundle.open(bundle_path), Provider.TENSORRT_RTX, threads=1)


def test_graph_that_a_plugin_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: FakeOrt) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "bundle"))

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(compiler, "ort_module", lambda: SimpleNamespace(ModelCompiler=refuse))
    stack = [(ORT_NAMES[Provider.TENSORRT_RTX], {})]
    with pytest.raises(BundleError, match=r"image\.onnx is not compiled by NvTensorRTRTX"):
        compiler._precompile(bundle, "image", _Options(), stack, tmp_path / "image.onnx")


@pytest.fixture
def openvino() -> None:
    if reason := plugins.lacks(Provider.OPENVINO):
        pytest.skip(f"OpenVINO can't be used here: {reason}")


def test_openvino_answers_as_onnx_runtimes_own_kernels(openvino: None, bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    own, theirs = (Engine(bundle, provider=provider, threads=1) for provider in (Provider.CPU, Provider.OPENVINO))
    kinds = frozenset(VectorKind)
    for study in golden_studies():
        expected, got = (engine.run([engine.prepare(study)], kinds=kinds)[0] for engine in (own, theirs))
        for kind, vector in expected.vectors.items():
            assert abs(got.vectors[kind] - vector).max() <= 1e-5
    assert self_test(theirs).passed


def test_what_openvino_compiled_is_kept_and_passes_the_same_gate(
    openvino: None, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path))
    bundle = Bundle.open(bundle_path)
    compiled, report = compile_bundle(bundle, Provider.OPENVINO, threads=1)
    assert report.passed
    assert find_compiled(bundle, "openvino") == compiled
    assert find_compiled(bundle, "cpu") is None
