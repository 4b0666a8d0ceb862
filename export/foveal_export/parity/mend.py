"""What to do about an export that is out of budget: commands that go on from what was calibrated. Judges nothing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foveal_export.parity.budget import DEFAULTS, Budget
from foveal_export.parity.verdict import Failure, loosened
from foveal_export.quantise.plan import ExportPlan, Mode
from foveal_runtime.bundle.manifest import Target

_KEPT = 4
"""Blocks that a mend proposes to keep at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mend:
    """How to go on without starting over."""

    loosen: tuple[str, ...]
    """Words after `foveal` that write this very artefact under limits it holds; empty when none would help."""
    why: str
    """The limits that were missed, in one line."""
    keep: tuple[str, ...]
    """Words after `foveal` that keep the most harmful blocks in floating point; empty when there are none left."""

    @property
    def text(self) -> str:
        """For people."""
        lines = []
        if self.loosen:
            lines.append(f"  to accept it as it is:  foveal {shlex.join(self.loosen)}")
        if self.keep:
            lines.append(f"  to keep more precision: foveal {shlex.join(self.keep)}")
        if not lines:
            lines.append("  no limit would let it pass: train longer, or export at a higher precision")
        return "\n".join(lines)


def plan_path(out: Path) -> Path:
    """Where the plan of a refused export is left."""
    return out.with_name(out.name + ".plan.json")


def report_path(out: Path) -> Path:
    """Where the report of a refused export is left."""
    return out.with_name(out.name + ".parity.json")


def clear(out: Path) -> None:
    """Remove what an earlier refusal left: it belongs to no artefact any more."""
    for path in (plan_path(out), report_path(out)):
        path.unlink(missing_ok=True)


def mend(
    words: tuple[str, ...],
    out: Path,
    plan: ExportPlan,
    budget: Budget,
    failures: Sequence[Failure],
    harmful: Sequence[tuple[str, str]],
) -> Mend:
    """Commands that mend a refusal.

    Args:
        words: after `foveal`, that say what was exported.
        out: the target, which was not written.
        plan: of the refused artefact.
        budget: that it missed.
        failures: every limit that was missed.
        harmful: (graph, block) still quantised, the most harmful first.
    """
    base: tuple[str, ...] = (
        *words,
        "--precision",
        plan.precision.value,
        "--out",
        str(out),
        "--plan",
        str(plan_path(out)),
    )
    if plan.target is not Target.ONNX:
        base += ("--target", plan.target.value)
    elif any(graph.mode is not Mode.FLOAT and not graph.reduce_range for graph in plan.graphs.values()):
        base += ("--cpu", "vnni")
    asked = _changed(budget, plan)
    wider = loosened(failures)
    blocks = [f"{graph}.{block}" for graph, block in harmful[:_KEPT]]
    kept = tuple(word for block in blocks for word in ("--keep", block))
    limits = ("--budget", _pairs(asked)) if asked else ()
    return Mend(
        why="; ".join(map(str, failures)),
        loosen=(*base, "--budget", _pairs(asked | wider)) if wider else (),
        keep=(*base, *kept, *limits) if kept else (),
    )


def refusal(
    words: tuple[str, ...],
    out: Path,
    plan: ExportPlan,
    budget: Budget,
    missed: Sequence[Failure],
    harmful: Sequence[tuple[str, str]],
    document: dict[str, Any],
    html: Path,
) -> str:
    """What to tell whose artefact is out of budget; plan and report are left beside the target to go on from.

    Args:
        words: see `mend`, as the next five.
        out: see `mend`.
        plan: see `mend`.
        budget: see `mend`.
        missed: see `mend`.
        harmful: see `mend`.
        document: parity.json of the refused artefact.
        html: its page.
    """
    found = mend(words, out, plan, budget, missed, harmful)
    write(out, plan, document, found)
    listed = "".join(f"\n  {failure}" for failure in missed)
    return f"out of budget, nothing written:{listed}\n  report: {html}\n{found.text}"


def write(out: Path, plan: ExportPlan, document: dict[str, Any], found: Mend) -> None:
    """Leave plan and report beside the target."""
    plan.write(plan_path(out))
    mended = {"command": list(found.loosen), "keep": list(found.keep), "why": found.why}
    report_path(out).write_text(json.dumps({**document, "mend": mended}, indent=1) + "\n", encoding="utf-8")


def _changed(budget: Budget, plan: ExportPlan) -> dict[str, float]:
    """What was asked for besides the precision's defaults."""
    default = asdict(DEFAULTS[plan.precision])
    return {name: value for name, value in asdict(budget).items() if value != default[name]}


def _pairs(values: dict[str, float]) -> str:
    return ",".join(f"{name}={value:.8g}" for name, value in values.items())
