"""What is done to each graph, as data: a plan that can be written down, read back and applied again. Applies nothing."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from foveal_runtime.bundle.manifest import Precision, Target
from foveal_runtime.errors import ConfigError

PLAN_FILE = "plan.json"
SCHEMA_VERSION = 1


class Mode(StrEnum):
    """How the activations of an INT8 graph get their scales."""

    FLOAT = "float"
    """No INT8 arithmetic; weights are stored in FP16 and widened at load."""
    STATIC = "static"
    """Q/DQ with scales from calibration: any batch, any target."""
    DYNAMIC = "dynamic"
    """A scale per call from the values at hand: one study a call, unpadded, CPU alone."""


class RangeRule(StrEnum):
    """How a calibrated range is chosen."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    """Leaves out 0.01 % of the values."""
    LEAST_ERROR = "least-error"
    """The clipping of least squared error."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GraphPlan(_Model):
    """One graph's part of a plan."""

    mode: Mode
    rule: RangeRule = RangeRule.MINMAX
    smooth: float | None = None
    """SmoothQuant's migration strength (Xiao et al. 2023); None leaves weights as they are."""
    keep: tuple[str, ...] = ()
    """Modules (node-name prefixes) that stay in floating point; in FP32 where the others are in FP16."""
    wide: tuple[str, ...] = ()
    """Nodes of an INT8 graph for TensorRT that stay FP32 where the rest is FP16: calibration saw values near FP16's limit."""
    symmetric: bool = False
    """Static activations in S8 around zero, as TensorRT wants them; False is U8 with a zero point."""
    reduce_range: bool = False
    """Seven-bit weights, for processors without VNNI, on which sums of U8 x S8 products saturate."""
    ranges: dict[str, tuple[float, float]] = {}
    """Calibrated range of every quantised activation, by tensor name."""
    channel_max: dict[str, tuple[float, ...]] = {}
    """Per-channel magnitudes that smoothing used, by tensor name."""
    rounding: dict[str, str] = {}
    """By node: the steps in which its weights differ from nearest rounding (see `rounding.pack`)."""
    bias: dict[str, tuple[float, ...]] = {}
    """By node: what is added to each channel's bias, so that quantised weights shift no channel."""

    def described(self) -> str:
        """The scheme in a line, for the manifest."""
        if self.mode is Mode.FLOAT:
            return "fp16" if self.symmetric else "fp16 weights, fp32 arithmetic"
        words = ["int8", self.mode.value]
        if self.mode is Mode.STATIC:
            words.append(f"{self.rule.value} ranges")
        if self.symmetric:
            words.append("around zero")
        if self.smooth is not None:
            words.append(f"smoothing {self.smooth:g}")
        if self.rounding:
            words.append("rounded by outputs")
        if self.reduce_range:
            words.append("7-bit weights")
        return ", ".join(words) + (f"; in floating point: {', '.join(self.keep)}" if self.keep else "")


class ExportPlan(_Model):
    """All that decides the bytes of a bundle's graphs, besides the run."""

    schema_version: Literal[1] = 1
    precision: Precision
    target: Target = Target.ONNX
    space_id: str
    """The run it was made for: ranges of one model mean nothing for another."""
    graphs: dict[str, GraphPlan]

    def write(self, path: Path) -> None:
        """Write plan.json."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_plan(path: Path, space_id: str, *, precision: Precision, target: Target) -> ExportPlan:
    """Read a plan for the run at hand.

    Raises:
        ConfigError: unreadable, of another schema version, or made for another run, precision or target.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document.get("schema_version")
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"plan {path} can't be read ({type(error).__name__}); give a plan.json that an export wrote"
        ) from None
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"plan {path} has schema version {version!r}, this foveal reads {SCHEMA_VERSION}; export without --plan"
        )
    try:
        plan = ExportPlan.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"plan {path} is damaged at {where!r}: {first['msg']}; export without --plan") from None
    if plan.space_id != space_id:
        raise ConfigError(f"plan {path} was made for another run (its space is {plan.space_id[:12]}…); export without --plan")
    if (plan.precision, plan.target) != (precision, target):
        raise ConfigError(
            f"plan {path} is for {plan.precision.value} on {plan.target.value}, not {precision.value} on {target.value}; "
            "export without --plan"
        )
    return plan
