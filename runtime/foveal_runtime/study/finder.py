"""From what a table calls a photograph to the file in a folder. Compares names; opens no file.

Tried in turn, each alone and only when one file fits: the path inside the folder; the same without case, Unicode form or
extension; the end of a longer path (another machine's); the name alone.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from foveal_runtime.study.codes import BadCode

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".dcm", ".dicom", ".bmp", ".heic"})
"""What counts as an extension: the `.1` of `985.1` does not."""
_NEAREST_ASKED = 50
"""Names for which the nearest file is looked for: a comparison with every file takes a second for 20,000."""


class Finder:
    """Finds the photographs of one folder."""

    def __init__(self, names: Iterable[str]) -> None:
        """Args:
        names: paths inside the folder, with forward slashes.
        """
        self._names = frozenset(names)
        self._by: dict[str, set[str]] = {}
        for name in self._names:
            folded = _fold(name)
            for key in {folded, _stem(folded), *_ends(folded), *map(_stem, _ends(folded))}:
                self._by.setdefault(key, set()).add(name)
        self._patterns = {_pattern(_stem(_fold(name)).rpartition("/")[2]) for name in self._names}
        self._asked = 0

    def __call__(self, cell: str) -> str:
        """The file's path inside the folder.

        Raises:
            BadCode: no file, or several.
        """
        wanted = cell.strip().replace("\\", "/").removeprefix("./")
        if not wanted.strip("/"):
            raise BadCode("names no photograph")
        if wanted in self._names:
            return wanted
        folded = _fold(wanted.lstrip("/"))
        # A path that climbs out means no file of this folder, whatever its last part is.
        if ".." in PurePosixPath(folded).parts:
            raise BadCode("photograph is not in the folder")
        for key in dict.fromkeys([folded, _stem(folded), *_ends(folded), *map(_stem, _ends(folded))]):
            found = self._by.get(key, set())
            if "/" in folded and "/" not in key:
                # left/1.jpg is not right/1.jpg: of a path's name alone, a file at the top is meant.
                found = {name for name in found if "/" not in name}
            same = {name for name in found if _fold(name) == folded} or found
            if len(same) == 1:
                return next(iter(same))
            if same:
                raise BadCode(f"{len(same)} photographs have this name; write the path inside the folder")
        raise BadCode(f"photograph is not in the folder{self._nearest(folded)}")

    def _nearest(self, wanted: str) -> str:
        self._asked += 1
        if self._asked > _NEAREST_ASKED:
            return ""
        by_name = {_fold(name).rpartition("/")[2]: name for name in sorted(self._names, reverse=True)}
        # With other digits it is the next photograph of the series, not this one.
        digits = re.findall(r"\d+", wanted.rpartition("/")[2])
        alike = [name for name in by_name if re.findall(r"\d+", name) == digits]
        near = difflib.get_close_matches(wanted.rpartition("/")[2], alike, 1, 0.6)
        return f"; the nearest is {by_name[near[0]]}" if near else ""

    def label(self, cell: str) -> str:
        """The cell where it is made like a photograph's name, else "": what stands there may be a patient's."""
        bare = cell.strip()
        named = PurePosixPath(bare.casefold()).suffix in SUFFIXES and not any(c.isspace() for c in bare)
        return bare[:100] if bare and (named or _pattern(_stem(_fold(bare)).rpartition("/")[2]) in self._patterns) else ""


def _pattern(name: str) -> str:
    return re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "9", name))


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix in SUFFIXES else name


def _ends(name: str) -> list[str]:
    """The ends of a path, longest first: `c:/data/1/a.jpg` has `data/1/a.jpg`, `1/a.jpg`, `a.jpg`."""
    parts = name.split("/")
    return ["/".join(parts[i:]) for i in range(1, len(parts))]
