"""Signatures: who signed a bundle is checked before it is used, at verify, at serve and at every reload."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from servers import RunningServer

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.signing import read_private_key, read_public_key, sign_manifest
from foveal_runtime.cli.main import run
from foveal_runtime.errors import BundleError, ConfigError, SignatureError

Keys = tuple[Path, Path]


def write_keys(folder: Path, name: str, passphrase: str = "") -> Keys:
    """A new pair: private and public PEM."""
    key = ed25519.Ed25519PrivateKey.generate()
    return _write(folder, name, key, passphrase)


def _write(folder: Path, name: str, key: Any, passphrase: str = "") -> Keys:
    how = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def sign(bundle: Path, private: Path) -> Path:
    sign_manifest(bundle, (bundle / "manifest.json").read_bytes(), read_private_key(private))
    return bundle


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return write_keys(tmp_path, "ours")


@pytest.fixture
def signed(bundle_path: Path, tmp_path: Path, keys: Keys) -> Path:
    return sign(Path(shutil.copytree(bundle_path, tmp_path / "signed")), keys[0])


def test_signed_bundle_opens_with_its_key_and_without_any(signed: Path, keys: Keys) -> None:
    assert Bundle.open(signed, signed_by=read_public_key(keys[1])).is_signed
    assert Bundle.open(signed).is_signed


def test_signature_is_what_openssl_checks(signed: Path, keys: Keys) -> None:
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", keys[1], "-rawin", "-in", signed / "manifest.json"]
    assert shutil.which("openssl"), "install openssl"
    done = subprocess.run([*command, "-sigfile", signed / "manifest.sig"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_key_that_openssl_makes_signs(bundle_path: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "signing.pem", tmp_path / "signing.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    bundle = sign(Path(shutil.copytree(bundle_path, tmp_path / "bundle")), private)
    assert Bundle.open(bundle, signed_by=read_public_key(public)).is_signed


@pytest.mark.parametrize("harm", ["unsigned", "another key", "a changed manifest", "a short signature"])
def test_bundle_that_the_key_did_not_sign_is_refused(signed: Path, keys: Keys, tmp_path: Path, harm: str) -> None:
    words = "not the signature"
    if harm == "unsigned":
        (signed / "manifest.sig").unlink()
        words = "not signed"
    elif harm == "another key":
        sign(signed, write_keys(tmp_path, "theirs")[0])
    elif harm == "a changed manifest":
        document = json.loads((signed / "manifest.json").read_text())
        document["tolerances"]["min_cosine"] = 0.0
        (signed / "manifest.json").write_text(json.dumps(document))
    else:
        (signed / "manifest.sig").write_bytes(b"short")
    with pytest.raises(SignatureError, match=words):
        Bundle.open(signed, signed_by=read_public_key(keys[1]))


def test_verify_says_who_signed(signed: Path, keys: Keys, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(signed), "--public-key", str(keys[1])]) == 0
    assert "signed by" in capfd.readouterr().err
    assert run(["verify", str(signed)]) == 0
    assert "--public-key" in capfd.readouterr().err
    assert run(["verify", str(signed), "--public-key", str(write_keys(tmp_path, "theirs")[1])]) == 2
    assert capfd.readouterr().err.startswith("error: ")


def test_serve_refuses_an_unsigned_bundle_in_one_line(bundle_path: Path, keys: Keys, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", str(bundle_path), "--address", "127.0.0.1:0", "--require-signature", str(keys[1])]) == 2
    assert "is not signed" in capfd.readouterr().err


def test_reload_refuses_a_bundle_of_another_key_and_goes_on_serving(signed: Path, keys: Keys, tmp_path: Path) -> None:
    unsigned = write_bundle(tmp_path / "unsigned", seed=1)
    theirs = sign(write_bundle(tmp_path / "theirs", seed=2), write_keys(tmp_path, "theirs")[0])
    ours = sign(write_bundle(tmp_path / "ours", seed=3), keys[0])
    link = tmp_path / "served"
    link.symlink_to(signed)

    def point(target: Path) -> None:
        scratch = tmp_path / "scratch"
        scratch.symlink_to(target)
        scratch.rename(link)

    with RunningServer(link, "--require-signature", str(keys[1])) as server, server.client() as client:
        assert client.model().model.signature_verified
        first = client.model().model.bundle_sha256
        for place, words in ((unsigned, "is not signed"), (theirs, "is not the signature")):
            point(place)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for(words)
            assert client.model().model.bundle_sha256 == first
        point(ours)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("now serving bundle")
        assert client.model().model.bundle_sha256 == Bundle.open(ours).sha256


def test_unusable_keys_are_refused_by_name(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    curve = _write(tmp_path, "curve", ec.generate_private_key(ec.SECP256R1()))
    junk = tmp_path / "junk"
    junk.write_text("no key")
    refused = [
        (tmp_path / "none", "No such file"),
        (junk, "no public key"),
        (curve[1], "another kind"),
        (keys[0], "private key"),
    ]
    for path, words in refused:
        with pytest.raises(ConfigError, match=words):
            read_public_key(path)
    refused = [(tmp_path / "none", "No such file"), (junk, "genpkey"), (curve[0], "another kind"), (keys[1], "genpkey")]
    for path, words in refused:
        with pytest.raises(ConfigError, match=words):
            read_private_key(path)
    locked = write_keys(tmp_path, "locked", passphrase="right")[0]
    monkeypatch.delenv("FOVEAL_KEY_PASSPHRASE", raising=False)
    with pytest.raises(ConfigError, match="FOVEAL_KEY_PASSPHRASE"):
        read_private_key(locked)
    monkeypatch.setenv("FOVEAL_KEY_PASSPHRASE", "wrong")
    with pytest.raises(ConfigError, match="check FOVEAL_KEY_PASSPHRASE"):
        read_private_key(locked)
    monkeypatch.setenv("FOVEAL_KEY_PASSPHRASE", "right")
    read_private_key(locked)


def test_file_that_was_added_to_a_bundle_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    (bundle / "golden" / "more.jpg").write_bytes(b"x")
    with pytest.raises(BundleError, match="not in the manifest"):
        Bundle.open(bundle)
