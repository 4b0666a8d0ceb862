"""The files that a command line names: folders are searched for photographs, study files are read. Sends nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.cli.layout import printable
from foveal_runtime.cli.study_file import SUFFIX, read_study
from foveal_runtime.errors import InputError
from foveal_runtime.study.photographs import read_photograph

if TYPE_CHECKING:
    from foveal_runtime.study.photographs import Skipped
    from foveal_runtime.study.study import Record, Study


def named_files(names: Sequence[Path], skipped: list[Skipped]) -> list[Path]:
    """The files themselves, and for a folder the photographs in it and below, by their path.

    Args:
        names: files and folders.
        skipped: gets every file of a folder that is left out, with the reason.

    Raises:
        InputError: a folder holds no photograph.
        OSError: a folder can't be read.
    """
    from foveal_runtime.study.photographs import DICOM_SUFFIXES, IMAGE_SUFFIXES, search

    suffixes = (*IMAGE_SUFFIXES, *DICOM_SUFFIXES)
    found: list[Path] = []
    for name in names:
        if not name.is_dir():
            found.append(name)
            continue
        photographs, others = search(name, suffixes)
        if not photographs:
            raise InputError(f"{name} holds no photograph ({', '.join(suffixes)}); name the folder that does")
        found += photographs.values()
        skipped += others
    return found


def report_skipped(skipped: Sequence[Skipped]) -> None:
    """What was left out and why, a line a file on stderr."""
    from foveal_runtime.study.photographs import skipped_lines

    for line in skipped_lines(skipped):
        sys.stderr.write(f"skipped: {printable(line)}\n")


def read_file(file: Path, *, study_id: str, note: str | None, record: Record | None) -> Study:
    """A photograph, or what a study file holds, with the note and the record where the file says nothing.

    Raises:
        InputError: it can't be used.
    """
    from foveal_runtime.study.study import Study

    if file.suffix.lower() == SUFFIX:
        study = read_study(file)
        return replace(study, id=study_id, note=study.note or note, record=study.record or record)
    return Study(id=study_id, image=read_photograph(file), note=note, record=record)
