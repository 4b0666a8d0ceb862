"""What an artefact is to be, what it is compared on, and what was found of one. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from foveal_export.parity import parity
from foveal_export.parity.budget import Budget
from foveal_export.parity.verdict import Failure
from foveal_export.studies import cases
from foveal_runtime.bundle.manifest import Cpu, Manifest, Precision, Target
from foveal_runtime.engine.selftest import SelfTestReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Aim:
    """What the artefact is to be."""

    precision: Precision
    target: Target
    budget: Budget
    cpu: Cpu = Cpu.ANY
    """Processors that an INT8 artefact for ONNX Runtime has to be right on."""

    @property
    def may_saturate(self) -> bool:
        """True of graphs whose products ONNX Runtime's CPU provider will run in U8 x S8 kernels."""
        return self.precision is Precision.INT8 and self.target is Target.ONNX


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Studies of one purpose, and what PyTorch says of them."""

    cases: Mapping[str, Sequence[cases.Case]]
    """By subset name."""
    answers: Mapping[str, parity.Answers]
    source: str
    """Where the studies come from, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One candidate, written and measured."""

    manifest: Manifest
    answers: dict[str, parity.Answers]
    parts: dict[str, parity.SubsetParity]
    dependence: float
    failures: list[Failure]
    golden: SelfTestReport
    """Replay of the golden studies."""
    graphs: dict[str, onnx.ModelProto]


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenBack:
    """What one block costs that the search left in floating point, against the same artefact with it in INT8."""

    block: str
    """GRAPH.BLOCK."""
    ms: float
    """Of a study, batch 1, on the machine that exports: less than 0 where INT8 is slower, or by chance."""
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One point of the frontier."""

    kept: int
    """Blocks in floating point."""
    blocks: tuple[str, ...]
    min_cosine: float
    mean_cosine: float
    icdr_flips: int
    neighbour_overlap: float | None
    failures: int
    ms: float
    """One study, batch 1, mean over the subsets."""
    bytes: int
