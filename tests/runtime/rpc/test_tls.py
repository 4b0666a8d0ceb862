"""TLS, and TLS with client certificates: what fits works, and each mistake is told apart from every other and from silence."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bundles import photograph
from certificates import DAY, Authority
from commands import foveal, one_line
from servers import RunningServer

from foveal_runtime.cli.local_server import FOVEAL, free_address
from foveal_runtime.client import AsyncClient, Client, ClientOptions
from foveal_runtime.errors import ConfigError, TlsError, UnavailableError
from foveal_runtime.study.study import Study


@dataclass(frozen=True)
class Clinic:
    """Servers of every kind, and the files of both ends."""

    tls: str
    """Address of a server whose certificate is for 127.0.0.1 alone."""
    mutual: str
    """One with --client-ca."""
    plain: str
    expired: str
    ca: Path
    other_ca: Path
    client: tuple[Path, Path]
    strange_client: tuple[Path, Path]
    expired_client: tuple[Path, Path]
    photograph: Path


@pytest.fixture(scope="module")
def clinic(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = Authority(folder / "ours"), Authority(folder / "theirs", "their CA")
    own, old = ours.sign("server", "127.0.0.1"), ours.sign("old", "127.0.0.1", ends_in=-DAY)
    shown = folder / "eye.jpg"
    shown.write_bytes(photograph())

    def flags(pair: tuple[Path, Path]) -> tuple[str, ...]:
        return ("--tls-cert", str(pair[0]), "--tls-key", str(pair[1]))

    with (
        RunningServer(bundle_path, *flags(own)) as tls,
        RunningServer(bundle_path, *flags(own), "--client-ca", str(ours.pem)) as mutual,
        RunningServer(bundle_path) as plain,
        RunningServer(bundle_path, *flags(old)) as expired,
    ):
        assert "expired on" in expired.log
        assert "expired on" not in tls.log
        yield Clinic(
            tls=tls.address,
            mutual=mutual.address,
            plain=plain.address,
            expired=expired.address,
            ca=ours.pem,
            other_ca=theirs.pem,
            client=ours.sign("client"),
            strange_client=theirs.sign("stranger"),
            expired_client=ours.sign("past", ends_in=-DAY),
            photograph=shown,
        )


def _case(clinic: Clinic, name: str) -> tuple[str, Path | None, tuple[Path, Path] | None]:
    """Address, authorities and client pair of a case."""
    by_name = clinic.tls.replace("127.0.0.1", "localhost")
    return {
        "wrong CA": (clinic.tls, clinic.other_ca, None),
        "wrong name": (by_name, clinic.ca, None),
        "expired": (clinic.expired, clinic.ca, None),
        "no client certificate": (clinic.mutual, clinic.ca, None),
        "strange client certificate": (clinic.mutual, clinic.ca, clinic.strange_client),
        "expired client certificate": (clinic.mutual, clinic.ca, clinic.expired_client),
        "plain text to TLS": (clinic.tls, None, None),
        "plain text to mutual TLS": (clinic.mutual, None, None),
        "TLS to plain text": (clinic.plain, clinic.ca, None),
    }[name]


SAYS = {
    "wrong CA": ("does not vouch for", "issued by 'CN=test CA'", "--tls-ca"),
    "wrong name": ("not for localhost but for 127.0.0.1", "--tls-cert"),
    "expired": ("out of date", "renew the server's --tls-cert"),
    "no client certificate": ("shows no certificate", "give --tls-cert and --tls-key"),
    "strange client certificate": ("does not accept", "stranger.pem is signed by none of its --client-ca"),
    "expired client certificate": ("does not accept", "past.pem expired on"),
    "plain text to TLS": ("speaks TLS and this client plain text", "give --tls-ca"),
    "plain text to mutual TLS": ("speaks TLS and this client plain text", "give --tls-ca"),
    "TLS to plain text": ("speaks plain text and this client TLS", "leave --tls-ca out"),
}
"""What each message holds; the first words are of that mistake alone."""


@pytest.mark.parametrize("name", SAYS)
def test_each_mistake_in_tls_is_an_error_that_says_which(clinic: Clinic, name: str) -> None:
    address, ca, pair = _case(clinic, name)
    cert, key = pair or (None, None)
    with Client(address, ClientOptions(tls_ca=ca, tls_cert=cert, tls_key=key)) as client:
        with pytest.raises(TlsError) as caught:
            client.grade([Study(note="macula")])
        assert address in str(caught.value)
        for part in SAYS[name]:
            assert part in str(caught.value)
        assert {parts[0] for parts in SAYS.values() if parts[0] in str(caught.value)} == {SAYS[name][0]}
        with pytest.raises(TlsError):
            list(client.grade_stream(iter([Study(note="macula")])))


@pytest.mark.parametrize("name", SAYS)
def test_foveal_grade_says_it_in_one_line_and_exits_with_2(clinic: Clinic, name: str) -> None:
    address, ca, pair = _case(clinic, name)
    flags = [] if ca is None else ["--tls-ca", str(ca)]
    flags += [] if pair is None else ["--tls-cert", str(pair[0]), "--tls-key", str(pair[1])]
    done = foveal("grade", str(clinic.photograph), "--address", address, *flags)
    assert done.returncode == 2
    for part in SAYS[name]:
        assert part in one_line(done.stderr)


async def test_the_client_of_an_event_loop_tells_them_apart_too(clinic: Clinic) -> None:
    for name in ("wrong CA", "no client certificate", "plain text to TLS"):
        address, ca, _ = _case(clinic, name)
        async with AsyncClient(address, ClientOptions(tls_ca=ca)) as client:
            with pytest.raises(TlsError, match=SAYS[name][0]):
                await client.model()


def test_grpc_adds_nothing_to_the_one_line(clinic: Clinic) -> None:
    command = [*FOVEAL, "grade", str(clinic.photograph), "--address", clinic.tls, "--tls-ca", str(clinic.other_ca)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "does not vouch for" in one_line(done.stderr)


def test_what_fits_is_served(clinic: Clinic) -> None:
    cert, key = clinic.client
    for address, options in (
        (clinic.tls, ClientOptions(tls_ca=clinic.ca)),
        (clinic.mutual, ClientOptions(tls_ca=clinic.ca, tls_cert=cert, tls_key=key)),
        (clinic.plain, ClientOptions()),
    ):
        with Client(address, options) as client:
            assert client.grade([Study(note="macula")]).results[0].HasField("grade")


def test_the_status_tells_the_certificate(clinic: Clinic) -> None:
    cert, key = clinic.client
    with Client(clinic.mutual, ClientOptions(tls_ca=clinic.ca, tls_cert=cert, tls_key=key)) as client:
        ours = client.status().certificate
    assert list(ours.names) == ["127.0.0.1"]
    assert ours.days_left > 0
    assert datetime.now(UTC) < datetime.fromisoformat(ours.ends)
    assert (ours.asks_callers, ours.current) == (True, True)
    assert ours.issuer.startswith("CN=")
    with Client(clinic.tls, ClientOptions(tls_ca=clinic.ca)) as client:
        assert not client.status().certificate.asks_callers


def test_where_nobody_listens_nothing_is_said_of_tls(clinic: Clinic) -> None:
    for options in (ClientOptions(), ClientOptions(tls_ca=clinic.ca)):
        with Client(free_address(), options) as client, pytest.raises(UnavailableError, match="no foveal server answers"):
            client.model()


def test_a_certificate_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--tls-ca"):
        Client("127.0.0.1:1", ClientOptions(tls_ca=tmp_path / "none.pem"))
    (tmp_path / "empty.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"--tls-ca .*empty\.pem holds no certificate"):
        Client("127.0.0.1:1", ClientOptions(tls_ca=tmp_path / "empty.pem"))


def test_a_client_certificate_is_never_given_up_for_plain_text(tmp_path: Path) -> None:
    cert, key = Authority(tmp_path).sign("client")
    with pytest.raises(ConfigError, match="--tls-ca"):
        ClientOptions(tls_cert=cert, tls_key=key)
    with pytest.raises(ConfigError, match="only one"):
        ClientOptions(tls_ca=cert, tls_key=key)


def test_a_server_whose_files_do_not_fit_is_refused_at_the_start_in_one_line(bundle_path: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (cert, key), (other, _) = authority.sign("server", "127.0.0.1"), authority.sign("other", "127.0.0.1")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("-----BEGIN NOTHING-----")
    nonsense.chmod(0o600)
    for pair, more, said in (
        ((other, key), [], f"--tls-key {key} is not the key of the first certificate in --tls-cert {other}"),
        ((cert, nonsense), [], f"--tls-key {nonsense} holds no private key"),
        ((nonsense, key), [], f"--tls-cert {nonsense} holds no certificate"),
        ((cert, key), ["--client-ca", str(nonsense)], f"--client-ca {nonsense} holds no certificate"),
    ):
        command = [*FOVEAL, "serve", str(bundle_path), "--address", "127.0.0.1:0", "--tls-cert", str(pair[0]), "--tls-key"]
        done = subprocess.run([*command, str(pair[1]), *more], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2, done.stderr
        assert said in one_line(done.stderr)


def test_a_locked_key_is_refused_and_nobody_is_asked_for_a_passphrase(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    cert, key = Authority(tmp_path).sign("client")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(ConfigError, match=r"--tls-key .* is locked with a passphrase"):
        Client("127.0.0.1:1", ClientOptions(tls_ca=cert, tls_cert=cert, tls_key=key))
