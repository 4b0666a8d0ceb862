"""`foveal doctor`: what it finds on a machine and of a bundle, and what it says to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bundles import write_bundle
from commands import foveal

from foveal_runtime.bundle.manifest import Cpu
from foveal_runtime.engine.doctor import bundle_findings, machine_findings
from foveal_runtime.engine.finding import healthy
from foveal_runtime.engine.processor import Feature, Level, Processor, this_processor

AVX2 = Processor(machine="x86_64", level=Level.V3, features=frozenset({Feature.AVX2}))
VNNI = Processor(machine="x86_64", level=Level.V4, features=frozenset({Feature.AVX2, Feature.AVX512, Feature.AVX512_VNNI}))
SSE = Processor(machine="x86_64", level=Level.V2)


def test_doctor_names_class_and_libraries_and_is_content() -> None:
    done = foveal("doctor", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["healthy"]
    assert document["processor"]["class"] == str(this_processor())
    says = {finding["name"]: finding["says"] for finding in document["findings"]}
    assert says["processor"].startswith(str(this_processor()))
    assert "onnxruntime" in says["ONNX Runtime"]
    assert says["NumPy"] == np.__version__
    assert "GB" in says["memory"]


def test_doctor_replays_a_bundle_and_says_what_is_wrong(bundle_path: Path, tmp_path: Path) -> None:
    done = foveal("doctor", str(bundle_path))
    assert done.returncode == 0
    assert "right on any x86-64-v3 processor" in done.stdout
    assert "7 golden studies" in done.stdout
    drifted = foveal("doctor", str(write_bundle(tmp_path / "drifted", golden_shift=3.0)))
    assert drifted.returncode == 1
    assert "do not serve this bundle here" in drifted.stdout
    missing = foveal("doctor", "/nowhere", "--json")
    assert missing.returncode == 1
    assert [f["name"] for f in json.loads(missing.stdout)["findings"] if f["status"] == "wrong"] == ["bundle"]


@pytest.mark.parametrize(
    ("here", "grave", "word"),
    [
        (AVX2, "ok", "7-bit weights"),
        (VNNI, "ok", "every bundle is right here"),
        (SSE, "warning", "SSE kernels"),
        (Processor(machine="aarch64"), "warning", "tested on x86-64 alone"),
    ],
)
def test_doctor_says_what_a_class_means(here: Processor, grave: str, word: str) -> None:
    found = machine_findings(processor=here)[:2]
    assert {finding.status.value for finding in found} >= {grave}
    assert any(word in finding.says for finding in found)
    assert all(finding.mend for finding in found if finding.status.value != "ok")


def test_doctor_refuses_a_bundle_for_another_class_with_its_mend(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle", cpu=Cpu.VNNI)
    (finding,) = bundle_findings(path, processor=AVX2)
    assert not healthy([finding])
    assert "without VNNI" in finding.says
    assert "without --cpu vnni" in finding.mend


def test_doctor_heeds_a_containers_memory(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  16000000 kB\nMemAvailable:  8000000 kB\n")
    (tmp_path / "memory.max").write_text("500000000\n")
    memory = next(f for f in machine_findings(proc=tmp_path, cgroup=tmp_path) if f.name == "memory")
    assert memory.says == "0.5 GB free of 0.5"
    assert memory.status.value == "warning"
    (tmp_path / "memory.max").write_text("max\n")
    memory = next(f for f in machine_findings(proc=tmp_path, cgroup=tmp_path) if f.name == "memory")
    assert memory.says == "8.2 GB free of 16.4"
