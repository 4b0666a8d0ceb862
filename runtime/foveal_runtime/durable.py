"""Names on the disk: that a file stands in a folder is durable when the folder was synchronised. Writes nothing itself."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Wait until the disk has what stands in a folder.

    Raises:
        OSError: it does not, or the folder can't be read.
    """
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
