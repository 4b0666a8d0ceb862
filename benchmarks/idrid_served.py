"""Runs of a cross-validation once more, through their bundles over gRPC, next to PyTorch's own answers.

    python benchmarks/idrid_served.py --runs FOLDER --data idrid:PATH --precision int8 --json OUT.json

FOLDER holds fold-*, each a run whose test split is the photographs it never saw, as idrid_nested.py writes them. For each:
`foveal export` with the default budget, a real server process, every held-out photograph graded and embedded by the client.
Probabilities of both sides are compared at temperature 1; referrals are those that were served.

Neighbours are those of one space, so a fold's queries are looked up in that fold's FP32 index: of its held-out photographs,
and, harder, of all photographs of the data set. The ten nearest are compared with those of the FP32 query.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import numpy.typing as npt
from cyclopts import Parameter

from foveal_runtime._proto import screening_pb2
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.cli.local_server import FOVEAL, LocalServer
from foveal_runtime.client import Client
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.study.labels import GRADES, ICDR, REFERABLE_GRADE, referable_probability, softmax
from foveal_runtime.study.study import Modality, Study
from foveal_train.evaluation.grading import grade_figures
from foveal_train.evaluation.intervals import resample
from foveal_train.evaluation.referable import decision_figures, referable_figures
from foveal_train.model.profile import EMBEDDING_DIM
from foveal_train.runs.reference import Reference
from foveal_train.runs.run import Run, write_json
from foveal_train.runs.samples import load_samples

app = cyclopts.App(help=__doc__)
BATCH = 8
NEIGHBOURS = 10
BOOTSTRAP = 2000
THRESHOLD = 0.5

Float = npt.NDArray[np.float64]


KINDS = (VectorKind.JOINT, VectorKind.IMAGE)


def served(bundle: Path, studies: list[Study]) -> tuple[Float, dict[VectorKind, Float], list[bool], list[bool]]:
    """Probabilities, vectors, gradability and referrals of `studies`, asked in batches over gRPC."""
    probabilities: list[list[float]] = []
    referred: list[bool] = []
    vectors: dict[VectorKind, list[list[float]]] = {kind: [] for kind in KINDS}
    gradable: list[bool] = []
    flags = ("--allow-unverified", "--allow-untrained", "--cache-entries", "0")
    with LocalServer(bundle, *flags) as server, Client(server.address) as client:
        for start in range(0, len(studies), BATCH):
            part = studies[start : start + BATCH]
            for result in client.grade(part).results:
                head = next((head for head in result.grade.graded.heads if head.head == ICDR), None)
                gradable.append(head is not None)
                referred.append(result.grade.graded.referral == screening_pb2.REFERRAL_REFER)
                probabilities.append([np.nan] * GRADES if head is None else [each.probability for each in head.classes])
            for result in client.embed(part, list(KINDS)).results:
                for kind, found in zip(KINDS, result.embedding.vectors or [None] * len(KINDS), strict=True):
                    vectors[kind].append([np.nan] * EMBEDDING_DIM if found is None else list(found.values))
    return np.asarray(probabilities), {kind: np.asarray(rows) for kind, rows in vectors.items()}, gradable, referred


def neighbours(
    query_ND: Float, index_MD: Float, own_N: npt.NDArray[np.int64], count: int = NEIGHBOURS
) -> npt.NDArray[np.int64]:
    """Rows [N, count] of the index nearest to each query, the query's own row left out."""
    similarity_NM = query_ND @ index_MD.T
    similarity_NM[np.arange(len(own_N)), own_N] = -np.inf
    return np.argsort(-similarity_NM, axis=1, kind="stable")[:, :count]


def overlap(served_ND: Float, torch_ND: Float, index_MD: Float, own_N: npt.NDArray[np.int64]) -> Float:
    """Share of each served query's neighbours in PyTorch's index that PyTorch's query has too, [N]."""
    pairs = zip(neighbours(served_ND, index_MD, own_N), neighbours(torch_ND, index_MD, own_N), strict=True)
    return np.asarray([len(set(ours) & set(theirs)) / len(theirs) for ours, theirs in pairs])


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
    bundles: Path | None = None,
    seed: int = 0,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Compare served answers with PyTorch's, out of fold.

    Args:
        runs: folder of fold-*.
        data: the same data set.
        precision: of the bundles.
        bundles: where they are, or are exported to; beside the runs by default.
        seed: of the bootstrap.
        json_: write the figures to this file.
    """
    samples = load_samples([data])
    place = {sample.id: i for i, sample in enumerate(samples)}
    folds: list[dict[str, Any]] = []
    ours, theirs, labels, graded, called = [], [], [], [], []
    cosines: dict[str, list[Float]] = {kind.value: [] for kind in KINDS}
    overlaps: dict[str, list[Float]] = {f"{kind.value}, {gallery}": [] for kind in KINDS for gallery in ("held out", "all")}
    for folder in sorted(runs.glob("fold-*")):
        bundle = (bundles or runs) / f"{folder.name}-{precision}"
        if not bundle.exists():
            command = [*FOVEAL, "export", str(folder), "--precision", precision, "--out", str(bundle)]
            subprocess.run(command, check=True)
        run = Run.open(folder)
        at_N = np.asarray([place[name] for name in run.split["test"]])
        everything = Reference(run.model, run.tokenizer_json, run.info).run([s.study() for s in samples], frozenset(KINDS))
        index = {VectorKind.JOINT: everything.joint_ND, VectorKind.IMAGE: everything.alone_NMD[:, 0]}
        probabilities, vectors, gradable, referred = served(bundle, [samples[i].study() for i in at_N])
        # A run of the nested study has no validation split, so nothing of it was calibrated.
        calibration = Bundle.open(bundle).manifest.calibration.get(Modality.IMAGE.value)
        temperature = 1.0 if calibration is None else calibration.temperature.get(ICDR, 1.0)
        probabilities = softmax(np.log(np.maximum(probabilities, 1e-30)) * temperature)
        seen_N = np.asarray(gradable)
        at_N = at_N[seen_N]
        for kind in KINDS:
            served_ND, torch_ND = vectors[kind][seen_N], index[kind][at_N].astype(np.float64)
            cosines[kind.value].append((served_ND * torch_ND).sum(-1))
            overlaps[f"{kind.value}, held out"].append(overlap(served_ND, torch_ND, torch_ND, np.arange(len(at_N))))
            overlaps[f"{kind.value}, all"].append(overlap(served_ND, torch_ND, index[kind].astype(np.float64), at_N))
        ours.append(probabilities[seen_N])
        theirs.append(softmax(everything.logits[ICDR][at_N]))
        labels.append(np.asarray([samples[i].labels.icdr for i in at_N], np.int64))
        graded.append(seen_N)
        called.append(np.asarray(referred)[seen_N])
        report = json.loads((bundle / "parity.json").read_text(encoding="utf-8"))
        least = {kind.value: float(cosines[kind.value][-1].min()) for kind in KINDS}
        folds.append({"held_out": len(seen_N), "plans_tried": max(1, len(report["frontier"])), "min_cosine": least})
    served_N, torch_N, label_N, graded_N, called_N = (np.concatenate(x) for x in (ours, theirs, labels, graded, called))
    resamples = resample([str(i) for i in range(len(label_N))], count=BOOTSTRAP, seed=seed)
    flips = served_N.argmax(-1) != torch_N.argmax(-1)
    referable = (referable_probability(served_N) >= THRESHOLD) != (referable_probability(torch_N) >= THRESHOLD)
    before, after = quality(torch_N, label_N, seed), quality(served_N, label_N, seed)
    cosine = {kind: np.concatenate(parts) for kind, parts in cosines.items()}
    figures: dict[str, Any] = {
        "photographs": len(graded_N),
        "not_gradable": int((~graded_N).sum()),
        "precision": precision,
        "folds": folds,
        "index_of_all": len(samples),
        "pytorch": before,
        "served": after,
        "cosine": {kind: {"mean": float(values.mean()), "min": float(values.min())} for kind, values in cosine.items()},
        "icdr_flips": float(flips.mean()),
        "referral": decision_figures(called_N, label_N >= REFERABLE_GRADE, resamples),
        "contradictions": int(((served_N.argmax(-1) >= REFERABLE_GRADE) & ~called_N).sum()),
        "referable_flips": float(referable.mean()),
        "kappa_drop": before["kappa"]["value"] - after["kappa"]["value"],
        "neighbour_overlap": {name: float(np.concatenate(parts).mean()) for name, parts in overlaps.items()},
    }
    if json_ is not None:
        write_json(json_, figures)
    for side in ("pytorch", "served"):
        for name in ("kappa", "auroc"):
            figure = figures[side][name]
            print(f"{side:<10}{name:<8}{figure['value']:.3f}  [{figure['interval'][0]:.3f}, {figure['interval'][1]:.3f}]")
    for name, figure in figures["referral"].items():
        low, high = figure["interval"]
        print(f"referral as served: {name} {figure['value']:.3f}  [{low:.3f}, {high:.3f}]")
    print(f"answers whose grade and referral contradict each other: {figures['contradictions']}")
    for vector, values in cosine.items():
        print(f"cosine of the {vector} vector: mean {values.mean():.4f}, least {values.min():.4f}")
    for name, share in figures["neighbour_overlap"].items():
        print(f"ten nearest neighbours of the {name} index kept: {share:.3f}")
    print(f"grades changed {flips.mean():.2%}, referable decisions changed {referable.mean():.2%} of {len(flips)}")


if __name__ == "__main__":
    app()
