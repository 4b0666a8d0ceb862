"""TLS certificates and keys from files, checked before gRPC has them: it takes a wrong one in silence and never connects.

Both ends read theirs here. Connects to nothing.
"""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from foveal_runtime.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509

log = logging.getLogger(__name__)


def read_authorities(path: Path, flag: str) -> bytes:
    """PEM certificates that the other end's must be signed by.

    Raises:
        ConfigError: the file can't be read or holds no certificate; the message names `flag`.
    """
    data = _read(path, flag)
    _certificates(data, path, flag)
    return data


def read_pair(cert: Path, key: Path) -> tuple[bytes, bytes]:
    """PEM chain and PEM private key of this end.

    Raises:
        ConfigError: a file can't be read, is no PEM, or the key is another certificate's; the message names the flags.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    chain, private = _read(cert, "--tls-cert"), _read(key, "--tls-key")
    own = _certificates(chain, cert, "--tls-cert")[0]
    try:
        public = load_pem_private_key(private, None).public_key()
    except TypeError:
        raise ConfigError(
            f"--tls-key {key} is locked with a passphrase; give a key without one, readable by foveal alone"
        ) from None
    except ValueError:
        raise ConfigError(f"--tls-key {key} holds no private key in PEM that can be read; give the key of --tls-cert") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != own.public_key().public_bytes(*form):
        raise ConfigError(
            f"--tls-key {key} is not the key of the first certificate in --tls-cert {cert}; give the two that belong together"
        )
    return chain, private


def out_of_date(chain: bytes, now: datetime.datetime) -> str:
    """What is wrong with the first certificate's dates at `now`; empty when nothing is."""
    from cryptography import x509

    first = x509.load_pem_x509_certificates(chain)[0]
    if now > first.not_valid_after_utc:
        return f"expired on {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now < first.not_valid_before_utc:
        return f"is not valid before {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return ""


def _read(path: Path, flag: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag} {path} can't be read ({error.strerror}); check the path and its permissions") from None


def _certificates(data: bytes, path: Path, flag: str) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ConfigError(f"{flag} {path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----); give one") from None


def server_credentials(cert: Path, key: Path, client_ca: Path | None) -> Any:
    """gRPC's credentials of a server; a certificate that is out of date is warned of.

    Raises:
        ConfigError: a file can't be read, or the key is not the certificate's.
    """
    chain, private = read_pair(cert, key)
    if wrong := out_of_date(chain, datetime.datetime.now(datetime.UTC)):
        log.warning("--tls-cert %s %s: no client will trust it; renew it, or set this machine's clock", cert, wrong)
    roots = read_authorities(client_ca, "--client-ca") if client_ca is not None else None
    return grpc.ssl_server_credentials([(private, chain)], root_certificates=roots, require_client_auth=roots is not None)
