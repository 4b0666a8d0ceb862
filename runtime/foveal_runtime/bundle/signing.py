"""Ed25519 signatures over a bundle's manifest.json, which names the hash of every other file. Opens no bundle.

The signature is the 64 raw bytes of RFC 8032 in manifest.sig, so that OpenSSL alone can check it too (docs/operations.md).
`cryptography` is imported where a key is used, and nowhere else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.errors import ConfigError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE = "manifest.sig"
PASSPHRASE = "FOVEAL_KEY_PASSPHRASE"
"""Environment variable with the passphrase of an encrypted private key."""
_MAKE = "make one with `openssl genpkey -algorithm ed25519 -out signing.pem`"
_DERIVE = "`openssl pkey -in signing.pem -pubout -out signing.pub` gives the public one"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that bundles must be signed with."""

    path: Path
    _key: Ed25519PublicKey

    def check(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `message`."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def read_public_key(path: Path) -> PublicKey:
    """A public key in PEM (SubjectPublicKeyInfo).

    Raises:
        ConfigError: unreadable, no public key, or of another kind than Ed25519.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise ConfigError(f"{path} is a private key, which must not leave the machine that signs; {_DERIVE}")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{path} is no public key in PEM; {_DERIVE}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} is a key of another kind ({_kind(key)}), foveal signs with Ed25519; {_MAKE}")
    return PublicKey(path, key)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """A private key in PEM (PKCS 8); the passphrase of an encrypted one is taken from `FOVEAL_KEY_PASSPHRASE`.

    Raises:
        ConfigError: unreadable, no private key, of another kind than Ed25519, or encrypted with another passphrase.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path)
    encrypted = b"ENCRYPTED" in data
    passphrase = os.environ.get(PASSPHRASE, "") if encrypted else ""
    if encrypted and not passphrase:
        raise ConfigError(f"{path} is encrypted; give its passphrase in the environment variable {PASSPHRASE}")
    try:
        key = load_pem_private_key(data, passphrase.encode() or None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        mend = f"check {PASSPHRASE}" if encrypted else _MAKE
        raise ConfigError(f"{path} can't be read as a private key in PEM; {mend}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is a key of another kind ({_kind(key)}), foveal signs with Ed25519; {_MAKE}")
    return key


def sign_manifest(folder: Path, manifest: bytes, key: Ed25519PrivateKey) -> None:
    """Write manifest.sig beside a manifest.json of these bytes."""
    (folder / SIGNATURE).write_bytes(key.sign(manifest))


def check_signature(folder: Path, manifest: bytes, key: PublicKey) -> None:
    """Refuse a bundle that this key has not signed.

    Args:
        folder: of the bundle.
        manifest: the bytes of its manifest.json that will be used.
        key: to check with.

    Raises:
        SignatureError: there is no signature, or it is not this key's over these bytes.
    """
    path = folder / SIGNATURE
    if not path.is_file():
        raise SignatureError(
            f"{folder} is not signed ({SIGNATURE} is missing) and a signature by {key.path} is required; sign it at export "
            f"with --sign"
        )
    if not key.check(manifest, path.read_bytes()):
        raise SignatureError(
            f"{path} is not the signature of {key.path} over this manifest: the bundle was changed, or signed with another "
            f"key; do not use it, get it again from who signed it"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"key {path} can't be read ({error.strerror}); check its path and permissions") from None


def _kind(key: Any) -> str:
    return type(key).__name__.removesuffix("PublicKey").removesuffix("PrivateKey").lstrip("_")
