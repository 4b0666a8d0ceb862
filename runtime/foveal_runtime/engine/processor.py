"""What the processor can do, as far as INT8 answers depend on it. Asks the processor itself; opens no session.

CPUID is read through glibc (2.33 and newer) and, where that is older, through NumPy, which knows fewer features. /proc/cpuinfo
would name the host's under an emulator, so only the model's name comes from there. On other architectures the class is unknown.

ONNX Runtime multiplies U8 by S8 with `vpmaddubsw` where there is AVX2 and no VNNI: pairs of products are added in 16 bits and
saturate. VNNI and AMX add in 32 bits. Below AVX2 the SSE kernels widen first: slower, and exact (docs/decisions.md, Export).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import platform
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from foveal_runtime.errors import ConfigError

_CPUINFO = Path("/proc/cpuinfo")
_MACHINES = ("x86_64", "AMD64")


class Level(StrEnum):
    """A level of the x86-64 psABI."""

    V1 = "x86-64-v1"
    V2 = "x86-64-v2"
    """SSE4.2."""
    V3 = "x86-64-v3"
    """AVX2, FMA: what foveal is made for, and newer."""
    V4 = "x86-64-v4"
    """AVX-512."""
    UNKNOWN = "unknown"
    """Another architecture, or a system that does not say."""


class Feature(StrEnum):
    """An instruction set that changes how INT8 or bfloat16 is computed."""

    AVX2 = "AVX2"
    AVX512 = "AVX-512"
    AVX512_VNNI = "AVX-512 VNNI"
    AVX_VNNI = "AVX-VNNI"
    BF16 = "BF16"
    AMX_INT8 = "AMX"


_EAX, _EBX, _ECX, _EDX = range(4)
_BITS: dict[str, tuple[int, int, int]] = {
    "SSE3": (0, _ECX, 0),
    "SSSE3": (0, _ECX, 9),
    "FMA3": (0, _ECX, 12),
    "CX16": (0, _ECX, 13),
    "SSE41": (0, _ECX, 19),
    "SSE42": (0, _ECX, 20),
    "MOVBE": (0, _ECX, 22),
    "POPCNT": (0, _ECX, 23),
    "AVX": (0, _ECX, 28),
    "F16C": (0, _ECX, 29),
    "BMI": (1, _EBX, 3),
    "AVX2": (1, _EBX, 5),
    "BMI2": (1, _EBX, 8),
    "AVX512F": (1, _EBX, 16),
    "AVX512DQ": (1, _EBX, 17),
    "AVX512CD": (1, _EBX, 28),
    "AVX512BW": (1, _EBX, 30),
    "AVX512VL": (1, _EBX, 31),
    "AVX512VNNI": (1, _ECX, 11),
    "AMX_TILE": (1, _EDX, 24),
    "AMX_INT8": (1, _EDX, 25),
    "LZCNT": (2, _ECX, 5),
    "AVX_VNNI": (6, _EAX, 4),
    "AVX512BF16": (6, _EAX, 5),
}
"""NumPy's name of a feature: glibc's index of the CPUID leaf (1, 7, 0x80000001, 7.1 are 0, 1, 2, 6), register, bit."""
_LEVELS: tuple[tuple[Level, frozenset[str]], ...] = (
    (Level.V2, frozenset({"SSE3", "SSSE3", "SSE41", "SSE42", "POPCNT", "CX16"})),
    (Level.V3, frozenset({"AVX", "AVX2", "BMI", "BMI2", "F16C", "FMA3", "LZCNT", "MOVBE"})),
    (Level.V4, frozenset({"AVX512F", "AVX512BW", "AVX512CD", "AVX512DQ", "AVX512VL"})),
)
"""What each level adds to the one before."""
_FEATURES: dict[Feature, frozenset[str]] = {
    Feature.AVX2: frozenset({"AVX2", "FMA3"}),
    Feature.AVX512: _LEVELS[2][1],
    Feature.AVX512_VNNI: frozenset({"AVX512F", "AVX512VNNI"}),
    Feature.AVX_VNNI: frozenset({"AVX2", "AVX_VNNI"}),
    Feature.BF16: frozenset({"AVX512BF16"}),
    Feature.AMX_INT8: frozenset({"AMX_TILE", "AMX_INT8"}),
}
_EXACT = frozenset({Feature.AVX512_VNNI, Feature.AVX_VNNI, Feature.AMX_INT8})


@dataclass(frozen=True, kw_only=True, slots=True)
class Processor:
    """A processor's class."""

    machine: str
    """Architecture, as the system names it."""
    model: str = ""
    """As the kernel names it; an emulator's kernel names the host's."""
    level: Level = Level.UNKNOWN
    features: frozenset[Feature] = frozenset()

    @property
    def saturates(self) -> bool | None:
        """True where pairs of U8 x S8 products are added in 16 bits; None on an architecture that nobody tried."""
        if self.level is Level.UNKNOWN:
            return None
        return Feature.AVX2 in self.features and not self.features & _EXACT

    def __str__(self) -> str:
        """The class in a few words: `x86-64-v3 without VNNI`, `x86-64-v4 with AVX-512 VNNI, BF16`."""
        if self.level is Level.UNKNOWN:
            return f"{self.machine or 'an unknown machine'}, class unknown"
        implied = {Feature.AVX2, Feature.AVX512}
        extra = [feature.value for feature in Feature if feature in self.features and feature not in implied]
        lacks = " without VNNI" if self.saturates else ""
        return self.level.value + lacks + (f" with {', '.join(extra)}" if extra else "")


def classify(machine: str, names: frozenset[str] | None, model: str = "") -> Processor:
    """The class that follows from feature names.

    Args:
        machine: architecture.
        names: of the features, in NumPy's spelling; None when nobody says.
        model: the kernel's name of it.
    """
    if machine not in _MACHINES or names is None:
        return Processor(machine=machine, model=model)
    level = Level.V1
    for higher, needed in _LEVELS:
        if not needed <= names:
            break
        level = higher
    found = frozenset(feature for feature, needed in _FEATURES.items() if needed <= names)
    return Processor(machine=machine, model=model, level=level, features=found)


@functools.cache
def this_processor() -> Processor:
    """The processor that this process runs on."""
    machine = platform.machine()
    names = _from_glibc() if machine in _MACHINES else None
    if names is None and machine in _MACHINES:
        names = _from_numpy()
    return classify(machine, names, _model_name(_CPUINFO))


def refuse_too_old(processor: Processor | None = None) -> None:
    """Refuse what the libraries foveal stands on can't run on: they would end the process by an illegal instruction.

    Args:
        processor: None is this one, asked without NumPy, which is one of those libraries.

    Raises:
        ConfigError: the processor is older than x86-64-v2.
    """
    here = classify(platform.machine(), _from_glibc()) if processor is None else processor
    if here.level is Level.V1:
        raise ConfigError(
            f"this processor is of class {Level.V1.value}; NumPy and ONNX Runtime need SSE4.2 ({Level.V2.value}) at least. "
            f"Use a processor of 2009 or newer; under a virtual machine, let it show the host's instructions"
        )


class _Leaf(ctypes.Structure):
    """glibc's `struct cpuid_feature` (sys/platform/x86.h): four registers as read, and those that may be used."""

    _fields_ = (("cpuid", ctypes.c_uint * 4), ("active", ctypes.c_uint * 4))


def _from_glibc() -> frozenset[str] | None:
    """Features that the processor has and the system lets programs use; None where glibc is older than 2.33."""
    try:
        ask = ctypes.CDLL(None).__x86_get_cpuid_feature_leaf
    except (OSError, AttributeError):
        return None
    ask.restype, ask.argtypes = ctypes.POINTER(_Leaf), [ctypes.c_uint]
    leaves = {index: ask(index) for index in sorted({leaf for leaf, _, _ in _BITS.values()})}
    if not all(leaves.values()):
        return None
    return frozenset(name for name, (leaf, register, bit) in _BITS.items() if leaves[leaf].contents.active[register] >> bit & 1)


def _from_numpy() -> frozenset[str] | None:
    """The same from NumPy, which reads no AVX-VNNI and no AMX: a processor may count for less than it is, never for more."""
    known: dict[str, bool] = {}
    for module in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):  # its name before NumPy 2
        with contextlib.suppress(ImportError):
            known = importlib.import_module(module).__cpu_features__
            break
    if not known:
        return None
    names = {name for name, present in known.items() if present}
    if Feature.AVX2.value in names:
        # What NumPy before 2.4 does not list: every processor with AVX2 and FMA has these.
        names |= {"BMI", "BMI2", "LZCNT", "MOVBE", "CX16"}
    return frozenset(names | ({"CX16"} if "SSE42" in names else set()))


def _model_name(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
