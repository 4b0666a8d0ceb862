"""Why a connection failed: a mistake in TLS, or nobody there. Asks the same address itself, after a call has failed.

gRPC's own words do not tell: a plain-text call to a TLS port and a call without the client certificate that the server wants
both end in "Socket closed". Sends a handshake and HTTP/2's greeting; no request, nothing of a patient.
"""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from typing import TYPE_CHECKING

from foveal_runtime.client.options import ClientOptions
from foveal_runtime.errors import FovealError, TlsError, UnavailableError
from foveal_runtime.rpc.certificates import out_of_date
from foveal_runtime.serving.address import host_and_port

if TYPE_CHECKING:
    from cryptography import x509

_TIMEOUT_S = 2.0
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # RFC 9113 section 3.4, empty SETTINGS
_SETTINGS = 4
_OUT_OF_DATE = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
_WRONG_NAME = (62, 63, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _EMAIL_, _IP_ADDRESS_


async def diagnose_aio(failure: FovealError, address: str, options: ClientOptions) -> FovealError:
    """`diagnose` in a thread of its own: it may take two seconds."""
    return await asyncio.to_thread(diagnose, failure, address, options)


def diagnose(failure: FovealError, address: str, options: ClientOptions) -> FovealError:
    """What to tell of a failed call: a TlsError where the connection shows a mistake in TLS, else `failure` itself."""
    nobody_answered = isinstance(failure, UnavailableError) and failure.retry_after_s == 0
    if not nobody_answered or address.startswith(("unix:", "unix-abstract:")):
        return failure
    for each in address.split(","):
        host, port = host_and_port(each)
        try:
            why = _plain_to_tls(host, port) if options.tls_ca is None else _tls(host, port, options)
        except OSError:  # refused, timed out, a name that is not known: nobody is there
            continue
        if why:
            return TlsError(f"{each} {why}")
    return failure


def _plain_to_tls(host: str, port: int) -> str:
    """The mend when a plain-text client meets a TLS port; empty when the port speaks no TLS."""
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as raw, _any_server().wrap_socket(raw, server_hostname=host):
            pass
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            return ""
    return "speaks TLS and this client plain text; give --tls-ca with the certificates that signed the server's"


def _tls(host: str, port: int, options: ClientOptions) -> str:
    """What is wrong with TLS, and the mend; empty when nothing is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as gRPC: any certificate of the file may be trusted
    context.load_verify_locations(options.tls_ca)
    if options.tls_cert is not None:
        context.load_cert_chain(options.tls_cert, options.tls_key, password="")
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as raw, context.wrap_socket(raw, server_hostname=host) as tls:
            return "" if _is_accepted(tls) else _refused(options)
    except ssl.SSLCertVerificationError as error:
        return _untrusted(error, host, port, options)
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):  # TLS 1.2 refuses within the handshake
            return _refused(options)
    if _speaks_plain(host, port):
        return "speaks plain text and this client TLS; leave --tls-ca out, or serve with --tls-cert and --tls-key"
    return ""


def _is_accepted(tls: ssl.SSLSocket) -> bool:
    """Whether the server goes on after the handshake: TLS 1.3 judges the client's certificate after the client is done."""
    try:
        tls.sendall(_GREETING)
        return tls.recv(1) != b""
    except TimeoutError:
        return True
    except (ssl.SSLError, ConnectionError):
        return False


def _refused(options: ClientOptions) -> str:
    if options.tls_cert is None:
        return (
            "ends the connection of a client that shows no certificate, as a server with --client-ca does; give --tls-cert "
            "and --tls-key of a certificate that its --client-ca signed"
        )
    wrong = out_of_date(options.tls_cert.read_bytes(), datetime.datetime.now(datetime.UTC))
    got = f"{options.tls_cert} {wrong}" if wrong else f"{options.tls_cert} is signed by none of its --client-ca"
    return f"does not accept this client's certificate ({got}); give --tls-cert and --tls-key of one that it trusts"


def _untrusted(error: ssl.SSLCertVerificationError, host: str, port: int, options: ClientOptions) -> str:
    shown = _certificate(host, port)
    if error.verify_code in _OUT_OF_DATE:
        now = datetime.datetime.now(datetime.UTC)
        dates = f"{shown.not_valid_before_utc:%Y-%m-%d} to {shown.not_valid_after_utc:%Y-%m-%d}" if shown else "at other times"
        return (
            f"shows a certificate that is out of date (valid {dates}; here it is {now:%Y-%m-%d}); renew the server's "
            f"--tls-cert, or set the clock of this machine"
        )
    if error.verify_code in _WRONG_NAME:
        return (
            f"shows a certificate that is not for {host} but for {_names(shown)}; reach it by one of these names, or give the "
            f"server a --tls-cert that names {host}"
        )
    issuer = f", issued by {shown.issuer.rfc4514_string()!r}" if shown else ""
    return (
        f"shows a certificate that --tls-ca {options.tls_ca} does not vouch for ({error.verify_message}{issuer}); give the "
        f"certificates that signed the server's"
    )


def _certificate(host: str, port: int) -> x509.Certificate | None:
    """What the server shows, unverified; None when it shows nothing that can be read."""
    from cryptography import x509

    try:
        with (
            socket.create_connection((host, port), _TIMEOUT_S) as raw,
            _any_server().wrap_socket(raw, server_hostname=host) as tls,
        ):
            shown = tls.getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(shown) if shown else None
    except (OSError, ValueError):
        return None


def _names(shown: x509.Certificate | None) -> str:
    from cryptography import x509

    if shown is None:
        return "others"
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return shown.subject.rfc4514_string()
    return ", ".join(str(name.value) for name in names)


def _speaks_plain(host: str, port: int) -> bool:
    """Whether the port answers HTTP/2's greeting in plain text: its first frame is SETTINGS."""
    with socket.create_connection((host, port), _TIMEOUT_S) as raw:
        raw.sendall(_GREETING)
        frame = raw.recv(9)
    return len(frame) > 3 and frame[3] == _SETTINGS


def _any_server() -> ssl.SSLContext:
    """For looking at a server's certificate; nothing is sent to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
