"""How soon drift is told of other cameras, and how often of the same one, on real photographs without labels.

    python benchmarks/drift.py ask --bundle models/edge --data idrid:PATH --out ANSWERS
    python benchmarks/drift.py judge ANSWERS --json benchmarks/results/drift.json

`ask` puts every photograph through a bundle: as it is, as the same camera might have taken it another time (mirrored, moved by
whole pixels, a little lighter or darker), and through each simulated camera (cameras.py). It goes on where it was cut off.

`judge` splits the photographs `--draws` times: some fit the distance of image vectors, some are the reference (the bundle's and
the camera's own), the rest is tested: through each camera until the alarm starts, then as they are until it ends; and
`--same` photographs of the same camera in each draw, one by one, and four ways of one eye in a row.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cyclopts
import numpy as np
import numpy.typing as npt
from cyclopts import Parameter
from PIL import Image, ImageChops

from cameras import CAMERAS, Camera, through_camera
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.calibration import HeldOutPhotographs
from foveal_runtime.drift.evidence import ALIKE, ONE_IN
from foveal_runtime.drift.signals import GRID, Reading, steps
from foveal_runtime.drift.stream import BUNDLE, OWN, Served, Stream
from foveal_runtime.drift.watch import counts_of, sparse
from foveal_runtime.engine.answers import Prepared
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.novelty import fit_limit, fit_training
from foveal_runtime.photo.imaging import photograph, square, standardise
from foveal_runtime.photo.measures import NAMES as MEASURES
from foveal_runtime.photo.measures import measure
from foveal_runtime.photo.quality import APPEARANCE, VERDICTS
from foveal_runtime.photo.quality import judge as judge_quality
from foveal_runtime.study.labels import ICDR, confusion_counts, quadratic_kappa
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample
from foveal_train.runs.run import write_json
from foveal_train.runs.samples import load_samples

app = cyclopts.App(help=__doc__)
_BATCH = 8
_RETAKES = 3
_PLAIN = "as it is"
_SAME = (_PLAIN, *(f"retaken {again}" for again in range(_RETAKES)))
_FITTED = 120
_BACK = 600
"""Photographs of the first camera after those of another."""
_APPEARANCE = [MEASURES.index(name) for name in APPEARANCE]
_NOW = datetime(2026, 11, 2, tzinfo=UTC)

Int64 = npt.NDArray[np.int64]

Answers = dict[str, npt.NDArray[Any]]


def retaken(picture: Image.Image, seed: int) -> Image.Image:
    """The photograph as the same camera might have taken it another time; no pixel is resampled."""
    rng = np.random.default_rng(seed)
    image = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else picture
    width, height = image.size
    # Rims of camera black: what leaves on one side comes in on the other.
    image = ImageChops.offset(image, *(round(rng.uniform(-0.02, 0.02) * side) for side in (width, height)))
    gain = rng.uniform(0.95, 1.05) * rng.uniform(0.99, 1.01, 3)
    return Image.fromarray(np.clip(np.asarray(image, np.float32) * gain.astype(np.float32), 0, 255).round().astype(np.uint8))


def _answers(engine: Engine, pictures: Iterable[Image.Image]) -> Answers:
    """What drift is told from, a row a picture."""
    spec = engine.manifest.image
    found: dict[str, list[Any]] = {"logits": [], "features": [], "measures": [], "gradable": [], "verdict": []}
    batch: list[Prepared] = []

    def flush() -> None:
        if batch:
            found["logits"].extend(outcome.logits[ICDR] for outcome in engine.run(batch))
            found["features"].extend(engine.image_features(batch))
            batch.clear()

    for picture in pictures:
        assessment = judge_quality(picture)
        found["measures"].append(measure(picture))
        found["gradable"].append(assessment.gradable)
        found["verdict"].append(VERDICTS.index(assessment.verdict()))
        batch.append(Prepared(subset=frozenset({Modality.IMAGE}), pixels_CHW=standardise(square(picture, spec), spec)))
        if len(batch) == _BATCH:
            flush()
    flush()
    return {name: np.asarray(rows) for name, rows in found.items()}


def _through(camera: Camera, seed: int, picture: Image.Image, i: int) -> Image.Image:
    return through_camera(picture, camera, seed=seed + i)


def _again(seed: int, picture: Image.Image, i: int) -> Image.Image:
    return retaken(picture, seed + i)


@app.command
def ask(*, bundle: Path, data: str, out: Path, seed: int = 0) -> None:
    """Put every photograph through a bundle.

    Args:
        bundle: its folder.
        data: data set as kind:path.
        out: folder for the answers.
        seed: of the cameras' noise and of what is retaken.
    """
    out.mkdir(parents=True, exist_ok=True)
    engine = Engine(Bundle.open(bundle), threads=1)
    samples = load_samples([data])

    def decoded(sample: Sample) -> Image.Image:
        data = sample.image_bytes()
        assert data is not None
        return photograph(data, engine.manifest.image)

    ways: dict[str, Callable[[Image.Image, int], Image.Image]] = {_PLAIN: lambda picture, i: picture}
    for camera in CAMERAS:
        ways[camera.name] = partial(_through, camera, seed)
    for again in range(_RETAKES):
        ways[f"retaken {again}"] = partial(_again, seed + (again + 1) * len(samples))
    for name, way in ways.items():
        path = out / f"{name.replace(' ', '_')}.npz"
        if path.exists():
            continue
        found = _answers(engine, (way(decoded(sample), i) for i, sample in enumerate(samples)))
        found["label"] = np.asarray([sample.labels.icdr for sample in samples], np.int64)
        unfinished = path.with_suffix(".partial.npz")
        np.savez(unfinished, **found)  # type: ignore[arg-type]
        unfinished.replace(path)
        sys.stderr.write(f"{name}: {len(samples)} photographs\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Photographs of one draw, none of them in two parts."""

    fitted: Int64
    """On which the distance of image vectors is fitted."""
    reference: Int64
    tested: Int64


class Draw:
    """One split of the photographs, and streams of the tested ones."""

    def __init__(self, answers: dict[str, Answers], parts: Parts, rng: np.random.Generator) -> None:
        self._answers, self._rng, self.parts = answers, rng, parts
        plain = answers[_PLAIN]["features"]
        self._training = fit_training(plain[parts.fitted])
        self._limit = fit_limit(self._training.distances(plain[parts.reference]))
        self._readings: dict[str, list[Reading]] = {}
        counts = sparse(counts_of([self.of(_PLAIN)[i].steps_S for i in parts.reference]))
        held_out = HeldOutPhotographs(grid=GRID, photographs=len(parts.reference), counts=counts)
        self._served = Served(bundle_sha256="", gradability="", held_out=held_out)

    def of(self, way: str) -> list[Reading]:
        """Every photograph, taken that way."""
        if way not in self._readings:
            a = self._answers[way]
            away = self._training.distances(a["features"]) / self._limit
            self._readings[way] = [
                Reading(
                    quality=VERDICTS[a["verdict"][i]],
                    grade=int(a["logits"][i].argmax()),
                    steps_S=steps(
                        quality=VERDICTS[a["verdict"][i]],
                        appearance=tuple(a["measures"][i, _APPEARANCE].tolist()),
                        novelty=float(away[i]),
                        grade=int(a["logits"][i].argmax()) if a["verdict"][i] == 0 else None,
                    ),
                )
                for i in range(len(away))
            ]
        return self._readings[way]

    def stream(self) -> Stream:
        """A camera whose own first photographs are the reference's, as are those that the bundle was judged on."""
        found = Stream("camera", self._served)
        found.begin_with([self.of(_PLAIN)[i] for i in self.parts.reference])
        return found

    def photographs(self, ways: Sequence[str], count: int, alike: int = 1) -> Iterator[Reading]:
        """Tested photographs, drawn again and again, each in `alike` ways in a row."""
        for i in self._rng.choice(self.parts.tested, -(-count // alike)):
            for way in self._rng.choice(ways, alike):
                yield self.of(way)[i]

    def alarms(self, stream: Stream, photographs: Iterable[Reading]) -> list[Told]:
        """Every start and end of an alarm, as photographs go by."""
        return [
            Told(number, reference, change.started, tuple(change.alarm.signals))
            for number, reading in enumerate(photographs, 1)
            for reference, change in stream.add(reading, _NOW, self._rng)
        ]


class Told(NamedTuple):
    """A start or an end of an alarm."""

    photograph: int
    reference: str
    started: bool
    signals: tuple[str, ...]


def _draws(answers: dict[str, Answers], draws: int, reference: int, seed: int) -> Iterator[Draw]:
    count = len(answers[_PLAIN]["label"])
    for draw in range(draws):
        rng = np.random.default_rng((seed, draw))
        order = rng.permutation(count)
        ends = _FITTED, _FITTED + reference
        yield Draw(answers, Parts(fitted=order[: ends[0]], reference=order[ends[0] : ends[1]], tested=order[ends[1] :]), rng)


def other_cameras(answers: dict[str, Answers], draws: int, reference: int, most: int, seed: int) -> dict[str, Any]:
    """Photographs of another camera until the alarm, and of the first one again until its end."""
    found: dict[str, Any] = {}
    for camera in CAMERAS:
        starts: dict[str, list[int]] = {OWN: [], BUNDLE: []}
        ends: list[int] = []
        signals: Counter[str] = Counter()
        for draw in _draws(answers, draws, reference, seed):
            stream = draw.stream()
            told = draw.alarms(stream, draw.photographs((camera.name,), most))
            for name, numbers in starts.items():
                first = next((each for each in told if each.started and each.reference == name), None)
                numbers.append(most + 1 if first is None else first.photograph)
                if first is not None and name == OWN:
                    signals[first.signals[0]] += 1
            back = draw.alarms(stream, draw.photographs(_SAME, _BACK))
            ends += [each.photograph for each in back if not each.started and each.reference == OWN][:1]
        labels, graded = answers[camera.name]["label"], answers[camera.name]["logits"].argmax(1)
        found[camera.name] = {
            "kappa": quadratic_kappa(confusion_counts(labels, graded)),
            "ungradable": float((answers[camera.name]["verdict"] > 0).mean()),
            "photographs_until_alarm": {
                name: {"median": float(np.median(numbers)), "most": max(numbers), "missed": sum(n > most for n in numbers)}
                for name, numbers in starts.items()
            },
            "first_signals": dict(signals.most_common()),
            "photographs_until_end": {"median": float(np.median(ends)), "most": max(ends)} if ends else None,
            "ended": len(ends),
        }
    return found


def same_camera(answers: dict[str, Answers], draws: int, reference: int, count: int, alike: int, seed: int) -> dict[str, Any]:
    """Alarms over photographs of the same camera."""
    alarms: Counter[str] = Counter()
    with_alarm, highest = 0, 0.0
    started = time.process_time()
    for draw in _draws(answers, draws, reference, seed):
        stream = draw.stream()
        told = [each for each in draw.alarms(stream, draw.photographs(_SAME, count, alike)) if each.started]
        alarms.update(each.reference for each in told)
        with_alarm += bool(told)
        highest = max(highest, *(share for watch in stream.watches.values() for share in watch.share_of_limit.values()))
    seconds = time.process_time() - started
    total = draws * count
    return {
        "photographs": total,
        "in_a_row_of_one_eye": alike,
        "alarms": {name: alarms[name] for name in (OWN, BUNDLE)},
        "alarms_in_10000": {name: alarms[name] * 1e4 / total for name in (OWN, BUNDLE)},
        "draws_with_an_alarm": with_alarm,
        "cpu_ms_a_photograph": 1e3 * seconds / total,
    }


@app.command
def judge(
    answers: Path,
    /,
    *,
    draws: int = 50,
    reference: int = 200,
    most: int = 200,
    same: int = 10_000,
    seed: int = 0,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Figures of what `ask` wrote.

    Args:
        answers: its folder.
        draws: times that the photographs are split.
        reference: photographs of the reference; 120 others fit the distance, and the rest is tested.
        most: photographs of another camera.
        same: photographs of the same camera, in each draw.
        seed: of the draws.
        json_: write the figures to this file.
    """
    found = {
        path.stem.replace("_", " "): dict(np.load(path))
        for path in sorted(answers.glob("*.npz"))
        if ".partial" not in path.name
    }
    plain = found[_PLAIN]
    document = {
        "draws": draws,
        "reference": reference,
        "tested": len(plain["label"]) - _FITTED - reference,
        "kappa": quadratic_kappa(confusion_counts(plain["label"], plain["logits"].argmax(1))),
        "one_in": ONE_IN,
        "cameras": other_cameras(found, draws, reference, most, seed),
        "cameras_small_reference": other_cameras(found, draws, reference // 2, most, seed),
        "same_camera": [same_camera(found, draws, reference, same, alike, seed) for alike in (1, ALIKE)],
    }
    if json_ is not None:
        write_json(json_, document)
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    app()
