"""parity.json: everything that an export found, as one document (docs/parity.md). Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foveal_export.parity import parity
from foveal_export.parity.costs import Cost
from foveal_export.parity.evidence import Evidences, to_json
from foveal_export.parity.outcome import Aim, Candidate, GivenBack, Outcome
from foveal_export.quantise.calibrate import Scheme
from foveal_export.quantise.plan import ExportPlan
from foveal_train.runs.run import RunInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What the steps of an export found; timings are in here and nowhere else of a bundle."""

    aim: Aim
    info: RunInfo
    evidence: Evidences
    plan: ExportPlan
    outcome: Outcome
    source: str
    """Where the studies of the verdict come from."""
    searched_on: str
    """Where those come from on which plans were searched."""
    worst: Sequence[parity.Worst]
    saturation: Mapping[str, Any]
    schemes: Sequence[Scheme]
    frontier: Sequence[Candidate]
    given_back: Sequence[GivenBack]
    costs: Sequence[Cost]
    ms_per_study: Mapping[str, float]
    tensorrt: Mapping[str, Any]
    """What TensorRT's parser and builder made of the graphs; empty where they were not asked."""
    variants: Mapping[str, Any]
    """Other files of the graphs, by graph and name."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        outcome = self.outcome
        return {
            "schema_version": 2,
            "precision": self.aim.precision.value,
            "target": self.aim.target.value,
            "profile": self.info.model.profile,
            "space_id": self.info.space_id,
            "source": self.source,
            "searched_on": self.searched_on,
            "studies": sum(part.studies for part in outcome.parts.values()),
            "evidence": to_json(self.evidence),
            "budget": asdict(self.aim.budget),
            "passed": not outcome.failures,
            "failures": [asdict(failure) for failure in outcome.failures],
            "neighbour_dependence": outcome.dependence,
            "golden": {
                "studies": outcome.golden.studies,
                "min_cosine": outcome.golden.min_cosine,
                "limit": outcome.manifest.tolerances.golden_cosine,
            },
            "subsets": parity.to_json(outcome.parts),
            "worst": [asdict(row) for row in self.worst],
            "graphs": {
                name: {
                    "bytes": entry.bytes,
                    "mode": self.plan.graphs[name].mode.value,
                    "kept": list(self.plan.graphs[name].keep),
                }
                for name, entry in outcome.manifest.graphs.items()
            },
            "saturation": dict(self.saturation),
            "schemes": [asdict(scheme) for scheme in self.schemes],
            "frontier": [asdict(candidate) for candidate in self.frontier],
            "given_back": [asdict(block) for block in self.given_back],
            "precisions": [asdict(cost) for cost in self.costs],
            "ms_per_study": dict(self.ms_per_study),
            "tensorrt": dict(self.tensorrt),
            "variants": dict(self.variants),
            "summary": summary(outcome, self.source),
        }


def summary(outcome: Outcome, source: str) -> dict[str, Any]:
    """What the manifest says of parity.json: largest differences over all subsets; no timings."""
    vectors = [vector for part in outcome.parts.values() for vector in part.vectors.values()]
    icdr = [part.heads["icdr"].flips for part in outcome.parts.values() if "icdr" in part.heads]
    overlaps = [vector.cross_overlap for vector in vectors if vector.cross_overlap is not None]
    return {
        "source": source,
        "studies": sum(part.studies for part in outcome.parts.values()),
        "mean_cosine": min(vector.mean_cosine for vector in vectors),
        "min_cosine": min(vector.min_cosine for vector in vectors),
        "max_abs": max(vector.max_abs for vector in vectors),
        "icdr_flips": sum(icdr),
        "icdr_near_ties": sum(part.heads["icdr"].near_ties for part in outcome.parts.values() if "icdr" in part.heads),
        "max_abs_probability": max(
            (head.max_abs_probability for part in outcome.parts.values() for head in part.heads.values()), default=0.0
        ),
        "neighbour_overlap": min(overlaps) if overlaps else None,
        "neighbour_dependence": outcome.dependence,
        "passed": not outcome.failures,
    }
