"""A clinic's own folder as a data set: the runtime's reader, with the note stripped of its label for the ablations."""

from __future__ import annotations

from pathlib import Path

from foveal_runtime.study.folder import read_folder
from foveal_runtime.study.mapping import Reading
from foveal_runtime.study.placing import own_patients_remark
from foveal_train.data.notes import without_dr
from foveal_train.data.sample import Dataset, Labels, Sample, edema_labels


def read(path: Path, spec: str, reading: Reading) -> Dataset:
    """Read a folder of photographs and at most one CSV (`foveal_runtime.study.folder`).

    Raises:
        DataError: see `read_folder`.
    """
    folder = read_folder(path, reading)
    is_risk = any((row.macular_edema or 0) > 1 for row in folder.rows)
    samples = tuple(
        Sample(
            id=row.id,
            patient_id=f"folder:{row.patient_id}",
            image_path=row.image_path,
            note=row.note or "",
            note_without_dr=without_dr(row.note or ""),
            record=row.record,
            labels=Labels(
                icdr=row.icdr,
                sdrg=row.sdrg,
                macular_edema=row.macular_edema,
                others=(*edema_labels(row.macular_edema, is_risk=is_risk), *row.labels),
            ),
            camera=row.camera,
            row=row.row,
        )
        for row in folder.rows
    )
    remarks = []
    if folder.unused_columns:
        remarks.append(f"columns that are not used: {', '.join(folder.unused_columns)}")
    if folder.unlisted_images:
        remarks.append(f"{folder.unlisted_images} photographs are in no row and are not read")
    remarks += own_patients_remark(folder.own_patients)
    unread = [
        f"the column {column!r} looks like a grade and is not read; say what it is in a mapping file (--columns): "
        f'"{column}" = "icdr", or "" to leave it out'
        for column in folder.unread_grades
    ]
    return Dataset(
        name="folder",
        spec=spec,
        samples=samples,
        problems=folder.bad_rows,
        remarks=tuple(remarks),
        faults=tuple(unread),
    )
