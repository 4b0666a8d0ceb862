"""Compare a bundle with the PyTorch model of its run, on real studies. Writes nothing; see `cli.verify_against_run`.

What is compared is what the bundle would serve: photographs go through its own preprocessing, logits through the temperatures
and thresholds that it carries. Those are also fitted again, and refused where the bundle's differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_export.parity import assess, evidence, parity
from foveal_export.parity.budget import budget_of
from foveal_export.parity.refit import TEMPERATURE_TOLERANCE, THRESHOLD_TOLERANCE, Refit, differing, recalibrated, refit
from foveal_export.parity.verdict import REFITTED, Failure, failures
from foveal_export.studies import cases
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.engine import Engine
from foveal_runtime.errors import CheckFailed, DataError, SpaceMismatchError
from foveal_runtime.study.study import Subset
from foveal_train.data import Sample
from foveal_train.runs.reference import Reference
from foveal_train.runs.run import Run

if TYPE_CHECKING:
    from foveal_export.planning import Reporter

LIMIT = 4000
"""Answers compared at most: a check of what is deployed looks at more than an export does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was found."""

    document: dict[str, Any]
    failures: tuple[Failure, ...]
    parts: dict[str, parity.SubsetParity]
    """By subset name, as in the document."""

    def raise_if_failed(self) -> None:
        """Raises:
        CheckFailed: naming every failure.
        """
        if self.failures:
            listed = "".join(f"\n  {failure}" for failure in self.failures)
            raise CheckFailed(f"out of tolerance:{listed}\n  do not serve it; export it again from its run")


class Verifier:
    """A run's own answers on some studies, with which any number of its bundles are compared."""

    def __init__(self, run_path: Path, data: tuple[str, ...], say: Reporter) -> None:
        """Ask PyTorch.

        Args:
            run_path: the run.
            data: data sets to compare on; empty for what the run held out.
            say: told how it gets on.

        Raises:
            DataError: the run or the data can't be used.
        """
        say.stage("opening the run")
        self.run, self._say = Run.open(run_path), say
        info = self.run.info
        reference = Reference(self.run.model, self.run.tokenizer_json, info)
        say.stage("reading studies")
        self._chosen = cases.choose(self.run, data or None)
        self._modalities: Subset = frozenset().union(*info.subsets)
        self._samples = cases.sampled(self._chosen.parity, LIMIT)
        self.checks = self._prepared(reference)
        self.info = recalibrated(reference, info, self._validation())
        if not self.checks:
            raise DataError(
                f"{self._chosen.source}: no study has a modality that was trained ({', '.join(info.trained_subsets)})"
            )
        say.stage("asking PyTorch")
        self.expected = assess.ask_reference(reference, info, self.checks)
        self._last: tuple[Any, dict[str, list[cases.Case]]] | None = None
        """Studies as the last bundle prepared them: the next one's preprocessing is most often the same."""

    def _prepared(self, preparer: cases.Preparer) -> dict[str, list[cases.Case]]:
        made = cases.prepare(preparer, self._samples, self._modalities, self.run.info.head_classes)
        return cases.by_subset(made, self.run.info.subsets, LIMIT)

    def _validation(self) -> Sequence[Sample]:
        """The run's validation studies, from its own data where the data that were named hold none of them."""
        if self._chosen.validation:
            return self._chosen.validation
        try:
            return cases.choose(self.run, None).validation
        except DataError:
            return ()  # a run that was moved away from its data: the report says that nothing was refitted

    def verify(self, bundle: Path) -> Report:
        """Ask one bundle, and compare.

        Raises:
            BundleError: the bundle is damaged.
            SpaceMismatchError: the bundle was exported from another run.
        """
        opened = Bundle.open(bundle)
        manifest, info = opened.manifest, self.info
        if manifest.space_id != info.space_id:
            raise SpaceMismatchError(
                f"{bundle} is of space {manifest.space_id[:12]}…, run {self.run.path} of {info.space_id[:12]}…: "
                "they are two models; name the run that the bundle was exported from"
            )
        self._say.stage("asking the bundle")
        engine = Engine(opened)
        spec = (manifest.image, manifest.text, manifest.features)
        if self._last is None or self._last[0] != spec:
            self._last = spec, self._prepared(engine)
        prepared = self._last[1]
        found = assess.ask_engine(engine, info, prepared)
        dependence = assess.neighbour_dependence(engine, info, prepared)
        budget = budget_of(manifest.tolerances)
        # A site's own calibration is not the run's: its graphs are compared under one and the same.
        served = (info.calibration if manifest.adapted is None else manifest.calibration, manifest.calibration)
        parts = assess.compare_all(self.expected, found, self.checks, served, budget.tie_margin)
        proofs = manifest.evidence or evidence.gather(info.trained_heads, [(self.checks, self.expected)])
        missed = failures(parts, budget, evidence=proofs, dependence=dependence)
        self._say.stage("refitting temperatures and operating points")
        # Without validation studies at hand there is nothing to fit on, and the report says so.
        validation = self._validation() if manifest.adapted is None else ()
        fitted = refit(engine, info, validation) if validation else Refit(calibration={})
        missed += [
            Failure(subset=name, quantity=f"{what} {REFITTED}", got=again, limit=carried)
            for name, what, carried, again in differing(manifest.calibration, fitted, budget.referable_flips)
        ]
        document = {
            "schema_version": 2,
            "bundle": opened.sha256,
            "space_id": manifest.space_id,
            "precision": manifest.precision.value,
            "source": self._chosen.source,
            "passed": not missed,
            "failures": [asdict(failure) for failure in missed],
            "evidence": evidence.to_json(proofs),
            "refitted": {
                "studies": len(validation),
                "subsets": sorted(fitted.calibration),
                "temperature_tolerance": TEMPERATURE_TOLERANCE,
                "threshold_tolerance": THRESHOLD_TOLERANCE,
            },
            "neighbour_dependence": dependence,
            "subsets": parity.to_json(parts),
            "worst": [asdict(row) for row in assess.worst(self.expected, found, self.checks, parity.WORST)],
        }
        return Report(document=document, failures=tuple(missed), parts=parts)


def verify(bundle: Path, run_path: Path, data: tuple[str, ...], say: Reporter) -> Report:
    """Ask both sides and compare; see `Verifier`.

    Raises:
        BundleError: the bundle is damaged.
        DataError: the run or the data can't be used.
        SpaceMismatchError: the bundle was exported from another run.
    """
    return Verifier(run_path, data, say).verify(bundle)
