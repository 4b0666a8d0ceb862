"""What a run says of its training data: numbers and names, never a path or a study."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from foveal_runtime.bundle.manifest import TrainedOn
from foveal_train.data import Sample
from foveal_train.runs.provenance import trained_on, with_provenance


def sample(number: int, patient: str, camera: str = "") -> Sample:
    return Sample(id=f"s{number}", patient_id=patient, image_path=None, labels={}, camera=camera)


def test_patients_are_counted_where_the_data_names_them_and_cameras_listed(tmp_path: Path) -> None:
    generated = tmp_path / "made"
    generated.mkdir()
    (generated / "synthetic.json").write_text("{}")
    samples = [sample(0, "a", "X"), sample(1, "a", "Y"), sample(2, "b")]
    found = trained_on([f"brset:{generated}", "idrid:/elsewhere"], samples, 7)
    assert found == TrainedOn(
        datasets=("generated (brset form)", "idrid"), studies=3, patients=2, validation_studies=7, cameras=("X", "Y")
    )
    assert str(tmp_path) not in found.model_dump_json()


def test_a_data_set_that_names_no_patients_counts_none() -> None:
    assert trained_on(["idrid:/x"], [sample(0, "idrid:a"), sample(1, "idrid:b")], 0).patients == 0


def test_an_older_run_says_what_its_data_still_tells_and_nothing_when_some_of_it_is_gone() -> None:
    def copied(update: dict[str, Any]) -> Any:
        return SimpleNamespace(**{**vars(run), **update})

    run: Any = SimpleNamespace(trained_on=None, train_studies=2, validation_studies=1, data=("idrid:/x",), model_copy=copied)
    both = [sample(0, "a"), sample(1, "b")]
    assert with_provenance(run, both).trained_on.studies == 2
    assert with_provenance(run, both[:1]) is run
