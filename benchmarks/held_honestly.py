"""What a likely partner in training is worth to an out-of-fold figure: the same trainings with and without such photographs.

    python benchmarks/held_honestly.py --runs FOLDS --data idrid:PATH --groups groups.json --neighbours --json FILE

`--runs` holds fold-0 to fold-4 of `idrid_nested.py`, `--groups` what `same_eye.py` wrote. No training: a photograph whose
likely partner was trained on is left out of the figure. Groups are certain for few pairs, so the likest 25, 50, 100 and 200
count as partners in turn, and figures are compared between the photographs with the likest neighbour in training and the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import numpy.typing as npt
from cyclopts import Parameter

from foveal_train.evaluation.intervals import Resamples, resample
from foveal_train.runs.run import write_json
from foveal_train.runs.samples import load_samples
from held_out import BOOTSTRAP, Answers, replicates_of
from same_eye import ANGLES, halved, likeness, maps_of

app = cyclopts.App(help=__doc__)


def without(answers: Answers, kept_N: npt.NDArray[np.bool_], resamples: Resamples) -> dict[str, Any]:
    """Each figure over all photographs and over the kept ones, and what leaving the others out takes away, paired.

    Args:
        answers: of all photographs.
        kept_N: those that stay.
        resamples: over all photographs.
    """
    logits, labels = answers.plain_NG, answers.labels_N
    full, part = replicates_of(logits, labels), replicates_of(logits[kept_N], labels[kept_N])
    full_R = replicates_of(logits, labels, resamples)
    part_R = replicates_of(logits[kept_N], labels[kept_N], resamples.at(kept_N))
    found: dict[str, Any] = {"kept": int(kept_N.sum())}
    for name in full:
        found[name] = {
            "all": full[name].item(),
            "kept": part[name].item(),
            "interval": np.nanquantile(part_R[name], (0.025, 0.975)).tolist(),
            "difference": full[name].item() - part[name].item(),
            "difference_interval": np.nanquantile(full_R[name] - part_R[name], (0.025, 0.975)).tolist(),
        }
    return found


def partnered(pairs: Sequence[tuple[str, str]], fold_of: Mapping[str, int], trained: Mapping[int, frozenset[str]]) -> set[str]:
    """Photographs of which a partner was trained on by the training that held them out."""
    found = set()
    for one, other in pairs:
        for held, mate in ((one, other), (other, one)):
            if held in fold_of and mate in trained[fold_of[held]]:
                found.add(held)
    return found


@app.default
def main(
    *,
    runs: Path,
    data: str,
    groups: Path,
    neighbours: Annotated[bool, Parameter(negative=())] = False,
    seed: int = 0,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Compare.

    Args:
        runs: folder of the outer folds.
        data: data set as kind:path.
        groups: file of `same_eye.py`.
        neighbours: compare photographs with and without a like one in training too; some minutes.
        seed: of the bootstrap.
        json_: write the figures to this file.
    """
    folders = sorted(path for path in runs.glob("fold-?") if path.is_dir())
    parts = [Answers.load(folder / "held_out.npz") for folder in folders]
    answers = Answers.together(parts)
    fold_of = {name: fold for fold, part in enumerate(parts) for name in part.ids}
    trained = {
        fold: frozenset(json.loads((folder / "split.json").read_text(encoding="utf-8"))["train"])
        for fold, folder in enumerate(folders)
    }
    known = json.loads(groups.read_text(encoding="utf-8"))
    resamples = resample([known["groups"][name] for name in answers.ids], count=BOOTSTRAP, seed=seed)
    found: dict[str, Any] = {"photographs": len(answers.ids), "threshold": known["threshold"], "left_out": []}
    certain = sum(alike >= known["threshold"] for _, _, alike in known["pairs"])
    for count in sorted({certain, 25, 50, 100, len(known["pairs"])} - {0}):
        mates = partnered([(one, other) for one, other, _ in known["pairs"][:count]], fold_of, trained)
        kept = np.asarray([name not in mates for name in answers.ids])
        found["left_out"].append(
            {"pairs": count, "least_likeness": known["pairs"][count - 1][2], **without(answers, kept, resamples)}
        )
    if neighbours:
        found["likest_neighbour"] = by_neighbour(answers, data, fold_of, trained, resamples)
    if json_ is not None:
        write_json(json_, found)
    print(json.dumps(found, indent=1))


def by_neighbour(
    answers: Answers,
    data: str,
    fold_of: Mapping[str, int],
    trained: Mapping[int, frozenset[str]],
    resamples: Resamples,
) -> dict[str, Any]:
    """Figures of the half of the photographs whose likest neighbour in training is likest, and of the other half."""
    samples = [sample for sample in load_samples([data]) if sample.image_path is not None]
    small = [halved(each) for each in maps_of(samples)]
    alike = likeness(small, small, ANGLES[::2])
    place = {sample.id: row for row, sample in enumerate(samples)}
    nearest_N = np.asarray(
        [max(alike[place[name], place[mate]] for mate in trained[fold_of[name]] if mate != name) for name in answers.ids]
    )
    near_N = nearest_N > np.median(nearest_N)
    return {
        "median_likeness": float(np.median(nearest_N)),
        "near": without(answers, near_N, resamples),
        "far": without(answers, ~near_N, resamples),
    }


if __name__ == "__main__":
    app()
