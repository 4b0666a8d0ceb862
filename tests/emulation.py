"""An older processor for tests: Python under `qemu-x86_64`, whose Haswell has AVX2 and neither AVX-512 nor VNNI.

python emulation.py BUNDLE OUT.npz      replays a bundle's golden studies; writes verdict, vectors and decisions
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foveal_runtime.engine.processor import this_processor

QEMU = "qemu-x86_64"
HASWELL = "Haswell"


def emulated(cpu: str, *arguments: str | Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run this environment's Python on another processor; the test is skipped where qemu's user mode is missing.

    Args:
        cpu: of `qemu-x86_64 -cpu help`.
        arguments: of Python.
        timeout_s: after which the test fails.
    """
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is missing: install Debian's qemu-user")
    command = [QEMU, "-cpu", cpu, sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)


def on_avx2(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python where pairs of INT8 products saturate: on this processor if it is of that kind, else on an emulated one."""
    if this_processor().saturates:
        return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)
    return emulated(HASWELL, *arguments)


def replay(bundle: Path, out: Path) -> None:
    """Answers to the golden studies on this processor: `passed`, `joint` [N, D], `reference` [N, D], `decisions` [N, 3]."""
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.bundle.golden import read_golden
    from foveal_runtime.bundle.manifest import Evidence
    from foveal_runtime.engine.answers import VectorKind, trained_kinds
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.engine.grading import grade
    from foveal_runtime.engine.selftest import compare
    from foveal_runtime.study.labels import SCHEMES

    engine = Engine(Bundle.open(bundle), threads=1)
    golden = read_golden(engine.bundle)
    outcomes = engine.run([engine.prepare(study) for study in golden.studies], kinds=trained_kinds(engine.manifest))
    grades = [grade(outcome, engine.manifest, given=frozenset(Evidence)) for outcome in outcomes]
    np.savez(
        out,
        processor=str(this_processor()),
        passed=compare(outcomes, {}, engine.manifest, golden).passed,
        joint=np.stack([outcome.vectors[VectorKind.JOINT] for outcome in outcomes]),
        reference=golden.joint_ND,
        decisions=[[*(g.schemes[h].grade for h in SCHEMES), g.referable is not None and g.referable.decision] for g in grades],
    )


if __name__ == "__main__":
    replay(Path(sys.argv[1]), Path(sys.argv[2]))
