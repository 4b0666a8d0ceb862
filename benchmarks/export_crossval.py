"""INT8 against PyTorch on photographs that no training saw: the runs of `idrid_crossval.py`, each on its own fold.

    python benchmarks/export_crossval.py --runs runs/crossval --json benchmarks/results/export_crossval.json

Every fold is exported with the default budget search, calibrated on its own training photographs; grades of all folds are
then pooled, neighbours and cosines stay within a fold, since every fold is an embedding space of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
from cyclopts import Parameter

from foveal_export import assess, cases
from foveal_export.budget import DEFAULTS
from foveal_export.parity import auroc, quadratic_kappa
from foveal_export.pipeline import PARITY_LIMIT, Request, export_run
from foveal_runtime.bundle import Bundle
from foveal_runtime.engine import Engine
from foveal_runtime.errors import CheckFailed
from foveal_runtime.labels import REFERABLE_GRADE, Head, referable_probability, softmax
from foveal_runtime.manifest import Precision
from foveal_runtime.study import Subset
from foveal_train.progress import ProgressReporter
from foveal_train.reference import Reference
from foveal_train.run import Run

app = cyclopts.App(help=__doc__)


@app.default
def main(*, runs: Path, json_: Annotated[Path | None, Parameter(name=["--json"])] = None) -> None:
    """Export every fold to INT8 and pool its held-out photographs.

    Parameters
    ----------
    runs
        Folder of finished runs, one a fold.
    json_
        Write the figures here.
    """
    truth, before, after, rows = [], [], [], []
    for folder in sorted(path.parent for path in runs.glob("*/run.json")):
        out = folder / "bundle-int8"
        passed = True
        try:
            with ProgressReporter(1) as reporter:
                exported = export_run(
                    Request(run=folder, out=out, precision=Precision.INT8, budget=DEFAULTS[Precision.INT8], force=True),
                    reporter,
                )
        except CheckFailed as error:
            print(f"{folder.name}: {error}")
            rows.append({"fold": folder.name, "passed": False, "why": str(error)})
            continue
        run = Run.open(folder)
        reference = Reference(run.model, run.tokenizer_json, run.info)
        modalities: Subset = frozenset().union(*run.info.subsets)
        held_out = cases.prepare(reference, cases.choose(run, None).parity, modalities)
        part = {"image": cases.through(held_out, frozenset(modalities))[:PARITY_LIMIT]}
        ours = assess.ask_reference(reference, run.info, part)["image"].logits[Head.ICDR]
        theirs = assess.ask_engine(Engine(Bundle.open(out)), run.info, part)["image"].logits[Head.ICDR]
        truth.append(assess.labels(part["image"]))
        before.append(softmax(ours))
        after.append(softmax(theirs))
        summary = exported.report["summary"]
        rows.append(
            {
                "fold": folder.name, "passed": passed, "studies": len(ours), "seconds": round(exported.seconds, 1),
                "bytes": exported.bytes, "mean_cosine": summary["mean_cosine"], "min_cosine": summary["min_cosine"],
                "icdr_flips": summary["icdr_flips"], "neighbour_overlap": summary["neighbour_overlap"],
                "blocks_kept": list(exported.frontier[-1].blocks) if exported.frontier else [],
            }
        )  # fmt: skip
        print(rows[-1])
    grades, reference_NG, artefact_NG = (np.concatenate(side) for side in (truth, before, after))
    positive = grades >= REFERABLE_GRADE
    document = {
        "studies": len(grades),
        "icdr_flips": int((reference_NG.argmax(1) != artefact_NG.argmax(1)).sum()),
        "referable_flips": int(
            ((referable_probability(reference_NG) >= 0.5) != (referable_probability(artefact_NG) >= 0.5)).sum()
        ),
        "kappa_pytorch": quadratic_kappa(grades, reference_NG.argmax(1)),
        "kappa_int8": quadratic_kappa(grades, artefact_NG.argmax(1)),
        "auroc_pytorch": auroc(referable_probability(reference_NG), positive),
        "auroc_int8": auroc(referable_probability(artefact_NG), positive),
        "mean_neighbour_overlap": float(np.mean([row["neighbour_overlap"] for row in rows if row["passed"]])),
        "folds": rows,
    }
    print(json.dumps(document, indent=1))
    if json_ is not None:
        json_.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
