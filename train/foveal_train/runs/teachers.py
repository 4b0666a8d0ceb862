"""Teachers of a distillation: finished runs, told apart by their fingerprint. Asks them nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foveal_runtime.errors import ConfigError
from foveal_train.runs.run import RUN_FILE, WEIGHTS_FILE, Run, read_info


@dataclass(frozen=True, kw_only=True, slots=True)
class Teaching:
    """What `foveal distill` asks for besides what `foveal train` asks for."""

    teachers: tuple[Path, ...]
    """Folders of finished runs."""
    unlabelled: tuple[str, ...] = ()
    """Data sets whose photographs are learnt from without their labels, `kind:path`."""
    answers: Path | None = None
    """Folder for the teachers' answers, which other distillations may share; None keeps them beside the run."""
    not_held_out: bool = False
    """Go on where teachers have learnt from studies that the student is judged on."""

    def __post_init__(self) -> None:
        if not self.teachers:
            raise ConfigError("no teacher given; name the folder of at least one run that foveal train wrote")
        if len(set(self.teachers)) < len(self.teachers):
            raise ConfigError("a teacher is named twice; name each once")


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """An opened run that teaches."""

    run: Run
    fingerprint: str
    """SHA-256 over its weights and run.json: two teachers of the same one answer the same."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.run.path.resolve().name


def open_teachers(paths: Sequence[Path]) -> tuple[Teacher, ...]:
    """Open the runs.

    Raises:
        DataError: one is missing, unfinished or damaged.
        ConfigError: one has no trained modality subset or head, or two are the same run.
    """
    found: dict[str, Teacher] = {}
    for path in paths:
        run = Run.open(path)
        if not run.info.trained_subsets or not run.info.trained_heads:
            raise ConfigError(f"run {path} has no trained modality subset or head, so it has nothing to teach; name another")
        teacher = Teacher(run=run, fingerprint=fingerprint(path))
        if teacher.fingerprint in found:
            raise ConfigError(f"{path} and {found[teacher.fingerprint].run.path} are the same run; name each teacher once")
        found[teacher.fingerprint] = teacher
    return tuple(found.values())


def fingerprint(run: Path) -> str:
    """Of a finished run's folder.

    Raises:
        DataError: there is none.
    """
    read_info(run)
    digest = hashlib.sha256()
    for name in (WEIGHTS_FILE, RUN_FILE):
        with (run / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
