"""What an operator should know of a bundle before trusting its answers, in words. The evidence is the manifest's."""

from __future__ import annotations

from foveal_runtime.bundle.manifest import Evidence, HeadEvidence, Manifest
from foveal_runtime.study.labels import Head


def warnings_of(manifest: Manifest) -> list[str]:
    """Sentences for `GetModel`, `serve`, `inspect` and `verify`, the gravest first; empty when there is nothing to say."""
    found: dict[Evidence, list[str]] = {Evidence.CHANCE: [], Evidence.UNVERIFIED: []}
    for subset in manifest.trained_subsets:
        for head in manifest.trained_heads:
            evidence = manifest.evidence_of(subset, head)
            if evidence.status is Evidence.CHANCE:
                found[Evidence.CHANCE].append(_chance(subset, head, evidence))
            elif evidence.status is Evidence.UNVERIFIED:
                found[Evidence.UNVERIFIED].append(_unverified(subset, head, evidence))
    said = [*found[Evidence.CHANCE], *found[Evidence.UNVERIFIED]]
    points = {point.name for each in manifest.calibration.values() for point in each.operating_points if not point.studies}
    if points and Head.ICDR in manifest.trained_heads:
        said.append(f"operating point {', '.join(sorted(points))} was not fitted: too few referable patients at training")
    if manifest.trained_on is not None and manifest.trained_on.cameras:
        said.append(f"trained on photographs of {', '.join(manifest.trained_on.cameras)} alone: expect less on other cameras")
    return said


def _chance(subset: str, head: Head, evidence: HeadEvidence) -> str:
    figures = f"kappa {evidence.kappa:.2f}, " if evidence.kappa is not None else ""
    return (
        f"{head.upper()} from {subset} is hardly trained: on {evidence.studies} held-out studies its grades can't be told from"
        f" chance ({figures}lower bound {_number(evidence.kappa_low)}); it answers with --allow-untrained alone"
    )


def _unverified(subset: str, head: Head, evidence: HeadEvidence) -> str:
    return (
        f"{head.upper()} from {subset} is unverified: {evidence.studies} held-out studies, {evidence.positives} of them of"
        f" grade 2 or worse, are too few to say whether its grades mean anything; it answers with --allow-unverified alone"
    )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
