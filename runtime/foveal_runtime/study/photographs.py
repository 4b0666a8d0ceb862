"""The photographs of a folder and below, and the files left out with the reason; and the bytes of one. Decodes none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from foveal_runtime.errors import ImageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")
DICOM_SUFFIXES = (".dcm", ".dicom")
"""Of photographs that `foveal grade` sends as they are; data sets and `foveal index` read none."""

HIDDEN = "hidden"

_FOLDERS = {
    "@eadir": "a Synology server's thumbnails",
    "__macosx": "macOS's notes on files",
    "#recycle": "deleted files",
    "$recycle.bin": "deleted files",
    "system volume information": "Windows's own files",
    "lost+found": "fragments of files",
}
_HEIC = (".heic", ".heif")
_OTHERS = {
    **dict.fromkeys(_HEIC, "HEIC is not read; convert it to JPEG"),
    **dict.fromkeys((".bmp", ".gif", ".jp2", ".avif", ".raw", ".dng"), "this format is not read; convert it to JPEG or PNG"),
    **dict.fromkeys(DICOM_SUFFIXES, "DICOM is not read here; grade it, or convert it to JPEG"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A file or folder that is not read."""

    path: Path
    why: str


def search(root: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> tuple[dict[str, Path], tuple[Skipped, ...]]:
    """The photographs in a folder and below it, by their path inside it, in order; and what was left out.

    Hidden files and folders, and those that servers and systems keep for themselves, are left out. Links to folders are not
    followed.

    Raises:
        OSError: a folder can't be read: photographs in it would be left out in silence.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: dict[str, Path] = {}
    skipped: list[Skipped] = []
    for folder, folders, files in os.walk(root, onerror=refuse):
        here = Path(folder)
        skipped += [Skipped(path=here / name, why=why) for name in sorted(folders) if (why := _folder_reason(name))]
        folders[:] = sorted(name for name in folders if not _folder_reason(name))
        for name in sorted(files):
            file = here / name
            if why := _file_reason(name, suffixes):
                skipped.append(Skipped(path=file, why=why))
            else:
                found[file.relative_to(root).as_posix()] = file
    return found, tuple(skipped)


def photographs_in(root: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """The photographs alone; see `search`."""
    return search(root, suffixes)[0]


def skipped_lines(skipped: Iterable[Skipped], *, listed: int = 20) -> list[str]:
    """A line a file, `listed` at most of each reason, in order of reasons."""
    by_reason: dict[str, list[Skipped]] = {}
    for each in skipped:
        by_reason.setdefault(each.why, []).append(each)
    lines = []
    for why, several in by_reason.items():
        lines += [f"{each.path}: {why}" for each in several[:listed]]
        if len(several) > listed:
            lines.append(f"and {len(several) - listed} more: {why}")
    return lines


def _folder_reason(name: str) -> str:
    if name.startswith("."):
        return HIDDEN
    return _FOLDERS.get(name.lower(), "")


def _file_reason(name: str, suffixes: tuple[str, ...]) -> str:
    """Why a file is no photograph; "" for one."""
    if name.startswith("."):
        return HIDDEN
    suffix = Path(name.lower()).suffix
    if suffix in suffixes:
        return ""
    return _OTHERS.get(suffix, "by its suffix no photograph")


def read_photograph(file: Path) -> bytes:
    """A file's bytes.

    Raises:
        ImageError: missing, unreadable or empty.
    """
    try:
        data = file.read_bytes()
    except ValueError:
        raise ImageError("its name holds a NUL; write the photograph's path") from None
    except FileNotFoundError:
        raise ImageError("there is no such file; check the path") from None
    except OSError as error:
        raise ImageError(f"it can't be read ({error.strerror}); name a photograph that this user may read") from None
    if not data:
        raise ImageError("the file is empty; copy it again")
    return data
