"""Private copies of files that nothing can change: what was hashed is what is loaded, by the first worker and the tenth.

A path that was checked may lead elsewhere a moment later, and an open file may be overwritten in place. On Linux a copy lies
in a sealed memfd, which the kernel lets nobody write; elsewhere in a file that has no name. Worker processes inherit them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK_BYTES = 1 << 20
_SEALS = 0x1 | 0x2 | 0x4 | 0x8
"""F_SEAL_SEAL, _SHRINK, _GROW and _WRITE of fcntl(2)."""
_F_ADD_SEALS = 1033


@dataclass(frozen=True, slots=True)
class Sealed:
    """Copies by name."""

    descriptors: dict[str, int] = field(default_factory=dict)
    """Of files whose position nobody may rely on: processes share it."""

    def add(self, name: str, source: Path) -> str:
        """Copy a file, once. Returns the SHA-256 of the copy, hexadecimal.

        Raises:
            OSError: it can't be read, or there is no memory for it.
        """
        digest = hashlib.sha256()
        with source.open("rb") as file:
            descriptor = _private(source.name)
            try:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    _write(descriptor, chunk)
                _seal(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        self.descriptors[name] = descriptor
        return digest.hexdigest()

    def read(self, name: str) -> bytes:
        """All of a copy.

        Raises:
            KeyError: there is none of that name.
        """
        descriptor = self.descriptors[name]
        size, parts, at = os.fstat(descriptor).st_size, [], 0
        while at < size:
            parts.append(os.pread(descriptor, min(_CHUNK_BYTES, size - at), at))
            at += len(parts[-1])
        return b"".join(parts)

    def drop(self, names: list[str]) -> None:
        """Give copies back that nobody will load."""
        for name in names:
            os.close(self.descriptors.pop(name))

    def close(self) -> None:
        """Give all copies back."""
        self.drop(list(self.descriptors))


def _private(name: str) -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _seal(descriptor: int) -> None:
    if hasattr(os, "memfd_create"):
        import fcntl

        fcntl.fcntl(descriptor, _F_ADD_SEALS, _SEALS)
