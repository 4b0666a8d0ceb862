"""What a model was trained on, for those who use it later: data sets, numbers, cameras. Names no study and no path."""

from __future__ import annotations

from collections.abc import Sequence

from foveal_runtime.bundle.manifest import TrainedOn
from foveal_train.data import Sample
from foveal_train.data.source import parse_spec
from foveal_train.data.synthetic.writer import MARKER
from foveal_train.runs.run import RunInfo


def trained_on(specs: Sequence[str], train: Sequence[Sample], validation_studies: int) -> TrainedOn:
    """What the manifest says of the training data.

    Args:
        specs: `kind:path` of every data set.
        train: its training studies.
        validation_studies: held out to fit temperatures and thresholds.
    """
    patients = {sample.patient_id for sample in train}
    return TrainedOn(
        datasets=tuple(dict.fromkeys(map(_name, specs))),
        studies=len(train),
        # A data set that names no patients gives every photograph one of its own.
        patients=len(patients) if len(patients) < len(train) else 0,
        validation_studies=validation_studies,
        cameras=tuple(sorted({sample.camera for sample in train if sample.camera})),
    )


def with_provenance(info: RunInfo, train: Sequence[Sample]) -> RunInfo:
    """A run of an older foveal, with what its own data still tells; unchanged where some of its training studies are gone."""
    if info.trained_on is not None or not train or len(train) != info.train_studies:
        return info
    return info.model_copy(update={"trained_on": trained_on(info.data, train, info.validation_studies)})


def _name(spec: str) -> str:
    found = parse_spec(spec)
    kind = found.kind.value
    return f"generated ({kind} form)" if (found.path / MARKER).is_file() else kind
