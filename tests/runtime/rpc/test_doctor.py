"""What `foveal doctor --config` says of a server's certificates, keys and archive, with the mend for each."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import DAY, Authority
from commands import foveal
from servers import reachable_folder

from foveal_runtime.engine.finding import Finding
from foveal_runtime.rpc.doctor import server_findings
from foveal_runtime.serving.config import ServeConfig

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates") / "ca")


def of(name: str, **settings: Any) -> list[Finding]:
    config = ServeConfig(bundle=Path("b"), **settings)
    return [finding for finding in server_findings(config, now=NOW) if finding.name == name]


@pytest.mark.parametrize(
    ("days", "status", "says", "mend"),
    [
        (90, "ok", "valid for 90 days more", ""),
        (10, "warning", "valid for 10 days more", "renew"),
        (-1, "wrong", "expired on", "renew"),
    ],
)
def test_a_certificates_days_are_counted(authority: Authority, days: int, status: str, says: str, mend: str) -> None:
    cert, key = authority.sign(f"server{days}", "localhost", ends_in=days * DAY + DAY / 2)
    key.chmod(0o600)
    (finding,) = of("certificate", tls_cert=cert, tls_key=key)
    assert finding.status.value == status
    assert says in finding.says
    assert mend in finding.mend


def test_a_key_that_others_can_read_and_one_of_another_certificate_are_found(authority: Authority) -> None:
    cert, key = authority.sign("server", "localhost", ends_in=90 * DAY)
    _, other = authority.sign("other", "localhost")
    key.chmod(0o644)
    (finding,) = of("certificate", tls_cert=cert, tls_key=key, client_ca=authority.pem)
    assert finding.status.value == "wrong"
    assert f"chmod 600 {key}" in finding.says + finding.mend
    if os.geteuid() == 0:  # a group may read root's, as serving allows
        key.chmod(0o640)
        (finding,) = of("certificate", tls_cert=cert, tls_key=key, client_ca=authority.pem)
        assert finding.status.value == "ok"
    key.chmod(0o600)
    (finding,) = of("certificate", tls_cert=cert, tls_key=other)
    assert finding.status.value == "wrong"
    assert "give the two that belong together" in finding.mend


def test_keys_and_thresholds_that_can_not_be_read_are_wrong(tmp_path: Path) -> None:
    for name, setting in (("signature", "require_signature"), ("patient key", "hash_patients"), ("threshold", "quality")):
        (finding,) = of(name, **{setting: tmp_path / "no folder" / "none"})
        assert finding.status.value == "wrong"
        assert finding.mend


def test_a_patient_key_that_is_not_there_yet_is_made_by_the_first_start(tmp_path: Path) -> None:
    (finding,) = of("patient key", hash_patients=tmp_path / "patients.key")
    assert finding.status.value == "ok"
    assert finding.says.endswith("is made at the first start")
    assert not (tmp_path / "patients.key").exists()


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as found:
        yield found


def test_a_store_folder_is_new_there_or_of_another_postgresql(folder: Path) -> None:
    (store,) = of("store", store=str(folder / "archive"))
    assert store.status.value == "ok"
    assert "is new, PostgreSQL runs as" in store.says
    assert "GB free for the store" in of("disk", store=str(folder / "archive"))[0].says
    assert not (folder / "archive").exists(), "looking makes nothing"
    (folder / "archive" / "pgdata").mkdir(parents=True)
    (folder / "archive" / "pgdata" / "PG_VERSION").write_text("12\n")
    (store,) = of("store", store=str(folder / "archive"))
    assert store.status.value == "wrong"
    assert "foveal store dump" in store.mend


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    (store,) = of("store", store="postgresql://clinic:hunter2@127.0.0.1:1/foveal")
    assert store.status.value == "wrong"
    assert "postgresql://127.0.0.1:1/foveal can't be reached" in store.says
    assert "hunter2" not in json.dumps(store.to_json())


def test_an_address_says_who_reaches_it(authority: Authority) -> None:
    cert, key = authority.sign("reached", "localhost", ends_in=90 * DAY)
    assert "this machine alone, plain text" in of("address")[0].says
    settings = {"address": "0.0.0.0:1", "allow_unsigned": True}
    assert of("address", **settings, insecure=True)[0].status.value == "warning"
    assert "other machines, TLS" in of("address", **settings, tls_cert=cert, tls_key=key)[0].says


def test_doctor_reads_the_configuration_that_the_server_would(bundle_path: Path, authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.sign("served", "localhost", ends_in=-1 * DAY)
    (tmp_path / "serve.toml").write_text(
        f'bundle = "{bundle_path}"\ntls_cert = "{cert}"\ntls_key = "{key}"\nsandbox = "strict"\n'
    )
    done = foveal("doctor", "--config", str(tmp_path / "serve.toml"), "--json")
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1, "a certificate that expired"
    assert {
        "clock",
        "open files",
        "disk",
        "user",
        "sandbox",
        "address",
        "certificate",
        "bundle",
        "golden studies",
    } <= found.keys()
    assert found["sandbox"]["says"].startswith("workers: ")
    (tmp_path / "serve.toml").write_text("bundel = 1")
    assert foveal("doctor", "--config", str(tmp_path / "serve.toml")).returncode == 2


def test_an_address_for_http_is_looked_at_as_grpcs_and_its_libraries_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of("http") == []
    (finding,) = of("http", http="127.0.0.1:8080")
    assert (finding.status.value, finding.says) == ("ok", "127.0.0.1:8080 serves this machine alone, plain text")
    (finding,) = of("http", http="0.0.0.0:8080", insecure=True, allow_unsigned=True)
    assert finding.status.value == "warning"
    monkeypatch.setattr("foveal_runtime.rpc.doctor.find_spec", lambda name: None if name == "uvicorn" else object())
    (finding,) = of("http", http="127.0.0.1:8080")
    assert finding.status.value == "wrong"
    assert "uvicorn" in finding.says
    assert "foveal[http]" in finding.mend
