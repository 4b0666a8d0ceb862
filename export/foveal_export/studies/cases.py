"""Which studies an export looks at: for calibration, for refitting probabilities, for parity. Runs no model.

By default they are the run's own: calibration reads its training split, refitting and the search for a plan its validation
split, the verdict what it held out. Other data may be named; what the run was trained on never counts as held out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from foveal_export.bundle.bom import DataPart
from foveal_runtime.engine.answers import Prepared
from foveal_runtime.errors import DataError, FovealError
from foveal_runtime.study.labels import MISSING, SCHEME_CLASSES, Head
from foveal_runtime.study.study import Modality, Study, Subset, subset_name
from foveal_train.data import Sample, load
from foveal_train.data.fingerprint import fingerprint
from foveal_train.data.source import parse_spec
from foveal_train.data.synthetic.writer import synthesise
from foveal_train.runs.run import Run

MIN_CALIBRATION = 8
"""Studies below which a calibrated range is chance."""
_GENERATED_PATIENTS, _GENERATED_SIDE_PX, _SEED = 48, 256, 17
"""Of what a model without data is compared on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Samples by purpose."""

    calibration: tuple[Sample, ...]
    """Of the training split."""
    validation: tuple[Sample, ...]
    """For temperatures, operating points and the search for a plan."""
    parity: tuple[Sample, ...]
    """Held out, for the verdict."""
    source: str
    """Where the parity studies come from, for the report."""
    calibration_source: str = "the run's training split"
    """Where the calibration studies come from, for the report."""

    def data_parts(self, kinds: Sequence[str], split: Mapping[str, Sequence[str]]) -> list[DataPart]:
        """Fingerprints of the studies of each use, for the bill of materials.

        Args:
            kinds: of the data sets.
            split: the run's sample ids by split; empty for a model that nothing is known of.

        Raises:
            DataError: a photograph can't be read.
        """
        uses = {
            "training" if split else "calibration": ("train", self.calibration),
            "validation": ("validation", self.validation),
        }
        return [
            DataPart(
                use=use,
                kinds=tuple(dict.fromkeys(kinds)),
                studies=len(samples),
                sha256=fingerprint(samples),
                complete=not split or name not in split or len(samples) == len(set(split[name])),
            )
            for use, (name, samples) in {**uses, "verdict": ("", self.parity)}.items()
            if samples
        ]

    @property
    def _unjudged(self) -> tuple[Sample, ...]:
        """Validation studies on which no verdict falls."""
        judged = {sample.id for sample in self.parity}
        return tuple(sample for sample in self.validation if sample.id not in judged)

    @property
    def searches_held_out(self) -> bool:
        """Whether there are validation studies to search on; the search looks at training studies where there are none."""
        return bool(self._unjudged)

    @property
    def search(self) -> tuple[Sample, ...]:
        """What a plan is searched on: never what it is judged on."""
        return self._unjudged or self.calibration

    @property
    def search_source(self) -> str:
        """Where the studies of the search come from, for the report."""
        return "the run's validation split" if self.searches_held_out else self.calibration_source


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One study seen through one modality subset, ready for either side."""

    id: str
    prepared: Prepared
    labels: Mapping[Head, int] = field(default_factory=dict)
    """Places of the classes by head; without a label, no head."""
    patient: str = ""
    """Whose study it is: intervals resample patients."""

    def label(self, head: Head) -> int:
        """Of one head, `MISSING` without one."""
        return self.labels.get(head, MISSING)


def choose(run: Run, specs: Sequence[str] | None) -> Chosen:
    """Sort samples by purpose.

    Args:
        run: whose split decides.
        specs: data sets in place of the run's own; None for those.

    Raises:
        DataError: no data, a data set that can't be read, or no sample left to compare on.
    """
    wanted = tuple(specs) if specs else run.info.data
    if not wanted:
        raise DataError(f"run {run.path} names no data of its own; give some with --data SPEC")
    if not specs and (gone := [spec for spec in wanted if not parse_spec(spec).path.exists()]):
        raise DataError(f"the run's data set {gone[0]} is not there any more; say where it is now with --data KIND:PATH")
    samples = _unique(sample for spec in wanted for sample in load(spec, skip_bad=True).samples)
    split = run.split
    train, validation, test = (frozenset(split.get(name, ())) for name in ("train", "validation", "test"))
    held_out = tuple(s for s in samples if s.id not in train and s.id not in validation)
    parity = held_out if specs else tuple(s for s in samples if s.id in test)
    source = "held-out studies of " + ", ".join(wanted) if specs else "the run's test split"
    if not parity:
        parity = tuple(s for s in samples if s.id in validation)
        source = "the run's validation split"
    if not parity:
        raise DataError(f"{', '.join(wanted)} holds no study that the run was not trained on; give others with --data SPEC")
    return Chosen(
        calibration=tuple(s for s in samples if s.id in train),
        validation=tuple(s for s in samples if s.id in validation),
        parity=parity,
        source=source,
    )


@contextlib.contextmanager
def fresh(specs: Sequence[str]) -> Iterator[Chosen]:
    """Studies for a model of which no training data is known: half to calibrate and search on, half for the verdict.

    Generated ones where no data set is named; they lie in a folder that is gone when the context ends.

    Args:
        specs: data sets.

    Raises:
        DataError: a data set that can't be read, or that holds fewer than two studies.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wanted = tuple(specs)
        if not wanted:
            made = synthesise(Path(scratch) / "studies", patients=_GENERATED_PATIENTS, seed=_SEED, side_px=_GENERATED_SIDE_PX)
            wanted = (f"brset:{made}",)
        samples = _unique(sample for spec in wanted for sample in load(spec, skip_bad=True).samples)
        if len(samples) < 2:
            raise DataError(f"{', '.join(specs)} holds one study alone; give more with --data SPEC")
        in_order = sorted(samples, key=lambda sample: (hashlib.sha256(sample.id.encode()).hexdigest(), sample.id))
        yield Chosen(
            calibration=tuple(in_order[1::2]),
            validation=(),
            parity=tuple(in_order[::2]),
            source="half of " + ", ".join(specs) if specs else "generated studies",
            calibration_source="the other half",
        )


def _unique(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    return tuple({sample.id: sample for sample in samples}.values())


def sampled(samples: Sequence[Sample], limit: int) -> tuple[Sample, ...]:
    """At most `limit` samples: always the same ones, in their order, whatever the order given."""
    if len(samples) <= limit:
        return tuple(samples)
    chosen = set(sorted((hashlib.sha256(s.id.encode()).hexdigest(), s.id) for s in samples)[:limit])
    names = {name for _, name in chosen}
    return tuple(s for s in samples if s.id in names)


class Preparer(Protocol):
    """Whoever decodes and tokenises a study: PyTorch's reference, or a bundle's engine."""

    def prepare(self, study: Study) -> Prepared:
        """One study, ready for the graphs."""


def prepare(
    preparer: Preparer, samples: Sequence[Sample], modalities: Subset, heads: Mapping[Head, Sequence[str]] | None = None
) -> list[Case]:
    """Decode every sample once, with all it has of `modalities`; samples that have none are left out.

    Args:
        preparer: that decodes.
        samples: held out.
        modalities: that are read.
        heads: classes of the heads whose labels are asked for; None for those of the grading schemes.

    Raises:
        DataError: a label is none of its head's classes.
    """
    classes = SCHEME_CLASSES if heads is None else heads
    cases = []
    for sample in samples:
        study = sample.study().only(modalities)
        if study.modalities:
            places = {head: sample.labels.place(head, names) for head, names in classes.items()}
            labels = {head: place for head, place in places.items() if place is not None}
            prepared = preparer.prepare(study)
            cases.append(Case(id=sample.id, prepared=prepared, labels=labels, patient=sample.patient_id))
    return cases


def photographs(preparer: Preparer, samples: Sequence[Sample], batch: int = 1) -> Iterator[list[Prepared]]:
    """The photographs of samples alone, so many samples at a time: whole training splits would not fit into memory.

    What can't be prepared is left out: training left it out as well, or refused the data set for it.
    """
    pictured = [sample for sample in samples if sample.image_path is not None]
    for start in range(0, len(pictured), batch):
        prepared = []
        for sample in pictured[start : start + batch]:
            with contextlib.suppress(FovealError):
                prepared.append(preparer.prepare(sample.study().only(frozenset({Modality.IMAGE}))))
        if prepared:
            yield prepared


def through(cases: Sequence[Case], subset: Subset) -> list[Case]:
    """The cases that have all of `subset`, seen through it alone."""
    return [
        dataclasses.replace(case, prepared=restrict(case.prepared, subset)) for case in cases if subset <= case.prepared.subset
    ]


def restrict(prepared: Prepared, subset: Subset) -> Prepared:
    """A prepared study of fewer modalities."""
    return dataclasses.replace(
        prepared,
        subset=subset,
        pixels_CHW=prepared.pixels_CHW if Modality.IMAGE in subset else None,
        ids_T=prepared.ids_T if Modality.TEXT in subset else None,
        features_F=prepared.features_F if Modality.STRUCTURED in subset else None,
    )


def by_subset(cases: Sequence[Case], subsets: Sequence[Subset], limit: int) -> dict[str, list[Case]]:
    """Cases of every subset by its name, `limit` shared out among subsets but at least 32 each; empty ones left out."""
    each = max(32, limit // max(len(subsets), 1))
    parts = {subset_name(subset): through(cases, subset)[:each] for subset in subsets}
    return {name: part for name, part in parts.items() if part}
