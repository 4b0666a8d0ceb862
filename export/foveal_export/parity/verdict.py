"""Is an artefact within its budget? Lists every limit that is missed, and what could be done about it. Measures nothing.

An artefact is refused for harm, never for noise: a changed grade counts where PyTorch was sure of it, a loss against the labels
where resampling the patients confirms it, and grades alone where held-out studies show that PyTorch's own mean anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_export.parity.parity import OUTLIER_REACH
from foveal_runtime.bundle.agreement import allowed
from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.study.labels import ICDR, SDRG, Head

if TYPE_CHECKING:
    from foveal_export.parity.budget import Budget
    from foveal_export.parity.evidence import Evidences
    from foveal_export.parity.parity import HeadParity, ReferableParity, SubsetParity


REFITTED = "by refitting"
"""Ends the quantity of a failure whose limit is what the bundle carries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One limit that was missed."""

    subset: str
    quantity: str
    got: float
    limit: float
    key: str = ""
    """The budget's key that limits it; empty where no budget does."""
    needs: float | None = None
    """The value of that key at which it would pass."""

    def __str__(self) -> str:
        if self.quantity.endswith(REFITTED):
            return f"{self.subset}: {self.quantity} is {self.got:.4g}, the bundle carries {self.limit:.4g}"
        return f"{self.subset}: {self.quantity} is {self.got:.6g}, the limit is {self.limit:.6g}"


class _Missed:
    """Collects what is out of limits, in the order of the report."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def most(self, subset: str, quantity: str, got: float, limit: float, key: str) -> None:
        """`got` may be `limit` at most; NaN is more."""
        if not got <= limit:
            self.failures.append(Failure(subset=subset, quantity=quantity, got=got, limit=limit, key=key, needs=got))

    def least(self, subset: str, quantity: str, got: float, limit: float, key: str) -> None:
        """`got` must be `limit` at least; NaN is less."""
        if not got >= limit:
            self.failures.append(Failure(subset=subset, quantity=quantity, got=got, limit=limit, key=key, needs=got))

    def outlier_cosine(self, subset: str, quantity: str, got: float, min_cosine: float) -> None:
        """The few worst studies may lie further off than all others, but not anywhere."""
        limit = 1 - OUTLIER_REACH * (1 - min_cosine)
        if not got >= limit:
            needs = 1 - (1 - got) / OUTLIER_REACH
            self.failures.append(Failure(subset=subset, quantity=quantity, got=got, limit=limit, key="min_cosine", needs=needs))

    def outlier_probability(self, subset: str, quantity: str, got: float, probability: float) -> None:
        """The same of probabilities."""
        limit = OUTLIER_REACH * probability
        if not got <= limit:
            needs = got / OUTLIER_REACH
            self.failures.append(
                Failure(subset=subset, quantity=quantity, got=got, limit=limit, key="probability", needs=needs)
            )

    def share(self, subset: str, key: str, got: int, share: float, studies: int) -> None:
        """`got` studies of all may be `share` of them."""
        limit = allowed(share, studies)
        if got > limit:
            self.failures.append(Failure(subset=subset, quantity=key, got=got, limit=limit, key=key, needs=got / studies))


def failures(subsets: Mapping[str, SubsetParity], budget: Budget, *, evidence: Evidences, dependence: float) -> list[Failure]:
    """Every limit that is missed, in the order of the report.

    Args:
        subsets: by subset name.
        budget: limits.
        evidence: which heads' grades mean anything; vectors and probabilities are judged whatever it says.
        dependence: largest difference of a study alone and in a batch.
    """
    missed = _Missed()
    learnt = any(entry.status is Evidence.PROVEN for heads in evidence.values() for entry in heads.values())
    for name, part in subsets.items():
        for kind, vector in part.vectors.items():
            missed.least(name, f"min_cosine of {kind}", vector.low_cosine, budget.min_cosine, "min_cosine")
            missed.outlier_cosine(name, f"outlier's cosine of {kind}", vector.min_cosine, budget.min_cosine)
            missed.most(name, f"max_abs of {kind}", vector.max_abs, budget.max_abs, "max_abs")
            # An untrained model's vectors lie in one heap: which of them are nearest is noise.
            if learnt and vector.cross_overlap is not None:
                quantity = f"neighbour_overlap of {kind}"
                missed.least(name, quantity, vector.cross_overlap, budget.neighbour_overlap, "neighbour_overlap")
        for head, found in part.heads.items():
            missed.most(name, f"probability of {head}", found.high_abs_probability, budget.probability, "probability")
            missed.outlier_probability(name, f"outlier's probability of {head}", found.max_abs_probability, budget.probability)
            if _is_proven(evidence, name, head):
                _head(missed, name, head, found, part.studies, budget)
        if part.referable is not None and _is_proven(evidence, name, ICDR):
            _referable(missed, name, part.referable, part.studies, budget)
    missed.most("all", "neighbour_dependence", dependence, budget.neighbour_dependence, "neighbour_dependence")
    return missed.failures


def _head(missed: _Missed, name: str, head: str, found: HeadParity, studies: int, budget: Budget) -> None:
    share = budget.sdrg_flips if head == SDRG else budget.icdr_flips
    missed.share(name, f"{head}_flips", found.counted, share, studies)
    if found.kappa is not None and found.kappa.exceeds(budget.kappa_drop):
        missed.most(name, f"kappa_drop of {head}", found.kappa.loss, budget.kappa_drop, "kappa_drop")
    error = found.expected_calibration_error
    if error is not None and error.exceeds(budget.calibration_rise):
        missed.most(name, f"calibration_rise of {head}", error.loss, budget.calibration_rise, "calibration_rise")


def _referable(missed: _Missed, name: str, found: ReferableParity, studies: int, budget: Budget) -> None:
    missed.share(name, "referable_flips", found.counted, budget.referable_flips, studies)
    missed.most(name, "referable_shift", abs(found.shift), budget.referable_shift, "referable_shift")
    if found.sensitivity is not None and found.sensitivity.exceeds(budget.sensitivity_drop):
        missed.most(name, "sensitivity_drop", found.sensitivity.loss, budget.sensitivity_drop, "sensitivity_drop")


def _is_proven(evidence: Evidences, name: str, head: Head) -> bool:
    entry = evidence.get(name, {}).get(head)
    return entry is not None and entry.status is Evidence.PROVEN


def loosened(missed: Sequence[Failure]) -> dict[str, float]:
    """The budget under which these would pass, key to value, rounded to the loose side; empty when none would help.

    A NaN passes no limit, and what no budget limits can't be loosened.
    """
    found: dict[str, float] = {}
    for failure in missed:
        if not failure.key or failure.needs is None or not math.isfinite(failure.needs):
            return {}
        least = failure.got < failure.limit
        value = _rounded(failure.needs, down=least)
        known = found.get(failure.key, value)
        found[failure.key] = min(known, value) if least else max(known, value)
    return found


def _rounded(value: float, *, down: bool) -> float:
    """Three significant digits, to the side that lets `value` pass."""
    if value == 0:
        return 0.0
    if down and value > 0.5:
        # 0.99987 loosened to 0.999 would give away eight times what is needed: digits count from 1 downwards.
        return float(f"{1 - _rounded(1 - value, down=False):.8g}")
    step = 10 ** (math.floor(math.log10(abs(value))) - 2)
    steps = value / step
    return float(f"{(math.floor(steps - 1e-9) if down else math.ceil(steps + 1e-9)) * step:.8g}")
