"""What grade sets, adaptation and distances from the training photographs are worth, on photographs held out of training.

    python benchmarks/trust.py ask --runs FOLDS --bundles FOLDS --data idrid:PATH --out ANSWERS
    python benchmarks/trust.py judge ANSWERS --json FILE

FOLDS holds fold-*, each a run whose test split are photographs it never saw (idrid_nested.py), and fold-*-int8, their bundles.
`ask` puts the validation photographs and the held-out ones through each fold's bundle, as they are and through each simulated
camera (cameras.py), and pictures that are no fundus or spoilt ones (quality_samples.py's); it goes on where it was cut off.

`judge`: *sets* are fitted on a fold's validation photographs and judged on its held-out ones. *Adaptation* takes `--site`
held-out photographs of one simulated camera, of all folds, and is judged on the others, `--draws` times. *Distances* are fitted
on a fold's training photographs.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import numpy.typing as npt
from cyclopts import Parameter
from PIL import Image
from scipy.stats import beta

from cameras import CAMERAS, through_camera
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine import fits
from foveal_runtime.engine.adapt import perfect_error, sureness_error
from foveal_runtime.engine.answers import Prepared
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.novelty import fit_limit, fit_training
from foveal_runtime.photo.imaging import photograph, square, standardise
from foveal_runtime.study.gradeset import set_scores
from foveal_runtime.study.labels import ICDR, softmax
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample
from foveal_train.evaluation.referable import auroc
from foveal_train.runs.run import SPLIT_FILE, write_json
from foveal_train.runs.samples import load_samples
from held_out import BOOTSTRAP
from outer_eyes import NOT_FUNDUS
from spoilt import SPOILT

app = cyclopts.App(help=__doc__)
_BATCH = 8
_DRAWN_SIDE_PX = 1400
_SLIGHT = ("blurred a little",)
"""Spoilt photographs that are hardly worse than others; no stranger to the model."""

Float = npt.NDArray[np.float64]
Answers = dict[str, npt.NDArray[Any]]


def _answers(engine: Engine, pictures: Iterable[Image.Image]) -> tuple[Float, Float]:
    """ICDR logits and image features of pictures."""
    spec = engine.manifest.image
    logits: list[npt.NDArray[Any]] = []
    features: list[npt.NDArray[Any]] = []
    batch: list[Prepared] = []

    def flush() -> None:
        if batch:
            logits.extend(outcome.logits[ICDR] for outcome in engine.run(batch))
            features.extend(engine.image_features(batch))
            batch.clear()

    for picture in pictures:
        pixels_CHW = standardise(square(picture, spec), spec)
        batch.append(Prepared(subset=frozenset({Modality.IMAGE}), pixels_CHW=pixels_CHW))
        if len(batch) == _BATCH:
            flush()
    flush()
    return np.asarray(logits, np.float64), np.asarray(features, np.float64)


def _bytes(sample: Sample) -> bytes:
    data = sample.image_bytes()
    assert data is not None
    return data


@app.command
def ask(*, runs: Path, bundles: Path, data: str, out: Path, seed: int = 0) -> None:
    """Put every photograph through its fold's bundle.

    Args:
        runs: folder of fold-*.
        bundles: folder of fold-*-int8.
        data: data set as kind:path.
        out: folder for the answers.
        seed: of the drawn and spoilt pictures, and of the cameras' noise.
    """
    out.mkdir(parents=True, exist_ok=True)
    by_id = {sample.id: sample for sample in load_samples([data])}
    for folder in sorted(each for each in runs.glob("fold-*") if (each / SPLIT_FILE).exists()):
        path = out / f"{folder.name}.npz"
        if path.exists():
            continue
        split = json.loads((folder / SPLIT_FILE).read_text(encoding="utf-8"))
        engine = Engine(Bundle.open(bundles / f"{folder.name}-int8"), threads=1)
        found: Answers = {}
        for part in ("train", "validation", "test"):
            samples = [by_id[name] for name in split[part]]
            pictures = (photograph(_bytes(sample), engine.manifest.image) for sample in samples)
            found[f"{part}.logits"], found[f"{part}.features"] = _answers(engine, pictures)
            found[f"{part}.labels"] = np.asarray([sample.labels.icdr for sample in samples], np.int64)
        held_out = [by_id[name] for name in split["test"]]
        for camera in CAMERAS:
            pictures = (
                through_camera(photograph(_bytes(sample), engine.manifest.image), camera, seed=seed + i)
                for i, sample in enumerate(held_out)
            )
            found[f"{camera.name}.logits"], found[f"{camera.name}.features"] = _answers(engine, pictures)
        rng = np.random.default_rng(seed)
        drawn = (_as_file(draw(rng), engine) for _ in range(2) for draw in NOT_FUNDUS.values())
        _, found["not_fundus.features"] = _answers(engine, drawn)
        strong = [kind for name, (_, kind) in SPOILT.items() if name not in _SLIGHT]
        spoilt = (_as_file(kind(_small(held_out[i % len(held_out)]), rng), engine) for i, kind in enumerate(strong * 2))
        _, found["spoilt.features"] = _answers(engine, spoilt)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **found)  # type: ignore[arg-type]
        partial.replace(path)
        sys.stderr.write(f"{folder.name}: {len(held_out)} held out\n")


def _small(sample: Sample) -> Image.Image:
    picture = Image.open(io.BytesIO(_bytes(sample))).convert("RGB")
    picture.thumbnail((_DRAWN_SIDE_PX, _DRAWN_SIDE_PX))
    return picture


def _as_file(picture: Image.Image, engine: Engine) -> Image.Image:
    """As it would arrive: a JPEG that is read."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=90)
    return photograph(buffer.getvalue(), engine.manifest.image)


def _covered(probabilities_NG: Float, labels_N: npt.NDArray[np.int64], quantile: float) -> tuple[npt.NDArray[np.bool_], Float]:
    """Whether each grade is in its set, and the sets' sizes."""
    inside_NG = set_scores(probabilities_NG) <= quantile
    return inside_NG[np.arange(len(labels_N)), labels_N], inside_NG.sum(1).astype(np.float64)


def sets(folds: Sequence[Answers]) -> dict[str, Any]:
    """Sets of a fold's held-out photographs, by what its validation photographs ask for."""
    covered, sizes = [], []
    for fold in folds:
        labels = fold["validation.labels"]
        fitted = fits.fit_subset({ICDR: fold["validation.logits"]}, {ICDR: labels}, [str(i) for i in range(len(labels))])
        assert fitted.grade_set is not None
        probabilities = fitted.probabilities(ICDR, fold["test.logits"])
        inside, size = _covered(probabilities, fold["test.labels"], fitted.grade_set.quantile)
        covered.append(inside)
        sizes.append(size)
    inside, size = np.concatenate(covered), np.concatenate(sizes)
    return {"photographs": len(inside), "coverage": float(inside.mean()), "low": _low(inside), "size": float(size.mean())}


def _low(inside_N: npt.NDArray[np.bool_]) -> float:
    """One-sided 95 % lower bound (Clopper and Pearson)."""
    return float(beta.ppf(0.05, inside_N.sum(), len(inside_N) - inside_N.sum() + 1))


def adaptation(folds: Sequence[Answers], site: int, draws: int, seed: int) -> dict[str, Any]:
    """Calibration error and sets on a simulated camera, before adaptation to it and after."""
    rows, inside_CRN = {}, []
    labels_N = np.concatenate([fold["test.labels"] for fold in folds])
    before_T = np.concatenate(
        [np.full(len(f["test.labels"]), fits.fit_temperature(f["validation.logits"], f["validation.labels"])) for f in folds]
    )
    for camera in CAMERAS:
        logits_NG = np.concatenate([fold[f"{camera.name}.logits"] for fold in folds])
        rng = np.random.default_rng(seed)
        found: dict[str, list[float]] = {}
        inside_RN = np.full((draws, len(labels_N)), np.nan)
        for draw in range(draws):
            order = rng.permutation(len(labels_N))
            here, there = order[:site], order[site:]
            fitted = fits.fit_subset({ICDR: logits_NG[here]}, {ICDR: labels_N[here]}, [str(i) for i in here], prior=True)
            assert fitted.grade_set is not None
            after, truth = fitted.probabilities(ICDR, logits_NG[there]), labels_N[there]
            before = softmax(logits_NG[there] / before_T[there, None])
            inside, size = _covered(after, truth, fitted.grade_set.quantile)
            inside_RN[draw, there] = inside
            for name, value in (
                ("error_before", sureness_error(before, truth)),
                ("error_after", sureness_error(after, truth)),
                ("error_if_perfect", perfect_error(after, seed)),
                ("set_size", float(size.mean())),
            ):
                found.setdefault(name, []).append(value)
        inside_CRN.append(inside_RN)
        rows[camera.name] = {name: float(np.mean(values)) for name, values in found.items()}
        coverage = float(np.nanmean(inside_RN))
        rows[camera.name] |= {"coverage": coverage, "coverage_low": _low_of_share(coverage, len(labels_N) - site)}
    means = {name: float(np.mean([row[name] for row in rows.values()])) for name in next(iter(rows.values()))}
    pooled = {"coverage": means["coverage"], "low": _pooled_low(np.nanmean(np.stack(inside_CRN), axis=(0, 1)), seed)}
    return {"site": site, "draws": draws, "cameras": rows, "mean": means, "pooled": pooled}


def _low_of_share(share: float, count: int) -> float:
    """Lower bound as if a mean share had been seen on as many photographs as one draw is judged on."""
    return float(beta.ppf(0.05, share * count, count - share * count + 1))


def _pooled_low(inside_N: Float, seed: int) -> float:
    """One-sided 95 % lower bound by bootstrap over photographs, each with all of its cameras and draws."""
    drawn_RN = np.random.default_rng(seed).integers(len(inside_N), size=(BOOTSTRAP, len(inside_N)))
    return float(np.quantile(inside_N[drawn_RN].mean(axis=1), 0.05))


def distances(folds: Sequence[Answers]) -> dict[str, Any]:
    """AUROC of strangers against held-out photographs, and who lies beyond the limit."""
    rows: dict[str, list[float]] = {}
    for fold in folds:
        training = fit_training(fold["train.features"])
        limit = fit_limit(training.distances(fold["validation.features"]))
        own = training.distances(fold["test.features"])
        rows.setdefault("held out, beyond", []).append(float((own > limit).mean()))
        strangers = {name: training.distances(fold[f"{name}.features"]) for name in ("not_fundus", "spoilt")}
        strangers["both"] = np.concatenate(list(strangers.values()))
        for name, away in strangers.items():
            scores, positive = np.concatenate([away, own]), np.arange(len(away) + len(own)) < len(away)
            rows.setdefault(f"{name}, AUROC", []).append(float(auroc(scores, positive)[0]))
            rows.setdefault(f"{name}, beyond", []).append(float((away > limit).mean()))
        for camera in CAMERAS:
            away = training.distances(fold[f"{camera.name}.features"])
            rows.setdefault(f"camera {camera.name}, beyond", []).append(float((away > limit).mean()))
    return {name: {"mean": float(np.mean(values)), "least": min(values)} for name, values in rows.items()}


@app.command
def judge(
    answers: Path,
    /,
    *,
    site: int = 100,
    draws: int = 20,
    seed: int = 0,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Figures of what `ask` wrote.

    Args:
        answers: its folder.
        site: labelled photographs that adaptation takes.
        draws: times that they are drawn.
        seed: of the draws.
        json_: write the figures to this file.
    """
    folds = [dict(np.load(path)) for path in sorted(answers.glob("fold-*.npz")) if ".partial" not in path.name]
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "sets": lambda: sets(folds),
        "adaptation": lambda: adaptation(folds, site, draws, seed),
        "distances": lambda: distances(folds),
    }
    document = {"folds": len(folds), **{name: part() for name, part in parts.items()}}
    if json_ is not None:
        write_json(json_, document)
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    app()
