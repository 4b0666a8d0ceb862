"""Is a new bundle's difference from an old one inside a declared envelope? One document, and its verdict. Runs no graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foveal_runtime.bundle.agreement import NO_CHANGES, Changes, allowed
from foveal_runtime.bundle.calibration import OperatingPoint, SubsetCalibration
from foveal_runtime.bundle.manifest import Evidence, Manifest
from foveal_runtime.engine import difference
from foveal_runtime.engine.difference import Pair, Part
from foveal_runtime.engine.envelope import Envelope
from foveal_runtime.study.labels import ICDR, Head
from foveal_runtime.study.study import subset_of

_RANK = {Evidence.PROVEN: 2, Evidence.UNVERIFIED: 1, Evidence.CHANCE: 0}
_GOLDEN = "golden studies"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One figure that was held against its limit."""

    quantity: str
    """Name of the limit in the envelope, or `golden_replay`."""
    where: str
    """What the figure is of: studies and modality subset, operating point, graph."""
    got: float
    limit: float | None
    """None where the envelope switches it off."""
    inside: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What was found by asking both bundles."""

    golden: Mapping[str, Part]
    data: Mapping[str, Part]
    """By modality subset; empty without --data."""
    timed: Mapping[str, tuple[float, float]]
    replayed: bool
    """Whether NEW passes its own golden replay on this machine."""


def report(pair: Pair, answered: Answered, envelope: Envelope) -> dict[str, Any]:
    """Everything that differs, with the verdict, as one JSON document.

    Args:
        pair: both bundles.
        answered: their answers.
        envelope: what may change.
    """
    old, new = pair.old.manifest, pair.new.manifest
    judged = judge(pair, answered, envelope)
    return {
        "schema_version": 1,
        "inside": all(row.inside for row in judged),
        "old": _described(pair.old.bundle.path, pair.old.bundle.sha256, old),
        "new": _described(pair.new.bundle.path, pair.new.bundle.sha256, new),
        "same_space": pair.same_space,
        "lost": lost_answers(old, new),
        "golden": {name: _part(pair, name, part) for name, part in answered.golden.items()},
        "data": {name: _part(pair, name, part) for name, part in answered.data.items()},
        "thresholds": [asdict(point) for point in points(old, new)],
        "bytes": _bytes(pair),
        "ms_per_study": {
            name: {"old": before, "new": after, "ratio": after / before} for name, (before, after) in answered.timed.items()
        },
        "made_with": _differing(old.made_with, new.made_with),
        "envelope": {name: _finite(value) for name, value in asdict(envelope).items()},
        "judged": [asdict(row) for row in judged],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """An operating point that both bundles have."""

    subset: str
    name: str
    old: float
    new: float


def points(old: Manifest, new: Manifest) -> list[Point]:
    """The thresholds of every operating point that both have."""
    found = []
    for subset, calibration in old.calibration.items():
        there = {point.name: point.threshold for point in _of(new, subset)}
        found += [
            Point(subset=subset, name=point.name, old=point.threshold, new=there[point.name])
            for point in calibration.operating_points
            if point.name in there
        ]
    return found


def lost_answers(old: Manifest, new: Manifest) -> list[str]:
    """What OLD answers and NEW does not, or with less evidence, in words."""
    lost = [f"modality subset {name}" for name in old.trained_subsets if name not in new.trained_subsets]
    lost += [f"head {head}" for head in old.trained_heads if head not in new.trained_heads]
    lost += [f"comparable vectors of {m.value}" for m in old.aligned if m not in new.aligned]
    for subset, calibration in old.calibration.items():
        if subset in new.trained_subsets:
            names = {point.name for point in _of(new, subset)}
            lost += [f"operating point {p.name} of {subset}" for p in calibration.operating_points if p.name not in names]
    for subset, heads in old.evidence.items():
        for head, evidence in heads.items():
            now = new.evidence_of(subset, head).status
            if subset in new.trained_subsets and head in new.trained_heads and _RANK[now] < _RANK[evidence.status]:
                lost.append(f"evidence of {head} from {subset}: {evidence.status.value}, now {now.value}")
    return lost


def judge(pair: Pair, answered: Answered, envelope: Envelope) -> list[Judged]:
    """Every figure that the envelope limits, and the golden replay of NEW."""
    old, new, limits = pair.old.manifest, pair.new.manifest, envelope
    rows = [_least("golden_replay", "NEW on this machine", float(answered.replayed), 1.0)]
    rows += _of_answers(pair, answered, limits) + _of_labels(pair, answered, limits)
    for point in points(old, new):
        moved = abs(point.new - point.old)
        rows.append(_most("threshold_change", f"{point.name} of {point.subset}", moved, limits.threshold_change))
    rows.append(_most("size_ratio", "bundle", _bytes(pair)["ratio"], limits.size_ratio))
    for name, (before, after) in answered.timed.items():
        rows.append(_most("time_ratio", f"a study of {name}", after / before, limits.time_ratio))
    if limits.same_space:
        rows.append(_least("same_space", "embedding space", float(pair.same_space), 1.0))
    if limits.keeps_answers:
        rows.append(_most("keeps_answers", "answers lost", float(len(lost_answers(old, new))), 0.0))
    return rows


def _of_answers(pair: Pair, answered: Answered, limits: Envelope) -> list[Judged]:
    """Changed answers. Golden studies are few of each subset, so all subsets count together there."""
    rows: list[Judged] = []
    for source, parts in ((_GOLDEN, answered.golden), ("data", answered.data)):
        found = {name: _changes(pair, name, part) for name, part in parts.items() if part.studies}
        known = dict.fromkeys(["icdr_flips", "sdrg_flips", "referable_flips", *(f"{head}_flips" for head in pair.heads)])
        for quantity in known:
            by_subset = {name: changes[quantity] for name, changes in found.items() if quantity in changes}
            if source == _GOLDEN and by_subset:
                by_subset = {"": sum(by_subset.values(), NO_CHANGES)}
            for name, changes in by_subset.items():
                share = getattr(limits, quantity, limits.icdr_flips)
                rows.append(
                    _most(quantity, f"{source} {name}".strip(), float(changes.counted), allowed(share, changes.studies))
                )
        if ICDR in pair.heads:
            proven = {name: part for name, part in parts.items() if part.studies and _is_judged(pair, name, ICDR)}
            pooled = {"": difference.merged(list(proven.values()))} if source == _GOLDEN and proven else proven
            for name, part in pooled.items():
                kappa = difference.agreement(part)
                if kappa is not None:
                    rows.append(_least("min_kappa", f"{source} {name}".strip(), kappa, limits.min_kappa))
        for name, part in parts.items():
            for kind, cosines in part.cosines.items():
                where = f"{kind.value} vector, {source} {name}"
                rows.append(_least("min_cosine", where, min(cosines), limits.min_cosine))
    return rows


def _of_labels(pair: Pair, answered: Answered, limits: Envelope) -> list[Judged]:
    rows = []
    for name, part in answered.data.items():
        figures = difference.against_labels(pair, subset_of(name), part) if _is_judged(pair, name, ICDR) else {}
        for figure, limit in (
            ("kappa", limits.kappa_drop),
            ("sensitivity", limits.sensitivity_drop),
            ("specificity", limits.specificity_drop),
        ):
            before, after = (figures[side][figure] if figures else None for side in ("old", "new"))
            if before is not None and after is not None:
                rows.append(_most(f"{figure}_drop", f"data {name}", before - after, limit))
    return rows


def _changes(pair: Pair, subset: str, part: Part) -> dict[str, Changes]:
    """By limit, of the heads whose grades OLD's held-out studies have proven."""
    margin = pair.old.manifest.tolerances.tie_margin
    found = {}
    for head in pair.heads:
        if _is_judged(pair, subset, head):
            found[f"{head}_flips"] = difference.grade_changes(part, head, margin)
            if head == ICDR:
                found["referable_flips"] = difference.decision_changes(pair, subset_of(subset), part, margin)
    return found


def _is_judged(pair: Pair, subset: str, head: Head) -> bool:
    """Whether OLD's own grades of this head mean anything; an older bundle says nothing of evidence."""
    manifest = pair.old.manifest
    return head in pair.heads and (not manifest.evidence or manifest.is_proven(subset, head))


def _part(pair: Pair, subset: str, part: Part) -> dict[str, Any]:
    document: dict[str, Any] = {
        "studies": part.studies,
        "ungradable": part.ungradable,
        "unusable": part.unusable,
        "judged": [head for head in pair.heads if _is_judged(pair, subset, head)],
        "heads": {},
        "vectors": {
            kind.value: {"mean_cosine": sum(cosines) / len(cosines), "min_cosine": min(cosines)}
            for kind, cosines in part.cosines.items()
        },
    }
    if not part.studies:
        return document
    margin = pair.old.manifest.tolerances.tie_margin
    for head in pair.heads:
        document["heads"][head] = _counted(difference.grade_changes(part, head, margin))
    if ICDR in pair.heads:
        document["kappa"] = difference.agreement(part)
        document["referable"] = {
            **_counted(difference.decision_changes(pair, subset_of(subset), part, margin)),
            "mean_shift": difference.referral_shift(part),
        }
        document["labelled"] = difference.against_labels(pair, subset_of(subset), part)
    return document


def _counted(changes: Changes) -> dict[str, int]:
    return {"changed": changes.changed, "near_ties": changes.near_ties, "counted": changes.counted}


def _of(manifest: Manifest, subset: str) -> tuple[OperatingPoint, ...]:
    return manifest.calibration.get(subset, SubsetCalibration()).operating_points


def _described(path: Path, sha256: str, manifest: Manifest) -> dict[str, Any]:
    return {
        "bundle": str(path),
        "sha256": sha256,
        "profile": manifest.profile,
        "precision": manifest.precision.value,
        "target": manifest.target.value,
        "space_id": manifest.space_id,
        "foveal_version": manifest.foveal_version,
    }


def _bytes(pair: Pair) -> dict[str, Any]:
    old, new = (
        {
            path.relative_to(engine.bundle.path).as_posix(): path.stat().st_size
            for path in engine.bundle.path.rglob("*")
            if path.is_file()
        }
        for engine in (pair.old, pair.new)
    )
    before, after = sum(old.values()), sum(new.values())
    graphs = [graph.file for engine in (pair.old, pair.new) for graph in engine.manifest.graphs.values()]
    return {
        "old": before,
        "new": after,
        "ratio": after / before,
        "graphs": {name: {"old": old.get(name), "new": new.get(name)} for name in dict.fromkeys(graphs)},
    }


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    names = dict.fromkeys([*old, *new])
    return {name: {"old": old.get(name), "new": new.get(name)} for name in names if old.get(name) != new.get(name)}


def _most(quantity: str, where: str, got: float, limit: float) -> Judged:
    return Judged(quantity=quantity, where=where, got=got, limit=_finite(float(limit)), inside=got <= limit)


def _least(quantity: str, where: str, got: float, limit: float) -> Judged:
    return Judged(quantity=quantity, where=where, got=got, limit=_finite(limit), inside=got >= limit)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isinf(value) else value
