"""`--precision auto`: INT8 that is neither smaller nor faster than FP16 is refused by its figures, and FP16 written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal_export import auto
from foveal_export.parity.budget import DEFAULTS
from foveal_export.planning import Request
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Cpu, Precision, Target
from foveal_runtime.errors import CheckFailed


class Quiet:
    """A reporter that says nothing."""

    def stage(self, name: str) -> None:
        """Nothing."""


def _report(target: str, int8: tuple[int, float], half: tuple[int, float]) -> dict[str, Any]:
    rows = [{"name": name, "bytes": size, "ms": ms} for name, (size, ms) in (("int8", int8), ("fp16", half))]
    return {"target": target, "tensorrt": {}, "precisions": rows}


def _engines(**sizes: tuple[int, int]) -> dict[str, Any]:
    made = {name: {"bytes": int8, "fp16_bytes": half} for name, (int8, half) in sizes.items()}
    return {"target": "tensorrt", "tensorrt": {"architectures": list(sizes), "graphs": {"image": {"engines": made}}}}


def test_int8_for_a_cpu_has_to_be_smaller_or_faster() -> None:
    assert auto.no_gain(_report("onnx", (9, 3.0), (10, 2.0))) == ""
    assert auto.no_gain(_report("onnx", (11, 1.0), (10, 2.0))) == ""
    why = auto.no_gain(_report("onnx", (11_000_000, 3.0), (10_000_000, 2.0)))
    assert "11.0 MB against 10.0 MB" in why
    assert "3.0 ms a study against 2.0 ms" in why


def test_speed_on_a_cpu_does_not_speak_for_tensorrt() -> None:
    assert auto.no_gain(_report("tensorrt", (11, 1.0), (10, 2.0))) != ""
    assert auto.no_gain(_report("tensorrt", (9, 3.0), (10, 2.0))) == ""


def test_int8_engines_have_to_be_smaller_on_every_architecture() -> None:
    assert auto.no_gain(_engines(sm86=(9, 10), sm120=(8, 10))) == ""
    why = auto.no_gain(_engines(sm86=(9, 10), sm120=(15_300_000, 8_800_000)))
    assert "sm120 15.3 MB against 8.8 MB" in why
    assert "sm86" not in why
    assert "without a GPU" in why


@pytest.mark.parametrize("gain", [True, False], ids=["gains", "gains nothing"])
def test_fp16_with_its_own_budget_is_asked_for_where_int8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gain: bool
) -> None:
    asked: list[Request] = []
    sizes = (9, 10) if gain else (11_000_000, 10_000_000)
    document = _report("onnx", (sizes[0], 3.0), (sizes[1], 2.0))

    def export(request: Request, say: object, *, refuse: Callable[[dict[str, Any]], str] = lambda _: "") -> Any:
        asked.append(request)
        if why := refuse(document):
            raise CheckFailed(why)
        return request

    monkeypatch.setattr(auto, "export_run", export)
    first = Request(run=tmp_path, out=tmp_path / "b", precision=Precision.INT8, budget=DEFAULTS[Precision.INT8], cpu=Cpu.VNNI)
    _, why = auto.export_auto(first, DEFAULTS[Precision.FP16], Quiet())
    assert asked[0] == first
    if gain:
        assert (len(asked), why) == (1, "")
    else:
        assert "11.0 MB against 10.0 MB" in why
        half = dataclasses.replace(first, precision=Precision.FP16, budget=DEFAULTS[Precision.FP16], cpu=Cpu.ANY)
        assert asked[1:] == [half]


@pytest.mark.slow
@pytest.mark.parametrize("gain", [True, False], ids=["gains", "gains nothing"])
def test_bundle_is_int8_where_that_gains_and_else_fp16(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gain: bool
) -> None:
    monkeypatch.setattr(auto, "no_gain", lambda document: "" if gain else "it gains nothing")
    request = Request(
        run=tiny_run, out=tmp_path / "b", precision=Precision.INT8, budget=DEFAULTS[Precision.INT8], target=Target.TENSORRT
    )
    exported, why = auto.export_auto(request, DEFAULTS[Precision.FP16], Quiet())
    assert why == ("" if gain else "it gains nothing")
    written = Bundle.open(exported.bundle).manifest.precision
    assert written is (Precision.INT8 if gain else Precision.FP16)
