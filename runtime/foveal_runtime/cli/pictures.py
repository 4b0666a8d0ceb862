"""Find the photographs of stored entries in a local folder, by path and content. Decodes none."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePath

_MAX_BYTES = 64 << 20


class LocalPictures:
    """A folder of photographs, or wherever the sources say.

    With a folder, only files inside it are read: the end of a source's path that exists there is taken, so that a collection
    indexed as /data/2024/a.jpg is found in a copy that has 2024/a.jpg or a.jpg.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder.resolve() if folder is not None else None

    def find(self, source: str, content_sha256: bytes) -> bytes | None:
        """The photograph's bytes; None when it is not at hand or has changed since it was indexed.

        Args:
            source: path or file URI as it was stored.
            content_sha256: of the bytes that were indexed; empty accepts any.
        """
        source = source.removeprefix("file://")
        if not source or "://" in source:
            return None
        for path in self._places(source):
            try:
                if not path.is_file() or path.stat().st_size > _MAX_BYTES:
                    continue
                data = path.read_bytes()
            except OSError:
                continue
            if not content_sha256 or hashlib.sha256(data).digest() == content_sha256:
                return data
        return None

    def _places(self, source: str) -> list[Path]:
        if self._folder is None:
            return [Path(source)]
        parts = [part for part in PurePath(source).parts if part not in ("/", "..")]
        found = [self._folder.joinpath(*parts[start:]).resolve() for start in range(len(parts))]
        return [path for path in found if path.is_relative_to(self._folder)]
