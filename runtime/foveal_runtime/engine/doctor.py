"""Findings about this machine and about a bundle on it, as data. Prints nothing; see `cli.doctor`."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.bundle.manifest import Cpu
from foveal_runtime.engine.cachefolder import cache_root
from foveal_runtime.engine.finding import Finding, Status, refused
from foveal_runtime.engine.machine import clock, descriptors, disk, user
from foveal_runtime.engine.processor import Level, Processor, this_processor
from foveal_runtime.errors import FovealError

if TYPE_CHECKING:
    from foveal_runtime.bundle.manifest import Manifest
    from foveal_runtime.engine.selftest import SelfTestReport

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
_LEAST_MEMORY_BYTES = 1 << 30


def machine_findings(*, proc: Path = _PROC, cgroup: Path = _CGROUP, processor: Processor | None = None) -> list[Finding]:
    """What is known of this machine, without any bundle.

    Args:
        proc: where the kernel tells about itself; another folder in tests.
        cgroup: where a container's limits stand.
        processor: None is this one.
    """
    here = this_processor() if processor is None else processor
    return [
        _processor(here),
        _int8(here),
        _cores(),
        _memory(proc, cgroup),
        disk("cache folder", cache_root()),
        descriptors(),
        clock(),
        user(),
        _runtime(),
        _numpy(),
    ]


def bundle_findings(folder: Path, *, provider: str = "cpu", processor: Processor | None = None) -> list[Finding]:
    """What a bundle is right for, and whether its golden studies replay here.

    Args:
        folder: that `foveal export` wrote.
        provider: a name, or auto.
        processor: None is this one.
    """
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.choice import resolve
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.engine.selftest import self_test
    from foveal_runtime.engine.session import require_processor
    from foveal_runtime.engine.variants import served

    here = this_processor() if processor is None else processor
    try:
        bundle = Bundle.open(folder)
        chosen = resolve(provider, bundle).provider
        bundle = served(bundle, chosen, processor=here)
        require_processor(bundle.manifest, chosen, here)
    except FovealError as error:
        return [refused("bundle", error)]
    found = Finding(name="bundle", status=Status.OK, says=_described(bundle.manifest))
    try:
        return [found, _replayed(self_test(Engine(bundle, provider=chosen)))]
    except FovealError as error:
        return [found, refused("golden studies", error)]


def _processor(here: Processor) -> Finding:
    text = f"{here}" + (f" ({here.model})" if here.model else "")
    if here.level is Level.UNKNOWN:
        return Finding(
            name="processor",
            status=Status.WARNING,
            says=f"{text}: foveal was tested on x86-64 alone",
            mend="run `foveal doctor BUNDLE`: its golden studies prove this machine, or do not",
        )
    if here.level in (Level.V1, Level.V2):
        return Finding(
            name="processor",
            status=Status.WARNING,
            says=f"{text}: no AVX2, so SSE kernels compute; right (golden replay was proven without AVX), and slow",
            mend="use a processor of class x86-64-v3 (2013 or newer) for more than a trial",
        )
    return Finding(name="processor", status=Status.OK, says=text)


def _int8(here: Processor) -> Finding:
    if here.saturates is None:
        return Finding(
            name="INT8",
            status=Status.WARNING,
            says="nobody has tried how this processor adds INT8 products",
            mend="run `foveal doctor BUNDLE`",
        )
    if here.saturates:
        return Finding(
            name="INT8",
            status=Status.OK,
            says="no VNNI: bundles with 7-bit weights (`foveal export`'s default) are right here, those of --cpu vnni refused",
        )
    return Finding(name="INT8", status=Status.OK, says="INT8 products are added in 32 bits: every bundle is right here")


def _cores() -> Finding:
    from foveal_runtime.engine.ort import usable_cores

    return Finding(name="cores", status=Status.OK, says=f"{usable_cores()} usable by this process")


def _memory(proc: Path, cgroup: Path) -> Finding:
    known = _meminfo(proc / "meminfo")
    if not {"MemTotal", "MemAvailable"} <= known.keys():
        return Finding(name="memory", status=Status.WARNING, says="this system does not say", mend="look with its own tools")
    available, total = known["MemAvailable"], known["MemTotal"]
    limit = _limit(cgroup / "memory.max")
    if limit is not None and limit < total:
        available, total = min(available, limit), limit
    says = f"{available / 1e9:.1f} GB free of {total / 1e9:.1f}"
    if available < _LEAST_MEMORY_BYTES:
        return Finding(name="memory", status=Status.WARNING, says=says, mend="give a server 1 GB at least")
    return Finding(name="memory", status=Status.OK, says=says)


def _meminfo(path: Path) -> Mapping[str, int]:
    """Bytes by name."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    rows = (line.partition(":") for line in lines)
    return {name: int(value.split()[0]) * 1024 for name, _, value in rows if value.strip().endswith("kB")}


def _limit(path: Path) -> int | None:
    """A container's limit in bytes."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _runtime() -> Finding:
    from foveal_runtime.engine.ort import ort_version
    from foveal_runtime.engine.session import available_providers

    try:
        return Finding(
            name="ONNX Runtime", status=Status.OK, says=f"{ort_version()}, providers {', '.join(available_providers())}"
        )
    except FovealError as error:
        return refused("ONNX Runtime", error)


def _numpy() -> Finding:
    return Finding(name="NumPy", status=Status.OK, says=importlib.metadata.version("numpy"))


def _described(manifest: Manifest) -> str:
    judged = manifest.made_with.get("processor", "a processor that was not recorded")
    right_on = "any x86-64-v3 processor" if manifest.runs_on is Cpu.ANY else "processors with VNNI"
    return f"{manifest.profile} {manifest.precision.value} for {manifest.target.value}, right on {right_on}, judged on {judged}"


def _replayed(report: SelfTestReport) -> Finding:
    if report.passed:
        return Finding(name="golden studies", status=Status.OK, says=report.summary())
    first = report.failures[0]
    return Finding(
        name="golden studies",
        status=Status.WRONG,
        says=f"{report.summary()}; {len(report.failures)} out of tolerance, first {first.quantity} of {first.subset or 'all'}",
        mend="do not serve this bundle here; `foveal verify` lists every failure, and an export on this machine judges it here",
    )
