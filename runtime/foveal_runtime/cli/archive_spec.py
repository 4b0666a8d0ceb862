"""The photographs of a folder or data set, as `foveal index` and `foveal embed --ray` are given it. Decodes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.errors import InputError

if TYPE_CHECKING:
    from datetime import date

    from foveal_runtime.engine.answers import VectorKind
    from foveal_runtime.study.photographs import Skipped
    from foveal_runtime.study.study import Record

_BAD_LISTED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """One photograph, and what its row says."""

    path: Path
    patient: str
    note: str | None
    record: Record | None
    icdr: int | None
    camera: str
    site: str = ""
    acquired: date | None = None

    def allows(self, kind: VectorKind) -> bool:
        """Whether there can be a vector of this kind."""
        if kind.value == "text":
            return bool(self.note and self.note.strip())
        return kind.value != "structured" or self.record is not None


def photographs_of(
    source: str, columns: Path | None, *, own_patients: bool, skip_bad: bool
) -> tuple[list[Photograph], tuple[Skipped, ...]]:
    """What is to be indexed, and the files of a folder that are left out."""
    kind, colon, rest = source.partition(":")
    path = Path(rest if colon and kind == "folder" else source).expanduser()
    if path.exists() or kind == "folder" or not colon:
        from foveal_runtime.study.folder import read_folder
        from foveal_runtime.study.mapping import ColumnMap, Reading, read_map
        from foveal_runtime.study.problem import grouped

        mapping = ColumnMap() if columns is None else read_map(columns)
        folder = read_folder(path, Reading(columns=mapping, own_patients=own_patients))
        if folder.bad_rows and not skip_bad:
            listed = "; ".join(grouped(folder.bad_rows)[:_BAD_LISTED])
            raise InputError(
                f"{source} has {len(folder.bad_rows)} unusable rows: {listed}; "
                f"mend them, say what unknown codes mean (--columns), or add --skip-bad"
            )
        return [
            Photograph(
                path=r.image_path,
                # Without a patient a photograph is one of its own, called like its file.
                patient="" if r.patient_id == r.id else r.patient_id,
                note=r.note,
                record=r.record,
                icdr=r.icdr,
                camera=r.camera,
                site=r.site,
                acquired=r.acquired,
            )
            for r in folder.rows
        ], folder.skipped
    from foveal_runtime.cli.rooms import import_room

    room = import_room("foveal_train.data.source", extra="train")
    spec = room.with_options(source, columns=columns, own_patients=own_patients)
    dataset = room.load(spec, skip_bad=skip_bad)
    return [
        Photograph(
            path=s.image_path,
            patient=s.patient_id,
            note=s.note or None,
            record=s.record,
            icdr=s.labels.icdr,
            camera=s.camera,
        )
        for s in dataset.samples
        if s.image_path is not None
    ], ()
