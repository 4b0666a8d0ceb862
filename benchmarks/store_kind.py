"""Which stored vector answers a text-only query best: the photograph's own, or a joint one of a study?

    python benchmarks/store_kind.py RUN --data brset:PATH --json benchmarks/results/store_kind.json

Every note of the data set asks for photographs, exactly, once for each pair of a query's vector and a stored one. Label-level
mAP and strict recall as `foveal evaluate` defines them. The server searches by the pair that docs/decisions.md names.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.study import Modality, Subset, subset_name
from foveal_train.evaluation.intervals import resample
from foveal_train.evaluation.protocols import label_sets
from foveal_train.evaluation.retrieval import direction_figures
from foveal_train.runs.predict import Predictions, Showing, predict_each
from foveal_train.runs.run import Run
from foveal_train.runs.samples import load_samples
from foveal_train.training.arrays import load_arrays

IMAGE, TEXT, STRUCTURED = Modality
PASSES: tuple[Subset, ...] = (
    frozenset({TEXT}),
    frozenset({IMAGE}),
    frozenset({IMAGE, STRUCTURED}),
    frozenset({IMAGE, TEXT, STRUCTURED}),
)


def main() -> None:
    """Ask, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", action="append", required=True, help="kind:path of studies that the run has not seen")
    parser.add_argument("--studies", type=int, default=1000, help="the first so many")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    run = Run.open(args.run)
    arrays = load_arrays(
        load_samples(args.data)[: args.studies],
        image_spec=run.info.model.image_spec,
        tokenise=NoteTokeniser(run.tokenizer_json, run.info.model.text_spec),
        features=run.info.features,
        modalities=tuple(Modality),
        keep_empty_notes=False,
        progress=None,
    )
    trained = [one for one in PASSES if one in run.info.subsets]
    made = predict_each(run.model, arrays, [Showing(present_NM=arrays.showing(one)) for one in trained])
    seen = dict(zip(trained, made, strict=True))
    queries = {"text": cls(seen[PASSES[0]], TEXT, len(arrays)), "joint of text": joint(seen[PASSES[0]], len(arrays))}
    stored = {"image": cls(seen[PASSES[1]], IMAGE, len(arrays))}
    stored |= {f"joint of {subset_name(one)}": joint(seen[one], len(arrays)) for one in trained if IMAGE in one}
    asking = np.flatnonzero(arrays.rows(TEXT) & arrays.rows(IMAGE))
    labels = label_sets(arrays.samples, asking, note_groups_N=arrays.note_groups_N, grades_N=arrays.labels[ICDR])
    drawn = resample([sample.patient_id for sample in arrays.samples], count=200, seed=0)
    report: list[dict[str, Any]] = []
    for query_name, query_ND in queries.items():
        for stored_name, stored_ND in stored.items():
            found = direction_figures(
                query_ND, stored_ND, queries=asking, gallery=np.flatnonzero(arrays.rows(IMAGE)),
                note_groups_N=arrays.note_groups_N, labels=labels, resamples=drawn,
            )  # fmt: skip
            row = {"query": query_name, "stored": stored_name, "strict R@10": found["strict"]["recall"]["10"]["value"]}
            row |= {f"mAP {name}": one["map"]["value"] for name, one in found["labels"].items()}
            row |= {f"chance {name}": one["chance"]["map"] for name, one in found["labels"].items()}
            report.append({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
            print(report[-1])
    if args.json is not None:
        document = {
            "run": args.run.name,
            "data": args.data,
            "photographs": len(arrays),
            "queries": len(asking),
            "pairs": report,
        }
        args.json.write_text(json.dumps(document, indent=1) + "\n")


def cls(found: Predictions, modality: Modality, count: int) -> Any:
    """One modality's vectors for all studies; zeros where it was not shown."""
    return _spread(found, found.cls_NMD[:, list(Modality).index(modality)], count)


def joint(found: Predictions, count: int) -> Any:
    """Joint vectors for all studies."""
    return _spread(found, found.joint_ND, count)


def _spread(found: Predictions, vectors_SD: Any, count: int) -> Any:
    vectors_ND = np.zeros((count, vectors_SD.shape[1]), np.float32)
    vectors_ND[found.rows] = vectors_SD
    return vectors_ND


if __name__ == "__main__":
    main()
