"""TLS, and TLS with client certificates, with certificates made for the occasion."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from servers import RunningServer

from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.errors import ConfigError, FovealError, UnavailableError
from foveal_runtime.study.study import Study

x509 = pytest.importorskip("cryptography.x509")


def make_certificates(folder: Path) -> None:
    """A CA, and a server and a client certificate that it signed: NAME.pem and NAME.key."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)
    authority = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")])
    for name in ("ca", "server", "client"):
        key = authority if name == "ca" else ec.generate_private_key(ec.SECP256R1())
        subject = authority_name if name == "ca" else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]),
                False,
            )
            .sign(authority, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )


def test_with_client_ca_only_clients_with_a_certificate_are_served(bundle_path: Path, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    flags = ("--tls-cert", "server.pem", "--tls-key", "server.key", "--client-ca", "ca.pem")
    paths = tuple(flag if flag.startswith("--") else str(tmp_path / flag) for flag in flags)
    with RunningServer(bundle_path, *paths) as server:
        known = ClientOptions(tls_ca=tmp_path / "ca.pem", tls_cert=tmp_path / "client.pem", tls_key=tmp_path / "client.key")
        with Client(server.address, known) as client:
            assert client.grade([Study(note="macula")]).results[0].HasField("grade")
        for options in (ClientOptions(tls_ca=tmp_path / "ca.pem", timeout_s=3), ClientOptions(timeout_s=3)):
            with Client(server.address, options) as stranger, pytest.raises(FovealError) as caught:
                stranger.model()
            assert isinstance(caught.value, UnavailableError)


def test_a_certificate_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--tls-ca"):
        Client("127.0.0.1:1", ClientOptions(tls_ca=tmp_path / "none.pem"))
