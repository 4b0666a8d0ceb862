"""Replay a bundle's golden studies and compare with what PyTorch said of them. Takes any runner; touches no network.

The same comparison serves `foveal verify BUNDLE`, the start-up check and the `SelfTest` call: a machine proves that its
processor, provider and libraries give the reference's answers before it gives a patient one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.engine import Engine, Outcome, VectorKind, trained_kinds
from foveal_runtime.golden import Golden, read_golden
from foveal_runtime.labels import REFERABLE_GRADE, Head, softmax
from foveal_runtime.manifest import Manifest
from foveal_runtime.study import Study, subset_name

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


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTestReport:
    """How far this machine is from the reference."""

    passed: bool
    studies: int
    min_cosine: float
    max_abs_embedding: float
    max_abs_probability: float
    icdr_flips: int
    referable_flips: int
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


def self_test(engine: Engine, golden: Golden | None = None) -> SelfTestReport:
    """Replay the golden studies through an engine in this process.

    Raises:
        BundleError: the bundle has no usable golden studies.
    """
    golden = read_golden(engine.bundle) if golden is None else golden
    return replay(lambda studies, kinds: engine.run([engine.prepare(s) for s in studies], kinds=kinds), engine.manifest, golden)


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
    limits = manifest.tolerances
    failures: list[Drift] = []
    cosines, gaps, probability_gaps, dependences = [1.0], [0.0], [0.0], [0.0]
    icdr_flips = referable_flips = 0
    for i, (study, outcome) in enumerate(zip(golden.studies, together, strict=True)):

        def check(quantity: str, got: float, limit: float, bad: bool, study: Study = study) -> None:
            if bad or not np.isfinite(got):
                failures.append(
                    Drift(study=study.id, subset=subset_name(study.modalities), quantity=quantity, got=got, limit=limit)
                )

        for kind, vector in outcome.vectors.items():
            expected = _reference_vector(golden, i, kind)
            cosine = float(vector @ expected)
            gap = float(np.abs(vector - expected).max())
            cosines.append(cosine)
            gaps.append(gap)
            check(f"cosine.{kind.value}", cosine, limits.golden_cosine, cosine < limits.golden_cosine)
            check(f"max_abs.{kind.value}", gap, limits.max_abs_embedding, gap > limits.max_abs_embedding)
            if i in alone:
                dependence = float(np.abs(vector - alone[i].vectors[kind]).max())
                dependences.append(dependence)
                check(
                    f"neighbours.{kind.value}",
                    dependence,
                    limits.neighbour_dependence,
                    dependence > limits.neighbour_dependence,
                )
        for head, logits in outcome.logits.items():
            reference = (golden.icdr_NG if head is Head.ICDR else golden.sdrg_NG)[i]
            got_G, expected_G = softmax(logits), softmax(reference)
            gap = float(np.abs(got_G - expected_G).max())
            probability_gaps.append(gap)
            check(f"probability.{head.value}", gap, limits.max_abs_probability, gap > limits.max_abs_probability)
            if head is Head.ICDR:
                icdr_flips += int(got_G.argmax() != expected_G.argmax())
                referable_flips += int((got_G[REFERABLE_GRADE:].sum() >= 0.5) != (expected_G[REFERABLE_GRADE:].sum() >= 0.5))
    count = len(golden.studies)
    for name, flips, share in (
        ("icdr_flips", icdr_flips, limits.icdr_flips),
        ("referable_flips", referable_flips, limits.referable_flips),
    ):
        if flips > max(1.0, share * count):
            failures.append(Drift(study="", subset="", quantity=name, got=float(flips), limit=max(1.0, share * count)))
    return SelfTestReport(
        passed=not failures,
        studies=count,
        min_cosine=min(cosines),
        max_abs_embedding=max(gaps),
        max_abs_probability=max(probability_gaps),
        icdr_flips=icdr_flips,
        referable_flips=referable_flips,
        neighbour_dependence=max(dependences),
        failures=tuple(failures),
    )


def _reference_vector(golden: Golden, study: int, kind: VectorKind) -> Float32:
    vector: Float32 = (
        golden.joint_ND[study] if kind is VectorKind.JOINT else golden.cls_NMD[study, list(VectorKind).index(kind) - 1]
    )
    return vector
