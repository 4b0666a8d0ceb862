"""Arrays kept in files while a run trains. Their room on disk is taken before anything is put in.

A memory-mapped file is sparse until it is written to, and a write for which the disk has no room kills the process with
SIGBUS: no message, no exit code that says why.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.errors import DataError


def scratch_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, *, instead: str) -> npt.NDArray[Any]:
    """A memory-mapped array of zeros in a new file.

    Args:
        path: the file; its folder is made.
        shape: of the array.
        dtype: of the array.
        instead: what else to do when there is no room, for the message.

    Raises:
        DataError: the disk has no room, or the folder can't be written.
    """
    wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DataError(
            f"{path.parent} has no room for {path.name}, {wanted / 1e9:.2g} GB ({error.strerror}); free space, {instead}"
        ) from None
    return array
