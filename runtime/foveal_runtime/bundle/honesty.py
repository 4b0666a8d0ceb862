"""What an operator should know of a bundle before trusting its answers, in words. The evidence is the manifest's."""

from __future__ import annotations

from foveal_runtime.bundle.manifest import Evidence, Manifest
from foveal_runtime.study.labels import ICDR


def warnings_of(manifest: Manifest) -> list[str]:
    """Sentences for `GetModel`, `serve`, `inspect` and `verify`, the gravest first; empty when there is nothing to say."""
    said = []
    for status, sentence in _SENTENCES.items():
        named = _named(manifest, status)
        if named:
            said.append(f"{named}: {sentence}")
    points = {point.name for each in manifest.calibration.values() for point in each.operating_points if not point.studies}
    if points and ICDR in manifest.trained_heads:
        said.append(f"operating point {', '.join(sorted(points))} was not fitted: too few referable patients at training")
    if manifest.adapted is not None:
        said.append(f"calibrated for {manifest.adapted.site} alone: its probabilities and referrals are right nowhere else")
    if manifest.trained_on is not None and manifest.trained_on.cameras:
        said.append(f"trained on photographs of {', '.join(manifest.trained_on.cameras)} alone: expect less on other cameras")
    return said


_SENTENCES = {
    Evidence.CHANCE: "hardly trained: held-out studies can't tell its grades from chance; answered with"
    " --allow-untrained alone",
    Evidence.UNVERIFIED: "unverified: too few held-out studies to say whether its grades mean anything; answered with"
    " --allow-unverified alone",
}


def _named(manifest: Manifest, status: Evidence) -> str:
    """Heads and the inputs for which that is their evidence, in words; empty for none."""
    parts = []
    for head in manifest.trained_heads:
        subsets = [name for name in manifest.trained_subsets if manifest.evidence_of(name, head).status is status]
        if subsets:
            everything = len(subsets) == len(manifest.trained_subsets) > 1
            parts.append(f"{head.upper()} from {'every input' if everything else ', '.join(subsets)}")
    return "; ".join(parts)
