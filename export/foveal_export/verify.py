"""Compare a bundle with the PyTorch model of its run, on real studies. Writes nothing; see `cli.verify_against_run`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_export import assess, cases, parity
from foveal_export.budget import Budget
from foveal_runtime.bundle import Bundle
from foveal_runtime.engine import Engine
from foveal_runtime.errors import CheckFailed, DataError, SpaceMismatchError
from foveal_runtime.manifest import Tolerances
from foveal_runtime.study import Subset
from foveal_train.reference import Reference
from foveal_train.run import Run

if TYPE_CHECKING:
    from foveal_export.pipeline import Reporter

LIMIT = 4000
"""Answers compared at most: a check of what is deployed looks at more than an export does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was found."""

    document: dict[str, Any]
    failures: tuple[parity.Failure, ...]

    def raise_if_failed(self) -> None:
        """Raises:
        CheckFailed: naming every failure.
        """
        if self.failures:
            raise CheckFailed("out of tolerance: " + "; ".join(str(failure) for failure in self.failures))


def verify(bundle: Path, run_path: Path, data: tuple[str, ...], say: Reporter) -> Report:
    """Ask both sides and compare.

    Raises:
        BundleError: the bundle is damaged.
        DataError: the run or the data can't be used.
        SpaceMismatchError: the bundle was exported from another run.
    """
    say.stage("opening bundle and run")
    opened = Bundle.open(bundle)
    run = Run.open(run_path)
    manifest = opened.manifest
    if manifest.space_id != run.info.space_id:
        raise SpaceMismatchError(
            f"{bundle} is of space {manifest.space_id[:12]}…, run {run_path} of {run.info.space_id[:12]}…: "
            "they are two models; name the run that the bundle was exported from"
        )
    reference = Reference(run.model, run.tokenizer_json, run.info)
    say.stage("reading studies")
    chosen = cases.choose(run, data or None)
    modalities: Subset = frozenset().union(*run.info.subsets)
    held_out = cases.prepare(reference, cases.sampled(chosen.parity, LIMIT), modalities)
    checks = cases.by_subset(held_out, run.info.subsets, LIMIT)
    if not checks:
        raise DataError(f"{chosen.source}: no study has a modality that was trained ({', '.join(run.info.trained_subsets)})")
    say.stage("asking PyTorch")
    expected = assess.ask_reference(reference, run.info, checks)
    say.stage("asking the bundle")
    engine = Engine(opened)
    found = assess.ask_engine(engine, run.info, checks)
    dependence = assess.neighbour_dependence(engine, run.info, checks)
    parts = assess.compare_all(expected, found, checks)
    graded = manifest.tolerances.icdr_flips < 1.0
    missed = parity.failures(parts, _limits(manifest.tolerances), graded=graded, dependence=dependence)
    return Report(
        document={
            "schema_version": 1,
            "bundle": opened.sha256,
            "space_id": manifest.space_id,
            "precision": manifest.precision.value,
            "source": chosen.source,
            "passed": not missed,
            "failures": [asdict(failure) for failure in missed],
            "neighbour_dependence": dependence,
            "subsets": parity.to_json(parts),
            "worst": [asdict(row) for row in assess.worst(expected, found, checks, parity.WORST)],
        },
        failures=tuple(missed),
    )


def _limits(tolerances: Tolerances) -> Budget:
    """The manifest's tolerances as a budget; what it does not limit is not judged."""
    return Budget(
        icdr_flips=tolerances.icdr_flips,
        referable_flips=tolerances.referable_flips,
        min_cosine=tolerances.min_cosine,
        kappa_drop=2.0,
        neighbour_overlap=0.0,
        max_abs=tolerances.max_abs_embedding,
        neighbour_dependence=tolerances.neighbour_dependence,
    )
