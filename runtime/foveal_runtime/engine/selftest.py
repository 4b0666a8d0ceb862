"""Replay a bundle's golden studies and compare with what PyTorch said of them. Takes any runner; touches no network.

The same comparison serves `foveal verify BUNDLE`, the start-up check and the `SelfTest` call: a machine proves that its
processor, provider and libraries give the reference's answers before it gives a patient one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.agreement import NO_CHANGES, Changes, allowed, changed_decisions, changed_grades
from foveal_runtime.bundle.golden import Golden, read_golden
from foveal_runtime.bundle.manifest import Manifest
from foveal_runtime.engine.answers import Outcome, VectorKind, trained_kinds
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.grading import calibration_of, operating_point_of
from foveal_runtime.errors import BundleError, FovealError
from foveal_runtime.study.labels import ICDR, Head
from foveal_runtime.study.study import Study, subset_name

Float32 = npt.NDArray[np.float32]

ALONE_STUDIES = 4
"""Studies that are also run by themselves, to see whether an answer depends on its neighbours."""

Runner = Callable[[Sequence[Study], frozenset[VectorKind]], list[Outcome]]
"""Runs studies in one batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One golden study that is out of tolerance."""

    study: str
    subset: str
    quantity: str
    got: float
    limit: float
    judged: int = 1
    """Studies that the figure is about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTestReport:
    """How far this machine is from the reference."""

    passed: bool
    studies: int
    min_cosine: float
    max_abs_embedding: float
    max_abs_probability: float
    icdr_flips: int
    """Changed ICDR grades that count (`foveal_runtime.bundle.agreement`), of studies whose grades are proven."""
    referable_flips: int
    """Changed referral decisions that count, likewise."""
    neighbour_dependence: float
    """Largest difference on unit vectors between a golden study alone and in the batch."""
    failures: tuple[Drift, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON document."""
        return asdict(self)

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.studies} golden studies: min cosine {self.min_cosine:.5f}, max |Δ vector| {self.max_abs_embedding:.2e}, "
            f"max |Δ probability| {self.max_abs_probability:.2e}, ICDR flips {self.icdr_flips}, "
            f"referable flips {self.referable_flips}, alone against batch {self.neighbour_dependence:.1e}"
        )


def self_test(
    engine: Engine, golden: Golden | None = None, *, manifest: Manifest | None = None, lanes: int = 1
) -> SelfTestReport:
    """Replay the golden studies through an engine in this process.

    Args:
        engine: of the bundle.
        golden: None reads the bundle's own.
        manifest: whose tolerances and calibration judge; None is the engine's.
        lanes: threads that share the studies, as the lanes of a worker share its jobs; ONNX Runtime lets go of the
            interpreter's lock.

    Raises:
        BundleError: the bundle has no usable golden studies, or its graphs can't compute them.
    """
    golden = read_golden(engine.bundle) if golden is None else golden
    judged_by = engine.manifest if manifest is None else manifest
    grade = bool(judged_by.trained_heads)
    try:
        with ThreadPoolExecutor(lanes, thread_name_prefix="self-test") as pool:

            def run(studies: Sequence[Study], kinds: frozenset[VectorKind]) -> list[Outcome]:
                prepared = list(pool.map(engine.prepare, studies))
                each = -(-len(prepared) // lanes)
                parts = [prepared[i : i + each] for i in range(0, len(prepared), each)]
                answers = pool.map(partial(engine.run, kinds=kinds, grade=grade), parts)
                return [outcome for part in answers for outcome in part]

            return replay(run, judged_by, golden)
    except FovealError:
        raise
    except Exception as error:
        # Which libraries raise what on a graph or a tokenizer that does not fit, no list holds.
        raise BundleError(
            f"golden studies of {engine.bundle.path} can't be computed ({type(error).__name__}); export the bundle again"
        ) from error


def replay(run: Runner, manifest: Manifest, golden: Golden) -> SelfTestReport:
    """Replay through any runner, and compare."""
    kinds = trained_kinds(manifest)
    together = run(golden.studies, kinds)
    some = range(0, len(golden.studies), max(1, len(golden.studies) // ALONE_STUDIES))
    alone = {i: run([golden.studies[i]], kinds)[0] for i in some}
    return compare(together, alone, manifest, golden)


def compare(together: Sequence[Outcome], alone: dict[int, Outcome], manifest: Manifest, golden: Golden) -> SelfTestReport:
    """Compare outcomes of the golden studies with the reference.

    Args:
        together: outcomes of all golden studies, in order, from one batch.
        alone: outcomes of some of them by themselves, by index.
        manifest: tolerances, trained heads.
        golden: the reference.
    """
    found = _Comparison(manifest, golden)
    for i, (_, outcome) in enumerate(zip(golden.studies, together, strict=True)):
        found.vectors(i, outcome, alone.get(i))
        found.heads(i, outcome)
    return found.report()


class _Comparison:
    """What was found so far of the golden studies' replay."""

    def __init__(self, manifest: Manifest, golden: Golden) -> None:
        self._manifest, self._golden = manifest, golden
        self._failures: list[Drift] = []
        self._cosines, self._gaps, self._probability_gaps, self._dependences = [1.0], [0.0], [0.0], [0.0]
        self._judged: dict[str, Changes] = {}

    def _check(self, study: Study, quantity: str, got: float, limit: float, *, bad: bool) -> None:
        if bad or not np.isfinite(got):
            subset = subset_name(study.modalities)
            self._failures.append(Drift(study=study.id, subset=subset, quantity=quantity, got=got, limit=limit))

    def vectors(self, i: int, outcome: Outcome, alone: Outcome | None) -> None:
        """Compare the vectors of golden study `i` with the reference's, and with its own when it was asked alone."""
        study, limits = self._golden.studies[i], self._manifest.tolerances
        for kind, vector in outcome.vectors.items():
            expected = _reference_vector(self._golden, i, kind)
            cosine, gap = float(vector @ expected), float(np.abs(vector - expected).max())
            self._cosines.append(cosine)
            self._gaps.append(gap)
            self._check(study, f"cosine.{kind.value}", cosine, limits.golden_cosine, bad=cosine < limits.golden_cosine)
            self._check(study, f"max_abs.{kind.value}", gap, limits.max_abs_embedding, bad=gap > limits.max_abs_embedding)
            if alone is not None:
                apart, most = float(np.abs(vector - alone.vectors[kind]).max()), limits.neighbour_dependence
                self._dependences.append(apart)
                self._check(study, f"neighbours.{kind.value}", apart, most, bad=apart > most)

    def heads(self, i: int, outcome: Outcome) -> None:
        """Compare the probabilities of golden study `i`, and its answers where held-out studies have proven the head."""
        study, manifest, golden = self._golden.studies[i], self._manifest, self._golden
        limit = manifest.tolerances.max_abs_probability
        for head, logits in outcome.logits.items():
            reference = golden.logits[head][i]
            calibration = calibration_of(manifest, study.modalities)
            got_G, expected_G = (calibration.probabilities(head, side) for side in (logits, reference))
            gap = float(np.abs(got_G - expected_G).max())
            self._probability_gaps.append(gap)
            self._check(study, f"probability.{head}", gap, limit, bad=gap > limit)
            if manifest.evidence and not manifest.is_proven(subset_name(study.modalities), head):
                continue  # an older bundle says nothing of evidence: its own limits say whether grades are judged
            for name, changes in _changes(manifest, study, head, expected_G, got_G).items():
                self._judged[name] = self._judged.get(name, NO_CHANGES) + changes

    def report(self) -> SelfTestReport:
        """Everything together."""
        limits = self._manifest.tolerances
        shares = {
            "icdr_flips": limits.icdr_flips,
            "sdrg_flips": limits.icdr_flips if limits.sdrg_flips is None else limits.sdrg_flips,
            "referable_flips": limits.referable_flips,
        }
        failures = list(self._failures)
        for name, changes in self._judged.items():
            # Of so few studies one may always change, also where the share is 0.
            limit = max(1.0, allowed(shares.get(name, limits.icdr_flips), changes.studies))
            if changes.counted > limit:
                got = float(changes.counted)
                failures.append(Drift(study="", subset="", quantity=name, got=got, limit=limit, judged=changes.studies))
        return SelfTestReport(
            passed=not failures,
            studies=len(self._golden.studies),
            min_cosine=min(self._cosines),
            max_abs_embedding=max(self._gaps),
            max_abs_probability=max(self._probability_gaps),
            icdr_flips=self._judged.get("icdr_flips", NO_CHANGES).counted,
            referable_flips=self._judged.get("referable_flips", NO_CHANGES).counted,
            neighbour_dependence=max(self._dependences),
            failures=tuple(failures),
        )


def _changes(
    manifest: Manifest, study: Study, head: Head, expected_G: npt.NDArray[np.float64], got_G: npt.NDArray[np.float64]
) -> dict[str, Changes]:
    """What changed in one study's served answer, by the limit it counts towards."""
    margin = manifest.tolerances.tie_margin
    found = {f"{head}_flips": changed_grades(expected_G[None], got_G[None], margin)}
    if head == ICDR:
        threshold = operating_point_of(manifest, study.modalities).threshold
        found["referable_flips"] = changed_decisions(expected_G[None], got_G[None], (threshold, threshold), margin)
    return found


def _reference_vector(golden: Golden, study: int, kind: VectorKind) -> Float32:
    vector: Float32 = (
        golden.joint_ND[study] if kind is VectorKind.JOINT else golden.cls_NMD[study, list(VectorKind).index(kind) - 1]
    )
    return vector
