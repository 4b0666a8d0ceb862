"""Certificates of both ends: a client's names its roles, a server's is read again when it changes, and how long it is good."""

from __future__ import annotations

import datetime
import hashlib
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from certificates import DAY, Authority
from commands import foveal, one_line
from cryptography import x509
from servers import RunningServer

from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.errors import ConfigError, ExpiredTokenError, NoTokenError, RoleError, TlsError, UnknownTokenError
from foveal_runtime.rpc.certificates import read_pair
from foveal_runtime.study.study import Study

GOES_ON = "the changed file is not used, what was read before goes on"


@dataclass(frozen=True)
class Clinic:
    """A server with mutual TLS and roles by certificate."""

    server: RunningServer
    ours: Authority
    cert: Path
    key: Path
    tokens: Path
    folder: Path

    def client(self, pair: tuple[Path, Path], token_file: Path | None = None) -> Client:
        options = ClientOptions(tls_ca=self.ours.pem, tls_cert=pair[0], tls_key=pair[1], token_file=token_file, retry_s=0)
        return Client(self.server.address, options)

    def shown(self) -> str:
        """Fingerprint of what a new connection is shown."""
        host, port = self.server.address.split(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((host, int(port))) as raw, context.wrap_socket(raw) as tls:
            return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()

    def scraped(self) -> str:
        address = next(line.split()[-1] for line in self.server.lines if "metrics on " in line)
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as page:
            text = page.read()
        assert isinstance(text, bytes)
        return text.decode()


@pytest.fixture(scope="module")
def clinic(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("mutual")
    ours = Authority(folder / "ours")
    cert, key = ours.sign("server", "127.0.0.1", ends_in=40 * DAY)
    tokens = folder / "tokens.json"
    for name, role, certificate in (
        ("camera-1", "grade", "CN=camera-1"),
        ("desk", "search", "SAN=desk.clinic.example"),
    ):
        words = ("--role", role, "--expires", "30", "--certificate", certificate, "--file", str(tokens))
        done = foveal("token", "add", name, *words)
        assert (done.returncode, done.stdout) == (0, "")
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--client-ca", str(ours.pem), "--tokens", str(tokens))
    with RunningServer(bundle_path, *flags, "--metrics", "127.0.0.1:0") as server:
        yield Clinic(server, ours, cert, key, tokens, folder)


def test_a_certificate_has_the_roles_of_its_common_or_alternative_name(clinic: Clinic) -> None:
    with clinic.client(clinic.ours.sign("camera-1")) as camera:
        assert camera.grade([Study(note="macula")]).results[0].HasField("grade")
        with pytest.raises(RoleError, match="needs the role search, and the token has grade"):
            camera.stats()
    clinic.server.wait_for("Stats RoleError")
    assert " by camera-1" in clinic.server.log
    with clinic.client(clinic.ours.sign("any", "other.example", "desk.clinic.example")) as desk, pytest.raises(RoleError):
        desk.grade([Study(note="macula")])


def test_a_certificate_without_a_row_is_nobody_whatever_its_names_look_like(clinic: Clinic) -> None:
    strange = (
        ("camera-2",),
        ("camera-1x",),
        ("CN=camera-1",),
        ("desk.clinic.example",),
        ("x", "camera-1"),
        ("x", "a.desk.clinic.example"),
    )
    for name, *others in strange:
        with clinic.client(clinic.ours.sign(name, *others)) as client, pytest.raises(NoTokenError, match="has no row"):
            client.model()


def test_a_token_is_judged_before_the_certificate_and_a_wrong_one_is_not_made_up_for(clinic: Clinic, tmp_path: Path) -> None:
    camera, path = clinic.ours.sign("camera-1"), tmp_path / "token"
    path.touch(0o600)
    path.write_text("foveal_" + "0" * 16 + "_" + "0" * 64)
    with clinic.client(camera, path) as client, pytest.raises(UnknownTokenError):
        client.grade([Study(note="macula")])


def test_a_row_whose_time_is_over_is_refused_though_the_certificate_is_good(clinic: Clinic) -> None:
    reads = clinic.server.log.count("tokens: read again")
    before = clinic.tokens.read_text()
    in_seconds = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)
    row = before[before.index('"name": "camera-1"') :]
    expires = row.split('"expires": "')[1].split('"')[0]
    clinic.tokens.write_text(before.replace(expires, f"{in_seconds:%Y-%m-%dT%H:%M:%SZ}"))
    _until(lambda: clinic.server.log.count("tokens: read again") > reads)
    with clinic.client(clinic.ours.sign("camera-1")) as client, pytest.raises(ExpiredTokenError):
        client.grade([Study(note="macula")])
    clinic.tokens.write_text(before)
    _until(lambda: clinic.server.log.count("tokens: read again") > reads + 1)


def test_a_renewed_certificate_is_shown_without_a_restart_and_what_is_broken_is_not(clinic: Clinic) -> None:
    camera = clinic.ours.sign("camera-1")
    first = clinic.shown()
    assert 'foveal_files_current{of="certificate"} 1.0' in clinic.scraped()
    assert 39 < _days(clinic) < 41
    with clinic.client(camera) as lasting:
        assert lasting.model()
        new_cert, new_key = clinic.ours.sign("renewed", "127.0.0.1", ends_in=90 * DAY)
        old_key = clinic.key.read_bytes()

        clinic.cert.write_bytes(new_cert.read_bytes())  # its key is still the old one
        clinic.server.wait_for(f"TLS certificate: {GOES_ON}: --tls-key {clinic.key} is not the key of the first certificate")
        assert clinic.shown() == first
        assert 'foveal_files_current{of="certificate"} 0.0' in clinic.scraped()

        clinic.key.write_bytes(new_key.read_bytes())
        _until(lambda: "TLS certificate: read again" in clinic.server.log)
        second = clinic.shown()
        assert second == _fingerprint(new_cert) != first
        assert 'foveal_files_current{of="certificate"} 1.0' in clinic.scraped()
        assert 89 < _days(clinic) < 91
        assert lasting.model(), "an open connection goes on"
        with clinic.client(camera) as other:
            assert other.model()

        clinic.key.chmod(0o644)
        clinic.server.wait_for(f"--tls-key {clinic.key} can be read or changed by others than its owner")
        clinic.key.chmod(0o600)
        expired_cert, expired_key = clinic.ours.sign("late", "127.0.0.1", ends_in=-DAY)
        clinic.key.write_bytes(expired_key.read_bytes())
        clinic.cert.write_bytes(expired_cert.read_bytes())
        clinic.server.wait_for(f"TLS certificate: {GOES_ON}: --tls-cert {clinic.cert} expired on")
        assert clinic.shown() == second
    assert old_key.decode().splitlines()[1] not in clinic.server.log


def test_authorities_are_read_again_too(clinic: Clinic) -> None:
    theirs = Authority(clinic.folder / "theirs", "their CA")
    stranger = theirs.sign("camera-1")
    with clinic.client(stranger) as client, pytest.raises(TlsError):
        client.model()
    kept = clinic.ours.pem.read_bytes()
    good_cert, good_key = clinic.ours.sign("again", "127.0.0.1")
    reads = clinic.server.log.count("TLS certificate: read again")
    own = clinic.folder / "own-ca.pem"
    own.write_bytes(kept)
    clinic.cert.write_bytes(good_cert.read_bytes())
    clinic.key.write_bytes(good_key.read_bytes())
    clinic.ours.pem.write_bytes(kept + theirs.pem.read_bytes())
    _until(lambda: clinic.server.log.count("TLS certificate: read again") > reads)
    with clinic.client(stranger) as client:
        assert client.model()
    reads = clinic.server.log.count("TLS certificate: read again")
    clinic.ours.pem.write_bytes(kept)
    _until(lambda: clinic.server.log.count("TLS certificate: read again") > reads)
    with clinic.client(stranger) as client, pytest.raises(TlsError):
        client.model()


def test_a_key_that_others_can_read_is_refused_by_both_ends(tmp_path: Path) -> None:
    cert, key = Authority(tmp_path).sign("server", "127.0.0.1")
    assert read_pair(cert, key)
    for mode in (0o604, 0o620, 0o666):
        key.chmod(mode)
        with pytest.raises(ConfigError, match=rf"--tls-key {key} can be read or changed by others than its owner; chmod 600"):
            read_pair(cert, key)
        with pytest.raises(ConfigError, match="chmod 600"):
            Client("127.0.0.1:1", ClientOptions(tls_ca=cert, tls_cert=cert, tls_key=key))


def test_doctor_tells_days_left_and_what_is_wrong_with_its_mend(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for ends_in, status, words in (
        (90 * DAY, "ok", "good for 90 days"),
        (10 * DAY, "warning", "good for 10 days"),
        (-DAY, "wrong", "expired on"),
    ):
        cert, key = authority.sign("server", "127.0.0.1", ends_in=ends_in)
        done = foveal("doctor", "--tls-cert", str(cert), "--tls-key", str(key))
        (line,) = [line for line in done.stdout.splitlines() if "certificate" in line.split()[1:2]]
        assert line.startswith(status), line
        assert done.returncode == (status == "wrong")
        assert words in " ".join(done.stdout.split())
    key.chmod(0o644)
    done = foveal("doctor", "--tls-cert", str(cert), "--tls-key", str(key))
    assert f"-> chmod 600 {key}" in " ".join(done.stdout.split())
    assert "give both" in one_line(foveal("doctor", "--tls-cert", str(cert)).stderr)


def test_doctor_looks_at_tokens(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    for name, days in (("long", "300"), ("short", "3")):
        assert foveal("token", "add", name, "--role", "grade", "--expires", days, "--file", str(file)).returncode == 0
    done = foveal("doctor", "--tokens", str(file))
    assert "2 of 2 are valid; expired: none; within 30 days: short" in " ".join(done.stdout.split())
    assert done.returncode == 0
    for name in ("long", "short"):
        assert foveal("token", "revoke", name, "--file", str(file)).returncode == 0
    nobody = foveal("doctor", "--tokens", str(file))
    assert nobody.returncode == 1
    assert "lets nobody in" in nobody.stdout
    file.write_text('{"format": 1, "tokens": [{"name": "x"}]}')
    assert "can't be used" in foveal("doctor", "--tokens", str(file)).stdout


def _fingerprint(pem: Path) -> str:
    from cryptography.hazmat.primitives import hashes

    return x509.load_pem_x509_certificate(pem.read_bytes()).fingerprint(hashes.SHA256()).hex()


def _days(clinic: Clinic) -> float:
    line = next(line for line in clinic.scraped().splitlines() if line.startswith("foveal_certificate_days_left "))
    return float(line.split()[1])


def _until(done: object, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)
