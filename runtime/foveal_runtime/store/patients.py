"""Keyed patient references: HMAC-SHA256 (RFC 2104) of what the caller sends, so that the archive holds no reference that means
anything without the key. Stores nothing."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from foveal_runtime.errors import ConfigError

_PREFIX = "hmac-sha256:"
_KEYED = re.compile(_PREFIX + "[0-9a-f]{64}")
MIN_KEY_BYTES = 16


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
