"""TLS certificates and keys from files, checked before gRPC has them: it takes a wrong one in silence and never connects.

Both ends read theirs here. Connects to nothing.
"""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from foveal_runtime.access.private import read_private
from foveal_runtime.access.watching import Watched
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
        ConfigError: a file can't be read, is no PEM, others can read the key, or it is another certificate's; the message names
            the flags.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    chain, private = _read(cert, "--tls-cert"), read_private(key, "--tls-key")
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


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(map(str, (*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress))))


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerFiles:
    """What a server shows, and whom it trusts."""

    chain: bytes
    key: bytes = field(repr=False)
    authorities: bytes | None
    """That clients' certificates must be signed by; None asks for none."""
    ends: datetime.datetime
    """Of the first certificate of the chain."""
    names: tuple[str, ...]
    """That it is valid for, as clients compare them."""
    issuer: str
    """Who signed it, as RFC 4514 has it."""

    def days_left(self, now: datetime.datetime) -> float:
        """Until it expires; less than 0 when it has."""
        return (self.ends - now).total_seconds() / 86_400


def read_server_files(cert: Path, key: Path, client_ca: Path | None) -> ServerFiles:
    """A server's TLS files.

    Raises:
        ConfigError: as `read_pair` and `read_authorities`.
    """
    chain, private = read_pair(cert, key)
    own = _certificates(chain, cert, "--tls-cert")[0]
    return ServerFiles(
        chain=chain,
        key=private,
        authorities=None if client_ca is None else read_authorities(client_ca, "--client-ca"),
        ends=own.not_valid_after_utc,
        names=_names(own),
        issuer=own.issuer.rfc4514_string(),
    )


def watched_files(cert: Path, key: Path, client_ca: Path | None) -> Watched[ServerFiles]:
    """A server's TLS files, read again when they change. One that is out of date is warned of, and takes no good one's place.

    Raises:
        ConfigError: they can't be used at the start.
    """
    good = False

    def make() -> ServerFiles:
        nonlocal good
        files = read_server_files(cert, key, client_ca)
        wrong = out_of_date(files.chain, datetime.datetime.now(datetime.UTC))
        mend = "no client will trust it; renew it, or set this machine's clock"
        if wrong and good:
            raise ConfigError(f"--tls-cert {cert} {wrong}: {mend}")
        if wrong:
            log.warning("--tls-cert %s %s: %s", cert, wrong, mend)
        good = not wrong
        return files

    return Watched("TLS certificate", [path for path in (cert, key, client_ca) if path is not None], make)


def server_credentials(files: Watched[ServerFiles]) -> Any:
    """gRPC's credentials of a server: each new connection gets the files as they were read last; open ones keep theirs."""

    def configuration(of: ServerFiles) -> Any:
        return grpc.ssl_server_certificate_configuration([(of.key, of.chain)], of.authorities)

    given = files.value

    def fetch() -> Any:
        # Called in a thread of gRPC's before each handshake; None is "as before".
        nonlocal given
        if files.value is given:
            return None
        given = files.value
        return configuration(given)

    return grpc.dynamic_ssl_server_credentials(configuration(given), fetch, given.authorities is not None)
