"""Whether evidence maps point at lesions, and whether what they point at matters to the model.

    python benchmarks/evidence_maps.py ask BUNDLE... --lesions PATH --held-out FOLDS --out ANSWERS
    python benchmarks/evidence_maps.py generated BUNDLE --eyes 60 --out ANSWERS
    python benchmarks/evidence_maps.py judge ANSWERS... --json benchmarks/results/evidence_maps.json

`ask` looks at photographs with lesion masks (IDRiD part A; `same_as.csv` names their graded twins), each with the bundle whose
training left its twin out: `--held-out` is the folder of `idrid_nested.py`'s runs, whose `fold-K` belongs to the K-th bundle.
Photographs without a graded twin were seen by no bundle; the first answers for them. `generated` draws eyes with lesions whose
places are known. Figures: cell AUROC (a cell holds a lesion or none; the optic disc is no lesion), whether the map's peak lies
on a lesion against the peaks of other photographs' maps on the same lesions, and the loss of the referral probability when the
marked tenth is smoothed away less that for a random tenth. Intervals: 95 %, by bootstrap over photographs.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import numpy.typing as npt
from cyclopts import Parameter
from PIL import Image
from sklearn.metrics import roc_auc_score

from foveal_export.parity.occlusion import deletion
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.occlusion import edges, field_of_view
from foveal_runtime.errors import FovealError
from foveal_runtime.study.study import Eye, Study
from foveal_train.data.synthetic.camera import jpeg_bytes
from foveal_train.data.synthetic.render import FundusPlan, render_with_lesions
from foveal_train.runs.run import SPLIT_FILE

app = cyclopts.App(help=__doc__)
LESIONS = ("microaneurysms", "haemorrhages", "hard_exudates", "soft_exudates")
BOOTSTRAP = 2000
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """A photograph, its map and its lesions."""

    map_RR: npt.NDArray[np.float32]
    lesion_RR: Bool
    """Cells that hold a pixel of a lesion."""
    field_RR: Bool
    """Cells that lie in the field of view by half."""
    referable: bool
    """The bundle refers it."""
    gained: float
    """`foveal_export.parity.occlusion.deletion`."""


def look(engine: Engine, study: Study, lesion_HW: Bool, rng: np.random.Generator) -> Looked | None:
    """None for a photograph that is refused."""
    try:
        item = engine.prepare(study)
    except FovealError:
        return None
    assert item.pixels_CHW is not None
    assert item.frame is not None
    field_SS = field_of_view(item.pixels_CHW, engine.manifest.image)
    return Looked(
        map_RR=engine.evidence_map(item).cells_RR,
        lesion_RR=_cells(_framed(lesion_HW, item.frame, field_SS.shape[0])) > 0,
        field_RR=_cells(field_SS.astype(np.float32)) >= 0.5,
        referable=bool(engine.referral_log_odds(item, item.pixels_CHW[None])[0] > 0),
        gained=deletion(engine, item, rng),
    )


def _framed(mask_HW: Bool, frame: tuple[float, float, float, float], side_px: int) -> npt.NDArray[np.float32]:
    height, width = mask_HW.shape
    left, top, right, bottom = frame
    box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
    part = Image.fromarray(mask_HW.astype(np.uint8) * 255).crop(box)
    return np.asarray(part.resize((side_px, side_px), Image.Resampling.BOX), np.float32)


def _cells(plane_SS: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    begins = edges(plane_SS.shape[0])[:-1]
    counts = np.add.reduceat(np.add.reduceat(np.ones_like(plane_SS), begins, 0), begins, 1)
    return np.asarray(np.add.reduceat(np.add.reduceat(plane_SS, begins, 0), begins, 1) / counts, np.float32)


@app.command
def ask(bundles: list[Path], /, *, lesions: Path, held_out: Path, out: Path, threads: int = 1) -> None:
    """Look at real photographs, each with the bundle that never saw it."""
    engines = [Engine(Bundle.open(path), threads=threads) for path in bundles]
    folds = [set(json.loads((held_out / f"fold-{k}" / SPLIT_FILE).read_text())["test"]) for k in range(len(bundles))]
    rng, found = np.random.default_rng(0), []
    for name, twin in _twins(lesions):
        owners = [k for k, fold in enumerate(folds) if twin in fold] if twin else [0]
        if not owners:
            continue  # of a fold that is not among the bundles
        data = (lesions / "images" / f"{name}.jpg").read_bytes()
        one = look(engines[owners[0]], Study(image=data), _lesions(lesions, name), rng)
        if one is not None:
            found.append(one)
    print(f"{len(found)} photographs")
    save(found, out)


def _twins(lesions: Path) -> Iterator[tuple[str, str]]:
    with (lesions / "same_as.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["image"], row["part_b_training_image"]


def _lesions(folder: Path, name: str) -> Bool:
    masks = [folder / kind / f"{name}.png" for kind in LESIONS]
    there = [np.asarray(Image.open(path).convert("L")) > 0 for path in masks if path.exists()]
    return np.asarray(np.any(there, axis=0))


@app.command
def generated(bundle: Path, /, *, eyes: int = 60, out: Path, threads: int = 1) -> None:
    """Look at drawn eyes of grades 2 to 4, whose lesions' places are known."""
    engine, rng = Engine(Bundle.open(bundle), threads=threads), np.random.default_rng(0)
    found = []
    for seed in range(eyes):
        drawn = np.random.default_rng([90_000, seed])
        plan = FundusPlan(eye=list(Eye)[seed % 2], icdr=2 + seed % 3, severity=float(drawn.random()))
        rgb_HWC, lesion_HW = render_with_lesions(drawn, plan)
        one = look(engine, Study(image=jpeg_bytes(rgb_HWC)), lesion_HW, rng)
        if one is not None:
            found.append(one)
    print(f"{len(found)} drawn eyes")
    save(found, out)


def save(found: Sequence[Looked], out: Path) -> None:
    """Arrays of all photographs in one file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    names = ("map_RR", "lesion_RR", "field_RR", "referable", "gained")
    arrays: dict[str, Any] = {name: np.stack([np.asarray(getattr(each, name)) for each in found]) for name in names}
    np.savez(out, **arrays)


@app.command
def judge(answers: list[Path], /, *, json_: Annotated[Path | None, Parameter(name="--json")] = None) -> None:
    """The figures of each file of answers."""
    document = {path.stem: figures(path) for path in answers}
    for name, each in document.items():
        print(name, json.dumps(each))
    if json_ is not None:
        json_.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def figures(path: Path) -> dict[str, Any]:
    """Of the photographs that the bundle refers: of others there is no evidence to be shown."""
    with np.load(path) as file:
        kept = file["referable"]
        maps, lesions, fields, gained = (file[name][kept] for name in ("map_RR", "lesion_RR", "field_RR", "gained"))
    aurocs = [
        roc_auc_score(lesion[field], found[field])
        for found, lesion, field in zip(maps, lesions, fields, strict=True)
        if 0 < lesion[field].sum() < field.sum()
    ]
    inside = np.where(fields, maps, -1)
    peaks = [np.unravel_index(each.argmax(), each.shape) for each in inside]
    hit = np.asarray([[lesion[peak] for peak in peaks] for lesion in lesions], np.float64)
    own = np.diag(hit)
    others = (hit.sum(1) - own) / max(1, len(hit) - 1)
    return {
        "photographs": int(kept.size),
        "referred": int(kept.sum()),
        "cell_auroc": _mean(aurocs),
        "hit": _mean(own),
        "hit_of_shuffled": _mean(others),
        "hit_less_shuffled": _mean(own - others),
        "drop_less_random": _mean(gained),
    }


def _mean(values: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float]:
    drawn = np.random.default_rng(0).choice(np.asarray(values), (BOOTSTRAP, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": round(float(np.mean(values)), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


if __name__ == "__main__":
    app()
