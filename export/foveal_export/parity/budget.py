"""What an artefact may lose against PyTorch: budgets by precision, and the parsing of `--budget`. Measures nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from foveal_runtime.bundle.agreement import TIE_MARGIN
from foveal_runtime.bundle.manifest import Precision, Target, Tolerances
from foveal_runtime.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits of the parity report. A share of studies allows what is no evidence of more (`agreement.allowed` of the runtime's
    bundles); what counts as changed: `tie_margin`."""

    icdr_flips: float = 0.02
    """Largest share of studies whose ICDR grade changes."""
    sdrg_flips: float = 0.02
    """Largest share of studies whose SDRG grade changes."""
    referable_flips: float = 0.01
    """Largest share of studies whose referral changes at the served operating point."""
    tie_margin: float = TIE_MARGIN
    """Margin in probability up to which PyTorch was not sure (`bundle.agreement`): such changes are near-ties."""
    probability: float = 0.30
    """Largest change of any served probability; one study in a hundred (at least one) may change four times as much."""
    referable_shift: float = 0.01
    """Largest absolute mean change of the served probability of referable DR, near-ties included."""
    min_cosine: float = 0.95
    """Least cosine of any vector with PyTorch's; one study in a hundred, at least one, may lie four times as far off."""
    golden_cosine: float = 0.93
    """The same of a golden study's: these are drawn, and lie further from the training photographs than any held-out one."""
    kappa_drop: float = 0.015
    """Largest loss of quadratic-weighted kappa against the labels that resampling the patients confirms."""
    sensitivity_drop: float = 0.015
    """The same of the sensitivity for referable DR at the served operating point."""
    calibration_rise: float = 0.015
    """The same of the expected calibration error."""
    neighbour_overlap: float = 0.85
    """Least mean overlap of the ten nearest neighbours, artefact's query against PyTorch's index."""
    max_abs: float = 2.0
    """Largest absolute difference on unit vectors; 2 is no limit."""
    neighbour_dependence: float = 1e-4
    """Largest difference on unit vectors between a study alone and in a batch."""


DEFAULTS: dict[Precision, Budget] = {
    Precision.FP32: Budget(
        icdr_flips=0.0,
        sdrg_flips=0.0,
        referable_flips=0.0,
        probability=1e-3,
        referable_shift=1e-4,
        min_cosine=0.99999,
        kappa_drop=0.0,
        sensitivity_drop=0.0,
        calibration_rise=1e-3,
        neighbour_overlap=0.99,
        max_abs=1e-4,
        golden_cosine=0.99999,
    ),
    Precision.FP16: Budget(
        icdr_flips=0.01,
        sdrg_flips=0.01,
        referable_flips=0.005,
        probability=0.03,
        referable_shift=0.002,
        min_cosine=0.999,
        kappa_drop=0.005,
        sensitivity_drop=0.005,
        calibration_rise=0.005,
        neighbour_overlap=0.97,
        max_abs=0.02,
        golden_cosine=0.999,
    ),
    Precision.INT8: Budget(),
}
"""By precision."""


def parse_budget(pairs: Sequence[str], precision: Precision) -> Budget:
    """`key=value` pairs (also several in one, joined by commas) over the precision's defaults.

    Raises:
        ConfigError: a key that does not exist, or a value that is no number in its range.
    """
    known = {field.name for field in dataclasses.fields(Budget)}
    changes: dict[str, float] = {}
    for pair in (part.strip() for text in pairs for part in text.split(",") if part.strip()):
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or key not in known:
            raise ConfigError(f"budget {pair!r} is not understood; write key=value with one of {', '.join(sorted(known))}")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and 0 <= number <= 2):
            raise ConfigError(f"budget {key} is {value.strip()!r}; give a number from 0 to 1")
        changes[key] = number
    default = DEFAULTS[precision]
    if "min_cosine" in changes:
        # Who allows a patient's vector that much, allows a drawn one's too.
        changes.setdefault("golden_cosine", min(default.golden_cosine, changes["min_cosine"]))
    return dataclasses.replace(default, **changes)


def tolerances(budget: Budget, precision: Precision) -> Tolerances:
    """The budget as the manifest carries it, and what a machine that replays the golden studies may differ by.

    Args:
        budget: of the export.
        precision: of the bundle.
    """
    probability = {Precision.FP32: 1e-3, Precision.FP16: 0.03, Precision.INT8: 0.35}[precision]
    vector = {Precision.FP32: 1e-4, Precision.FP16: 0.02, Precision.INT8: 0.5}[precision]
    return Tolerances(
        min_cosine=budget.min_cosine,
        max_abs_embedding=min(max(budget.max_abs, 0.0), vector),
        max_abs_probability=max(probability, budget.probability),
        icdr_flips=budget.icdr_flips,
        sdrg_flips=budget.sdrg_flips,
        referable_flips=budget.referable_flips,
        tie_margin=budget.tie_margin,
        probability=budget.probability,
        referable_shift=budget.referable_shift,
        kappa_drop=budget.kappa_drop,
        sensitivity_drop=budget.sensitivity_drop,
        calibration_rise=budget.calibration_rise,
        neighbour_overlap=budget.neighbour_overlap,
        neighbour_dependence=budget.neighbour_dependence,
        golden_cosine=budget.golden_cosine,
    )


def budget_of(tolerances: Tolerances) -> Budget:
    """A manifest's tolerances as a budget; what an older bundle does not limit is not judged."""

    def known(value: float | None, unlimited: float) -> float:
        return unlimited if value is None else value

    return Budget(
        icdr_flips=tolerances.icdr_flips,
        sdrg_flips=known(tolerances.sdrg_flips, tolerances.icdr_flips),
        referable_flips=tolerances.referable_flips,
        tie_margin=tolerances.tie_margin,
        probability=known(tolerances.probability, 1.0),
        referable_shift=known(tolerances.referable_shift, 1.0),
        min_cosine=tolerances.min_cosine,
        golden_cosine=tolerances.golden_cosine,
        kappa_drop=known(tolerances.kappa_drop, 2.0),
        sensitivity_drop=known(tolerances.sensitivity_drop, 1.0),
        calibration_rise=known(tolerances.calibration_rise, 1.0),
        neighbour_overlap=known(tolerances.neighbour_overlap, 0.0),
        max_abs=tolerances.max_abs_embedding,
        neighbour_dependence=tolerances.neighbour_dependence,
    )


def replayed(tolerances: Tolerances, target: Target, golden_cosine: float) -> Tolerances:
    """`tolerances` with what the artefact reached on the golden studies at export, less a fifth of what `min_cosine` allows.

    A machine on which the same graphs come out further from PyTorch than where they were judged does not serve that artefact.
    TensorRT's engines compute otherwise than the CPU that judges their graphs, so that target keeps the budget's limit.

    Args:
        tolerances: with the budget's limit.
        target: of the bundle.
        golden_cosine: the least that was reached.
    """
    if target is not Target.ONNX:
        return tolerances
    reached = golden_cosine - (1 - tolerances.min_cosine) / 5
    return tolerances.model_copy(update={"golden_cosine": max(tolerances.golden_cosine, reached)})
