"""`--provider auto`: a GPU first, on the processor what `foveal compile` measured, and always a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import golden_studies, write_bundle
from servers import RunningServer

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Target
from foveal_runtime.engine import choice
from foveal_runtime.engine.compiled import entry_folder
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.gpu import Driver, Gpu
from foveal_runtime.engine.providers import Provider
from foveal_runtime.engine.race import race
from foveal_runtime.errors import ConfigError

L4 = Driver(version="580.65", cuda=(13, 0), gpus=(Gpu(name="NVIDIA L4", capability=(8, 9), memory_bytes=24 << 30),))


@pytest.fixture
def bundle(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    return Bundle.open(bundle_path)


@pytest.fixture
def usable(monkeypatch: pytest.MonkeyPatch) -> set[Provider]:
    """Providers that can be used; a test adds to them."""
    found = {Provider.CPU}
    monkeypatch.setattr(choice, "unusable", lambda provider: "" if provider in found else "not here")
    monkeypatch.setattr(choice, "lacks", lambda provider: "" if provider in found else "not here")
    return found


def test_a_name_is_taken_as_it_is_and_an_unknown_one_refused(bundle: Bundle) -> None:
    assert choice.resolve("tensorrt", bundle).provider is Provider.TENSORRT
    with pytest.raises(ConfigError, match="no provider 'abacus'"):
        choice.resolve("abacus", bundle)


def test_without_a_gpu_auto_is_the_cpu_and_says_what_was_missing(bundle: Bundle, usable: set[Provider]) -> None:
    found = choice.resolve("auto", bundle)
    assert found.provider is Provider.CPU
    assert found.why == "no GPU can be used (cuda: not here)"


def test_auto_takes_the_best_provider_of_the_gpu_that_takes_the_bundle(bundle: Bundle, usable: set[Provider]) -> None:
    usable |= {Provider.CUDA, Provider.TENSORRT}
    assert choice.resolve("auto", bundle).provider is Provider.CUDA
    assert [p for p in choice.on_gpu(Target.TENSORRT) if not choice.unusable(p)] == [Provider.TENSORRT, Provider.CUDA]
    usable.add(Provider.TENSORRT_RTX)
    assert next(p for p in choice.on_gpu(Target.TENSORRT) if not choice.unusable(p)) is Provider.TENSORRT_RTX


@pytest.mark.parametrize(
    ("ms", "expected"), [(10.0 / 1.11, Provider.OPENVINO), (10.0 / 1.09, Provider.CPU), (20.0, Provider.CPU)]
)
def test_another_provider_of_the_processor_is_taken_from_1_1_times_as_fast_on(
    bundle: Bundle, usable: set[Provider], ms: float, expected: Provider
) -> None:
    usable.add(Provider.OPENVINO)
    kept = choice.keep(bundle, {Provider.CPU: 10.0, Provider.OPENVINO: ms})
    assert kept.provider is expected
    assert f"openvino {10.0 / ms:.2f}x" in kept.why
    assert choice.resolve("auto", bundle) == kept


def test_what_was_chosen_and_is_no_longer_installed_is_not_taken(bundle: Bundle, usable: set[Provider]) -> None:
    usable.add(Provider.OPENVINO)
    choice.keep(bundle, {Provider.CPU: 10.0, Provider.OPENVINO: 1.0})
    usable.remove(Provider.OPENVINO)
    assert choice.resolve("auto", bundle) == choice.Choice(provider=Provider.CPU, why="openvino: not here")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"ms": {"openvino": 1}}', '{"ms": {"cpu": 0, "openvino": 1}}', '{"ms": {"abacus": 1}}']
)
def test_a_choice_that_cannot_be_read_is_none(bundle: Bundle, usable: set[Provider], text: str) -> None:
    usable.add(Provider.OPENVINO)
    choice.keep(bundle, {Provider.CPU: 10.0, Provider.OPENVINO: 1.0})
    (entry_folder(bundle.sha256, "auto") / "provider.json").write_text(text)
    assert choice.resolve("auto", bundle).provider is Provider.CPU


def test_a_choice_that_others_may_have_written_is_none(bundle: Bundle, usable: set[Provider]) -> None:
    usable.add(Provider.OPENVINO)
    choice.keep(bundle, {Provider.CPU: 10.0, Provider.OPENVINO: 1.0})
    entry_folder(bundle.sha256, "auto").chmod(0o777)
    assert choice.resolve("auto", bundle).provider is Provider.CPU


def test_a_built_in_gpu_provider_needs_a_driver_and_tensorrt_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "is_built_in", lambda provider: True)
    monkeypatch.setattr(choice, "nvidia_driver", lambda: None)
    assert "no NVIDIA driver" in choice.unusable(Provider.CUDA)
    assert choice.unusable(Provider.CPU) == ""
    monkeypatch.setattr(choice, "nvidia_driver", lambda: L4)
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    assert choice.unusable(Provider.CUDA) == ""
    assert "TensorRT's libraries" in choice.unusable(Provider.TENSORRT)


def test_race_gives_every_engine_the_same_work_in_turns(bundle: Bundle) -> None:
    calls: list[tuple[str, int]] = []

    class Noted(Engine):
        def run(self, prepared, *given, **named):  # type: ignore[no-untyped-def]
            calls.append((name_of[self], len(prepared)))
            return super().run(prepared, *given, **named)

    first, second = Noted(bundle, threads=1), Noted(bundle, threads=1)
    name_of = {first: "first", second: "second"}
    studies = [first.prepare(study) for study in golden_studies()[:3]]
    ms = race({Provider.CPU: first, Provider.OPENVINO: second}, studies, rounds=2, batch=2)
    assert set(ms) == {Provider.CPU, Provider.OPENVINO}
    assert min(ms.values()) > 0
    one_round = [2, 1]
    assert [size for _, size in calls] == one_round * 6
    assert [name for name, _ in calls[4::2]] == ["second", "first", "first", "second"]


def test_server_on_auto_names_the_provider_and_the_reason(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle")
    with RunningServer(path, "--provider", "auto") as server:
        assert "provider cpu: no GPU can be used (cuda: " in server.log
        assert ", provider cpu) on " in server.log
