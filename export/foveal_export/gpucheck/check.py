"""The steps of a check, each a process of its own: what one provider breaks, the others and the report outlive.

Every step leaves its result in the folder, and the document is written after each; a check that is begun again goes on with
the run and the bundles that are there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foveal_export.gpucheck import machine, page
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Precision, Target, VariantName
from foveal_runtime.cli.steps import write_whole
from foveal_runtime.engine.choice import on_gpu
from foveal_runtime.engine.providers import Provider, on_processor
from foveal_runtime.errors import FovealError
from foveal_train.runs.run import RUN_FILE, read_info

FOVEAL = (sys.executable, "-m", "foveal_runtime.cli.main")
DOCUMENT, PAGE = "gpu-check.json", "gpu-check.html"
SCHEMA_VERSION = 1
EXPORTS: tuple[tuple[Target, Precision], ...] = (
    (Target.ONNX, Precision.FP32),
    (Target.ONNX, Precision.FP16),
    (Target.ONNX, Precision.INT8),
    (Target.TENSORRT, Precision.FP16),
    (Target.TENSORRT, Precision.INT8),
)
_STEP_S = 3600
"""After which a step is taken to hang."""


@dataclass(kw_only=True)
class Check:
    """A check in the making."""

    folder: Path
    recipe: str
    patients: int
    batches: tuple[int, ...]
    seconds: float
    say: Callable[[str], None]
    document: dict[str, Any] = field(default_factory=dict)

    def begin(self) -> None:
        """Look at the machine, and write that down first."""
        facts, lacking = machine.machine(), machine.providers()
        self.document = {
            "schema_version": SCHEMA_VERSION,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": facts,
            "providers": lacking,
            "gpu": machine.has_gpu(lacking),
            "missing": machine.missing(lacking, facts),
            "batches": list(self.batches),
            "training": None,
            "exports": [],
            "rows": [],
            "pytorch": [],
        }
        self.write()

    def write(self) -> None:
        """Keep the document and its page."""
        write_whole(self.folder / DOCUMENT, json.dumps(self.document, indent=1) + "\n")
        write_whole(self.folder / PAGE, page.html(self.document))

    def train(self) -> Path | None:
        """Train one epoch on generated data; the run, None where that fails."""
        data, run = self.folder / "data", self.folder / "run"
        gpu = bool(self.document["machine"]["torch"]["sees_gpu"])
        what = f"recipe {self.recipe}, one epoch, {self.patients} generated patients"
        if not (data / "synthetic.json").is_file():
            made = self._foveal(
                "data", "synth", data, "--patients", self.patients, "--seed", 1, "--balanced", "--force", "--json"
            )
            if made.returncode:
                return self._trained(what, gpu, f"no data: {_last_line(made.stderr)}", None)
        if (run / RUN_FILE).is_file():
            return self._trained(what, gpu, "finished earlier", run)
        started = time.perf_counter()
        words = (
            "train",
            "--recipe",
            self.recipe,
            "--data",
            f"brset:{data}",
            "--out",
            run,
            "--set",
            "optimiser.epochs=1",
            "--json",
        )
        done = self._foveal(*words, *(("--resume",) if run.is_dir() else ()))
        if done.returncode:
            return self._trained(what, gpu, f"failed: {_last_line(done.stderr)}", None)
        return self._trained(what, gpu, f"{time.perf_counter() - started:.0f} s with decoding and evaluation", run)

    def _trained(self, what: str, gpu: bool, result: str, run: Path | None) -> Path | None:
        device = "the GPU" if gpu else "the processor"
        self.document["training"] = {"what": what, "device": device, "result": result, "passed": run is not None}
        self.write()
        return run

    def export(self, run: Path) -> list[Path]:
        """Bundles of every target and precision that the run can be exported to; those that are there are taken."""
        bundles = []
        for target, precision in EXPORTS:
            out = self.folder / f"bundle-{target.value}-{precision.value}"
            result = "there already"
            if not out.is_dir():
                result = self._exported(run, out, target, precision)
            if out.is_dir():
                bundles.append(out)
            self.document["exports"].append({"bundle": out.name, "result": result})
            self.write()
        return bundles

    def _exported(self, run: Path, out: Path, target: Target, precision: Precision) -> str:
        words: Sequence[object] = (
            "export",
            run,
            "--target",
            target.value,
            "--precision",
            precision.value,
            "--out",
            out,
            "--json",
            *(("--variants", VariantName.FP16_TYPED.value) if (target, precision) == (Target.ONNX, Precision.FP16) else ()),
        )
        done = self._foveal(*words)
        report = out.with_name(out.name + ".parity.json")
        if done.returncode == 1 and report.is_file():
            # After one epoch a model is unsure of every grade; the export names the limits that it does keep.
            mend = json.loads(report.read_text(encoding="utf-8")).get("mend")
            if mend:
                done = self._foveal(*mend["command"])
        return "exported" if done.returncode == 0 else f"not exported: {_last_line(done.stderr)}"

    def compare(self, bundles: Sequence[Path]) -> None:
        """Compile every bundle for every provider that is there, replay its golden studies and time it."""
        for bundle in bundles:
            try:
                target = Bundle.open(bundle).manifest.target
            except FovealError as error:
                self._row(bundle, "", "failed", why=str(error))
                continue
            for provider in Provider:
                if self.document["providers"][provider.value] or not (on_processor(provider) or provider in on_gpu(target)):
                    continue
                self._compared(bundle, provider)

    def _compared(self, bundle: Path, provider: Provider) -> None:
        done = self._foveal("compile", bundle, "--provider", provider.value, "--graphs-only", "--json")
        if done.returncode:
            self._row(bundle, provider.value, "failed", why=_last_line(done.stderr))
            return
        made = json.loads(done.stdout)
        timed = self._speed(bundle, "--provider", provider.value)
        self._row(
            bundle,
            provider.value,
            "passed",
            compile_s=made["seconds"],
            bytes=made["bytes"],
            self_test=made["self_test"],
            ms_per_study={} if timed is None else timed["ms_per_study"],
        )

    def _row(self, bundle: Path, provider: str, status: str, **more: Any) -> None:
        self.document["rows"].append({"bundle": bundle.name, "provider": provider, "status": status, **more})
        self.write()

    def pytorch(self, run: Path, bundles: Sequence[Path]) -> None:
        """Time the run on PyTorch, on the golden studies of the first bundle that is of it."""
        bundle = next((each for each in bundles if _is_of(each, run)), None)
        if bundle is None:
            return
        modes = [("PyTorch FP32", ()), ("PyTorch FP16 (autocast)", ("--half",))]
        for what, flags in modes if self.document["machine"]["torch"]["sees_gpu"] else modes[:1]:
            timed = self._speed(bundle, "--pytorch", run, *flags)
            if timed is not None:
                self.document["pytorch"].append({"what": what, **timed})
                self.write()

    def _speed(self, bundle: Path, *more: object) -> dict[str, Any] | None:
        batches = ",".join(map(str, self.batches))
        words = ("-m", "foveal_export.gpucheck.speed", bundle, *more, "--batches", batches, "--seconds", self.seconds)
        done = self._run([sys.executable, *map(str, words)])
        if done.returncode:
            self.say(f"  not timed: {_last_line(done.stderr)}")
            return None
        timed: dict[str, Any] = json.loads(done.stdout)
        return timed

    def _foveal(self, *words: object) -> subprocess.CompletedProcess[str]:
        self.say("foveal " + " ".join(map(str, words)))
        return self._run([*FOVEAL, *map(str, words)])

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "FOVEAL_CACHE": str((self.folder / "cache").absolute())}
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=_STEP_S)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", f"no end after {_STEP_S} s")


def _is_of(bundle: Path, run: Path) -> bool:
    try:
        return Bundle.open(bundle).manifest.space_id == read_info(run).space_id
    except FovealError:
        return False


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ")[:400] if lines else "it said nothing"
