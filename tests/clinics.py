"""Folders as a clinic has them: drawn photographs with a table of grades, and one that can't be decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundles import photograph


def labelled_folder(folder: Path, grades: Sequence[int]) -> Path:
    """Write eye-0.jpg and so on with labels.csv, each eye of a patient of its own, and half.jpg, which ends half way.

    Args:
        folder: that exists.
        grades: ICDR, one a photograph.
    """
    rows = ["file,patient,icdr"]
    for i, grade in enumerate(grades):
        (folder / f"eye-{i}.jpg").write_bytes(photograph(i))
        rows.append(f"eye-{i}.jpg,p{i},{grade}")
    (folder / "half.jpg").write_bytes(photograph(9)[:2000])
    rows.append(f"half.jpg,p{len(grades) + 2},2")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder
