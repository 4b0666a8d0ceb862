"""Keyed patient references: HMAC-SHA256 (RFC 2104) of what the caller sends, so that the archive holds no reference that means
anything without the key. Stores nothing but the key's file."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from foveal_runtime.durable import sync_folder
from foveal_runtime.errors import ConfigError

_PREFIX = "hmac-sha256:"
_KEYED = re.compile(_PREFIX + "[0-9a-f]{64}")
_WORD = re.compile(r"[^/\\\s,;=()\[\]{}\"']+")
_PART = re.compile(r"[^._-]+")
_MOST_PARTS = 12
"""Of a word, such as a file's name, that are looked at in every combination of neighbours."""
MIN_KEY_BYTES = 16
KEY_NAME = "patients.key"
"""Of the key's file in a store folder, where no other is named."""


class PatientRefs:
    """Turns patient references into keyed ones, the same for the same patient."""

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ConfigError(
                f"the patient key has {len(key)} bytes, at least {MIN_KEY_BYTES} are wanted; openssl rand -hex 32 > KEYFILE"
            )
        self._key = key

    def ref(self, patient: str) -> str:
        """The keyed reference; empty stays empty, and one that a search gave back stays as it is."""
        if not patient or _KEYED.fullmatch(patient):
            return patient
        return _PREFIX + hmac.new(self._key, patient.encode(), hashlib.sha256).hexdigest()

    def hide(self, text: str, patient: str) -> str:
        """A text in which whole words that are a patient's reference are its keyed reference: a path, an attribute.

        Args:
            text: for example `/photographs/P-1234/left.jpg`.
            patient: the reference, or the keyed one.
        """
        if not text or not patient:
            return text
        keyed = self.ref(patient)
        if keyed != patient:
            found = re.compile(rf"(?<![A-Za-z0-9]){re.escape(patient)}(?![A-Za-z0-9])") if patient in text else None
            return text if found is None else found.sub(keyed, text)
        return _WORD.sub(lambda word: self._hidden(word.group(), keyed), text)

    def _hidden(self, word: str, keyed: str) -> str:
        if _PREFIX in word:
            return word
        for start, end in _spans(word):
            if self.ref(word[start:end]) == keyed:
                return word[:start] + keyed + word[end:]
        return word

    def find(self, path: Path, patient: str) -> Path:
        """The file that a path with hidden words means, where there is one; else the path itself.

        Args:
            path: as `hide` left it.
            patient: its entry's reference.
        """
        found = Path(path.anchor)
        for part in path.parts[len(found.parts) :]:
            if _PREFIX in part and found.is_dir():
                names = (each.name for each in found.iterdir())
                part = next((name for name in names if self.hide(name, patient) == part), part)
            found /= part
        return found

    @property
    def key_id(self) -> str:
        """Tells keys apart and gives none away; a collection keeps it, so that two keys never mix."""
        return hmac.new(self._key, b"foveal patient key id", hashlib.sha256).hexdigest()[:16]


def read_key(path: Path) -> bytes:
    """The key in a file, surrounding white space removed.

    Raises:
        ConfigError: missing, unreadable, too short, or readable by others than its owner.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"patient key file {path} can be read by others; chmod 600 {path}")
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"patient key file {path} can't be read ({error.strerror}); openssl rand -hex 32 > {path}") from error
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(
            f"patient key file {path} holds {len(key)} bytes, at least {MIN_KEY_BYTES} are wanted;"
            f" openssl rand -hex 32 > {path}"
        )
    return key


def make_key(path: Path) -> bytes:
    """Make a key in a new file, for its owner alone, on the disk before it is used.

    Raises:
        ConfigError: the file can't be made.
    """
    key = secrets.token_hex(32).encode()
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(key + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(
            f"the key of patient references can't be made in {path} ({error.strerror}); make it, and let this user read it: "
            f"(umask 077; openssl rand -hex 32 > {path})"
        ) from None
    return key


def _spans(word: str) -> Iterator[tuple[int, int]]:
    """The word, then its neighbouring parts between dots, dashes and underscores, longer ones first."""
    yield 0, len(word)
    parts = [(each.start(), each.end()) for each in _PART.finditer(word)][:_MOST_PARTS]
    for size in range(len(parts), 0, -1):
        for first in range(len(parts) - size + 1):
            yield parts[first][0], parts[first + size - 1][1]
