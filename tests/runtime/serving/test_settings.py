"""A server's settings from a file, the environment and flags: which wins, what is refused, and what is said of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from foveal_runtime.cli.effective import document, toml
from foveal_runtime.errors import ConfigError
from foveal_runtime.sandbox.confine import Sandbox
from foveal_runtime.serving.settings import Settings, keys, read_settings, variable

FILE = """
bundle = "of-the-file"
max_calls = 7
sandbox = "strict"
tls_cert = "server.pem"
tls_key = "server.key"
max_calls_per_s = 3

[batch]
max_studies = 4
worker_timeout_s = 20
"""


def read(folder: Path, text: str = FILE, environ: dict[str, str] | None = None, **flags: Any) -> Settings:
    (folder / "serve.toml").write_text(text)
    return read_settings(folder / "serve.toml", flags, environ or {})


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    environ = {"FOVEAL_SERVE_MAX_CALLS": "8", "FOVEAL_SERVE_BATCH_MAX_STUDIES": "5", "FOVEAL_CACHE": "/elsewhere"}
    found = read(tmp_path, environ=environ, max_batch=6, drain_s=None)
    config = found.config
    assert (config.bundle, config.max_calls, config.batch.max_studies) == (Path("of-the-file"), 8, 6)
    assert (config.batch.worker_timeout_s, config.sandbox, config.max_calls_per_s) == (20, Sandbox.STRICT, 3)
    file = str(tmp_path / "serve.toml")
    assert {key: each.origin for key, each in found.by_key.items() if each.origin != "default"} == {
        "bundle": file, "max_calls": "environment FOVEAL_SERVE_MAX_CALLS", "sandbox": file, "tls_cert": file, "tls_key": file,
        "max_calls_per_s": file, "batch.max_studies": "flag --max-batch", "batch.worker_timeout_s": file,
    }  # fmt: skip
    assert found.config.chosen
    assert not read(tmp_path, 'bundle = "b"', {"FOVEAL_SERVE_COLLECTION": "clinic"}).config.chosen
    assert read(tmp_path, 'bundle = "b"', {"FOVEAL_SERVE_THREADS": "2"}).config.chosen


def test_the_environment_is_read_by_the_type_of_each_key(tmp_path: Path) -> None:
    environ = {"INSECURE": "true", "CANARY_SHARE": "0.5", "QUALITY": "/q.json", "SANDBOX": "off", "ARCHIVE_MAINTAIN": "no"}
    environ["ABSTAIN"] = "undecided, out-of-distribution"
    config = read(tmp_path, environ={f"FOVEAL_SERVE_{name}": value for name, value in environ.items()}).config
    assert (config.insecure, config.canary_share, config.quality, config.sandbox) == (True, 0.5, Path("/q.json"), Sandbox.OFF)
    assert not config.archive.maintain
    assert config.abstain == ("undecided", "out-of-distribution")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('bundel = "b"', r"has 'bundel', which is no setting; did you mean 'bundle'\?"),
        ("[queue]\nmax_byte = 4", r"has 'queue.max_byte', which is no setting; did you mean 'queue.max_bytes'\?"),
        ("worker_timeout_s = 4", r"has 'worker_timeout_s', .* did you mean 'batch.worker_timeout_s'\?"),
        ("[batsch]\nmax_studies = 4", r"has 'batsch', which is no setting"),
        ('chosen = "x"', r"has 'chosen', which is no setting"),
        ('[archive]\npatient_key = "x"', r"has 'archive.patient_key', which is no setting"),
        ("zzzzzzzz = 1", r"which is no setting; docs/reference/configuration.md lists them"),
        ('workers = "four"', r"workers is 'four' \(text\); want a whole number"),
        ('workers = "4"', r"workers is '4' \(text\); want a whole number"),
        ("workers = 4.5", r"workers is 4.5 \(a number\); want a whole number"),
        ("workers = true", r"workers is true \(true or false\); want a whole number"),
        ("address = 50051", r"address is 50051 \(a whole number\); want text"),
        ("insecure = 1", r"insecure is 1 \(a whole number\); want true or false"),
        ("canary = 3", r"canary is 3 \(a whole number\); want a path as text"),
        ('sandbox = "tight"', r"sandbox is 'tight' \(text\); want auto or strict or off"),
        ("canary_share = [1]", r"canary_share is a list; want a number"),
        ("tls_cert = {a = 1}", r"tls_cert is a table; want a path as text"),
        ("drain_s = 2026-11-26", r"drain_s is .* \(a date\); want a number"),
        ("batch = 3", r"batch is a table; write \[batch\] above its keys"),
        ("workers = ", r"can't be read \(TOMLDecodeError"),
    ],
)
def test_what_does_not_fit_in_a_file_is_named_with_what_would(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text, bundle=Path("b"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FOVEAL_SERVE_ADRESS", "a:1", r"has FOVEAL_SERVE_ADRESS, which is no setting; did you mean 'FOVEAL_SERVE_ADDRESS'\?"),
        ("FOVEAL_SERVE_WORKERS", "four", r"FOVEAL_SERVE_WORKERS is 'four' \(text\); want a whole number"),
        ("FOVEAL_SERVE_INSECURE", "maybe", r"FOVEAL_SERVE_INSECURE is 'maybe' \(text\); want true or false"),
        ("FOVEAL_SERVE_DRAIN_S", "-1", "drain_s is -1.0; want 0 or more"),
    ],
)
def test_what_does_not_fit_in_the_environment_is_named_by_its_variable(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, environ={name: value})


def test_every_key_has_a_variable_of_its_own() -> None:
    assert len({variable(key) for key in keys()}) == len(keys()) > 50


def test_what_is_printed_is_a_file_that_means_the_same_and_holds_no_password(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert read(tmp_path, toml(found)).config == found.config
    secret = read(tmp_path, store="postgresql://clinic:hunter2@db.clinic/foveal?sslmode=verify-full")
    assert "hunter2" not in toml(secret) + json.dumps(document(secret))
    assert tomllib.loads(toml(secret))["store"] == "postgresql://db.clinic/foveal"


def _serve(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foveal_runtime.cli.main", "serve", "--check-config", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environ})


def test_check_config_prints_every_setting_with_its_origin_and_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text(FILE)
    done = _serve("--config", str(tmp_path / "serve.toml"), "--json", FOVEAL_SERVE_ADDRESS="127.0.0.1:7")
    assert done.returncode == 0, done.stderr
    settings = json.loads(done.stdout)["settings"]
    assert settings["address"] == {"value": "127.0.0.1:7", "origin": "environment FOVEAL_SERVE_ADDRESS"}
    assert settings["batch.max_studies"] == {"value": 4, "origin": str(tmp_path / "serve.toml")}
    assert settings.keys() == keys().keys()


def test_check_config_exits_2_when_something_does_not_fit() -> None:
    done = _serve("bundle", "--insecure", FOVEAL_SERVE_WORKERS="two")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: FOVEAL_SERVE_WORKERS is 'two' (text); want a whole number\n"
