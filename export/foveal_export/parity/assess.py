"""Ask PyTorch and an artefact the same questions: answers by subset, alone and in company. Judges nothing; see `parity`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from foveal_export.parity.parity import Answers, SubsetParity, Truth, Worst, compare, worst_studies
from foveal_export.studies.cases import Case
from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.engine.answers import Outcome, VectorKind
from foveal_runtime.engine.engine import Engine
from foveal_runtime.study.labels import ICDR, Head
from foveal_runtime.study.study import Modality, Subset, subset_of
from foveal_train.runs.reference import Reference
from foveal_train.runs.run import RunInfo

Calibrations = Mapping[str, SubsetCalibration]
"""By subset name."""
_BATCH = 16
_ALONE = 8
"""Studies that are also run by themselves."""


def kinds_of(info: RunInfo, subset: Subset) -> frozenset[VectorKind]:
    """Vectors that a trained model may be asked for, of a study of this subset."""
    kinds = {VectorKind.JOINT}
    for modality in subset:
        if modality in info.aligned or modality.value in info.trained_subsets:
            kinds.add(VectorKind(modality.value))
    return frozenset(kinds)


def ask_reference(reference: Reference, info: RunInfo, cases: Mapping[str, Sequence[Case]]) -> dict[str, Answers]:
    """PyTorch's answers by subset name."""
    answers = {}
    for name, part in cases.items():
        kinds = kinds_of(info, subset_of(name))
        outputs = reference.run_prepared((case.prepared for case in part), kinds, batch=_BATCH)
        vectors = {
            kind: outputs.joint_ND if kind is VectorKind.JOINT else outputs.alone_NMD[:, list(Modality).index(Modality(kind))]
            for kind in VectorKind
            if kind in kinds
        }
        answers[name] = Answers(vectors=vectors, logits={head: outputs.logits[head] for head in info.trained_heads})
    return answers


def ask_engine(
    engine: Engine, info: RunInfo, cases: Mapping[str, Sequence[Case]], *, vectors: bool = True
) -> dict[str, Answers]:
    """An artefact's answers by subset name, in batches.

    Args:
        engine: of the artefact.
        info: of the run.
        cases: the studies.
        vectors: False asks for logits alone.
    """
    answers = {}
    for name, part in cases.items():
        kinds = kinds_of(info, subset_of(name)) if vectors else frozenset[VectorKind]()
        outcomes: list[Outcome] = []
        for start in range(0, len(part), _BATCH):
            batch = [case.prepared for case in part[start : start + _BATCH]]
            outcomes += engine.run(batch, kinds=kinds, grade=bool(info.trained_heads))
        answers[name] = Answers(
            vectors={kind: np.stack([o.vectors[kind] for o in outcomes]) for kind in VectorKind if kind in kinds},
            logits={head: np.stack([o.logits[head] for o in outcomes]) for head in info.trained_heads},
        )
    return answers


def neighbour_dependence(engine: Engine, info: RunInfo, cases: Mapping[str, Sequence[Case]]) -> float:
    """Largest difference on unit vectors between a study alone and the same study in a batch of all subsets and lengths."""
    company = [(subset_of(name), case) for name, part in cases.items() for case in (part[0], part[len(part) // 2], part[-1])]
    together = _batch(engine, info, [case for _, case in company])
    step = max(1, len(company) // _ALONE)
    largest = 0.0
    for place in range(0, len(company), step):
        alone = _batch(engine, info, [company[place][1]])[0]
        for kind, vector in alone.vectors.items():
            largest = max(largest, float(np.abs(vector - together[place].vectors[kind]).max()))
    return largest


def _batch(engine: Engine, info: RunInfo, cases: Sequence[Case]) -> list[Outcome]:
    kinds = {kind for case in cases for kind in kinds_of(info, case.prepared.subset)}
    return engine.run([case.prepared for case in cases], kinds=frozenset(kinds), grade=bool(info.trained_heads))


def labels(part: Sequence[Case], head: Head = ICDR) -> npt.NDArray[np.int64]:
    """Grades of cases, `MISSING` where there is none."""
    return np.asarray([case.label(head) for case in part], np.int64)


def truth(part: Sequence[Case], heads: Iterable[Head]) -> Truth:
    """What is known of cases."""
    return Truth(labels={head: labels(part, head) for head in heads}, patients=[case.patient or case.id for case in part])


def compare_all(
    reference: Mapping[str, Answers],
    artefact: Mapping[str, Answers],
    cases: Mapping[str, Sequence[Case]],
    served: tuple[Calibrations, Calibrations],
    tie_margin: float,
) -> dict[str, SubsetParity]:
    """Parity of every subset.

    Args:
        reference: PyTorch's answers by subset name.
        artefact: the artefact's.
        cases: the studies.
        served: calibration of PyTorch's logits and of the artefact's, by subset name.
        tie_margin: margin in probability up to which PyTorch was not sure.
    """
    none = SubsetCalibration()
    return {
        name: compare(
            reference[name],
            artefact[name],
            truth(part, reference[name].logits),
            (served[0].get(name, none), served[1].get(name, none)),
            tie_margin,
        )
        for name, part in cases.items()
    }


def worst(
    reference: Mapping[str, Answers], artefact: Mapping[str, Answers], cases: Mapping[str, Sequence[Case]], count: int
) -> list[Worst]:
    """The studies of least cosine over all subsets and kinds of vector, each once."""
    found = [
        row
        for name, part in cases.items()
        for row in worst_studies([case.id for case in part], name, reference[name], artefact[name])
    ]
    once: dict[str, Worst] = {}
    for row in sorted(found, key=lambda row: row.cosine):
        once.setdefault(row.study, row)
    return list(once.values())[:count]
