"""The folds of idrid_crossval.py once more, through their bundles over gRPC, next to PyTorch's own answers.

    python benchmarks/idrid_served.py --runs runs/crossval --data idrid:PATH --precision int8 --json OUT.json

For each fold: `foveal export`, a real server process, every held-out photograph graded and embedded by the real client.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import numpy.typing as npt
from cyclopts import Parameter

from foveal_export.local_server import FOVEAL, local_server
from foveal_runtime.client import Client
from foveal_runtime.engine import VectorKind
from foveal_runtime.labels import GRADES, REFERABLE_GRADE, Head, referable_probability, softmax
from foveal_runtime.study import Study
from foveal_train.data import Sample
from foveal_train.evaluation.grading import grade_figures
from foveal_train.evaluation.intervals import resample
from foveal_train.evaluation.referable import referable_figures
from foveal_train.pipeline import load_samples
from foveal_train.profile import EMBEDDING_DIM
from foveal_train.reference import Reference
from foveal_train.run import Run, write_json

app = cyclopts.App(help=__doc__)
BATCH = 8
BOOTSTRAP = 2000
THRESHOLD = 0.5

Float = npt.NDArray[np.float64]


def served(bundle: Path, studies: list[Study]) -> tuple[Float, Float, list[bool]]:
    """Probabilities, joint vectors and gradability of `studies`, asked in batches over gRPC."""
    probabilities: list[list[float]] = []
    vectors: list[list[float]] = []
    gradable: list[bool] = []
    with local_server(bundle, "--cache-entries", "0") as address, Client(address) as client:
        for start in range(0, len(studies), BATCH):
            part = studies[start : start + BATCH]
            for result in client.grade(part).results:
                gradable.append(result.grade.HasField("icdr"))
                probabilities.append(list(result.grade.icdr.probabilities) or [np.nan] * GRADES)
            embedded = [result.embedding.vectors for result in client.embed(part, [VectorKind.JOINT]).results]
            vectors += [list(found[0].values) if found else [np.nan] * EMBEDDING_DIM for found in embedded]
    return np.asarray(probabilities), np.asarray(vectors), gradable


def quality(probabilities: Float, labels: npt.NDArray[np.int64], seed: int) -> dict[str, Any]:
    """Kappa, accuracy and AUROC with intervals."""
    resamples = resample([str(i) for i in range(len(labels))], count=BOOTSTRAP, seed=seed)
    positive = labels >= REFERABLE_GRADE
    icdr = grade_figures(labels, probabilities.argmax(-1), resamples)
    referable = referable_figures(referable_probability(probabilities), positive, [()] * len(labels), resamples)
    return {"kappa": icdr["kappa"], "accuracy": icdr["accuracy"], "auroc": referable["auroc"]}


@app.default
def main(
    *,
    runs: Path,
    data: str,
    precision: str = "int8",
    seed: int = 0,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Compare served answers with PyTorch's, out of fold.

    Args:
        runs: folder that idrid_crossval.py filled.
        data: the same data set.
        precision: of the bundles.
        seed: of the bootstrap.
        json_: write the figures to this file.
    """
    by_id: dict[str, Sample] = {sample.id: sample for sample in load_samples([data])}
    ours, theirs, cosines, labels, graded = [], [], [], [], []
    for folder in sorted(runs.glob("fold-*")):
        bundle = folder / f"bundle-{precision}"
        if not bundle.exists():
            command = [*FOVEAL, "export", str(folder), "--precision", precision, "--out", str(bundle)]
            subprocess.run(command, check=True)
        run = Run.open(folder)
        held_out = [by_id[name] for name in run.split["test"]]
        studies = [sample.study() for sample in held_out]
        reference = Reference(run.model, run.tokenizer_json, run.info).run(studies, frozenset({VectorKind.JOINT}))
        probabilities, vectors, gradable = served(bundle, studies)
        ours.append(probabilities)
        theirs.append(softmax(reference.logits[Head.ICDR]))
        cosines.append((vectors * reference.joint_ND).sum(-1))
        labels.append(np.asarray([sample.labels.icdr for sample in held_out], np.int64))
        graded.append(np.asarray(gradable))
    served_N, torch_N, cosine_N, label_N, graded_N = (np.concatenate(x) for x in (ours, theirs, cosines, labels, graded))
    served_N, torch_N, cosine_N, label_N = (x[graded_N] for x in (served_N, torch_N, cosine_N, label_N))
    flips = served_N.argmax(-1) != torch_N.argmax(-1)
    referable = (referable_probability(served_N) >= THRESHOLD) != (referable_probability(torch_N) >= THRESHOLD)
    figures = {
        "photographs": len(graded_N),
        "not_gradable": int((~graded_N).sum()),
        "precision": precision,
        "pytorch": quality(torch_N, label_N, seed),
        "served": quality(served_N, label_N, seed),
        "cosine": {"mean": float(cosine_N.mean()), "min": float(cosine_N.min())},
        "icdr_flips": float(flips.mean()),
        "referable_flips": float(referable.mean()),
    }
    if json_ is not None:
        write_json(json_, figures)
    for side in ("pytorch", "served"):
        for name in ("kappa", "auroc"):
            figure = figures[side][name]  # type: ignore[index]
            print(f"{side:<10}{name:<8}{figure['value']:.3f}  [{figure['interval'][0]:.3f}, {figure['interval'][1]:.3f}]")
    print(f"cosine of the joint embedding: mean {cosine_N.mean():.4f}, least {cosine_N.min():.4f}")
    print(f"grades changed {flips.mean():.2%}, referable decisions changed {referable.mean():.2%} of {len(flips)}")


if __name__ == "__main__":
    app()
