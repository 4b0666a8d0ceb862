"""The samples in deploy/ fit this foveal: settings that there are, metrics that are exported, files that lie there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from foveal_runtime import errors
from foveal_runtime.cli.main import build_app
from foveal_runtime.photo.quality import Quality
from foveal_runtime.rpc.gauges import FIGURES
from foveal_runtime.rpc.metrics import Figure
from foveal_runtime.serving.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def _series(figure: Figure) -> list[str]:
    return [f"{figure.name}_{part}" for part in ("bucket", "sum", "count")] if figure.kind == "histogram" else [figure.name]


EXPORTED = {name for figure in FIGURES for name in _series(figure)}
LABELS = {label for figure in FIGURES for label in figure.labels} | {"instance", "job", "le"}
CALLERS_FAULT = {
    "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNAUTHENTICATED",
    "PERMISSION_DENIED", "UNIMPLEMENTED",
}  # fmt: skip


def _yaml(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _expressions() -> dict[str, str]:
    """Every PromQL expression by where it stands."""
    rules = _yaml(DEPLOY / "prometheus" / "alerts.yaml")[0]["groups"][0]["rules"]
    dashboard = json.loads((DEPLOY / "grafana" / "foveal.json").read_text())
    found = {rule["alert"]: rule["expr"] for rule in rules}
    found |= {f"{panel['title']} {i}": t["expr"] for panel in dashboard["panels"] for i, t in enumerate(panel["targets"])}
    found |= {each["name"]: each["expr"] for each in dashboard["annotations"]["list"]}
    return found | {each["name"]: each["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"}


def test_dashboard_and_alerts_name_metrics_and_labels_that_the_server_exports() -> None:
    for where, text in _expressions().items():
        names = set(re.findall(r"\bfoveal_\w+", text))
        assert names or where == "FovealDown", where
        assert names <= EXPORTED, f"{where} names {names - EXPORTED}"
        labels = set(re.findall(r"[{,]\s*(\w+)\s*[=!]", text))
        assert labels <= LABELS, f"{where} names labels {labels - LABELS}"


def test_a_metric_that_is_not_exported_would_be_found() -> None:
    assert "foveal_calls_total" not in EXPORTED
    assert "foveal_call_seconds" not in EXPORTED, "a histogram has no series of its own name"


def test_alerts_name_outcomes_and_verdicts_that_there_are() -> None:
    alerts = _expressions()
    kinds = {
        name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.FovealError)
    }
    excluded = set(re.search(r'outcome!~"([^"]+)"', alerts["FovealFailsCalls"])[1].split("|"))  # type: ignore[index]
    expected = {name for name, kind in kinds.items() if kind.grpc_code in CALLERS_FAULT}
    assert excluded == {"OK", "cancelled", *expected}, "what is no fault of the server's is no alarm, and all else is"
    assert re.search(r'outcome="(\w+)"', alerts["FovealRefusesCalls"])[1] in kinds  # type: ignore[index]
    assert re.search(r'quality!="(\w+)"', alerts["FovealPhotographsNotGradable"])[1] in Quality.__members__  # type: ignore[index]


def _config_map() -> dict[str, str]:
    manifests = _yaml(DEPLOY / "kubernetes" / "foveal.yaml")
    data: dict[str, str] = next(each for each in manifests if each["kind"] == "ConfigMap")["data"]
    return data


def _environment(sample: str) -> dict[str, str]:
    if sample == "compose":
        found: dict[str, str] = _yaml(DEPLOY / "container" / "compose.yaml")[0]["services"]["foveal"]["environment"]
        return found
    if sample == "kubernetes":
        deployment = next(each for each in _yaml(DEPLOY / "kubernetes" / "foveal.yaml") if each["kind"] == "Deployment")
        env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        return {each["name"]: each.get("value", "postgresql://db/foveal") for each in env}
    return {}


@pytest.mark.parametrize("sample", ["systemd", "compose", "kubernetes"])
def test_the_settings_of_each_sample_are_settings_of_this_foveal(tmp_path: Path, sample: str) -> None:
    path = DEPLOY / "serve.toml"
    if sample == "kubernetes":
        path = tmp_path / "serve.toml"
        path.write_text(_config_map()["serve.toml"])
    config = read_settings(path, {}, _environment(sample)).config
    assert config.require_signature == Path("/etc/foveal/signing.pub")
    assert config.store
    assert config.hash_patients is not None


def test_units_call_commands_that_there_are() -> None:
    app = build_app()
    for path in (DEPLOY / "systemd").glob("*.service"):
        for words in re.findall(r"/opt/foveal/bin/foveal ((?:[a-z]+ )+)", path.read_text()):
            here = app
            for word in words.split():
                here = here[word]
    service = (DEPLOY / "systemd" / "foveal.service").read_text()
    assert "landlock_restrict_self seccomp" in service, "else the workers' own sandbox is refused"


def test_images_copy_files_that_lie_there_and_serve_as_nobody_in_particular() -> None:
    for path in sorted((DEPLOY / "container").glob("Containerfile*")):
        text = path.read_text()
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
            *sources, _ = line.split()
            assert all((ROOT / source).exists() for source in sources), line
        assert "\nUSER 10001\n" in text


def test_proxies_take_photographs_of_any_size() -> None:
    assert "client_max_body_size 0;" in (DEPLOY / "nginx" / "foveal.conf").read_text()
    (envoy,) = _yaml(DEPLOY / "envoy" / "envoy.yaml")
    assert "envoy.filters.http.buffer" not in json.dumps(envoy), "that filter refuses what is larger than it holds"
    (cluster,) = envoy["static_resources"]["clusters"]
    assert cluster["health_checks"][0]["grpc_health_check"] == {}


@pytest.mark.slow
def test_each_sample_passes_its_own_linter() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "check_deploy.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if "ok: " not in done.stdout:
        pytest.skip(done.stdout.replace("\n", "; "))


@pytest.mark.slow
def test_a_linter_that_finds_something_fails_the_check(tmp_path: Path) -> None:
    for folder in ("deploy", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "deploy" / "systemd" / "foveal.service"
    unit.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHome=maybe"))
    command = [sys.executable, tmp_path / "scripts" / "check_deploy.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Failed to parse protect home value" in done.stderr
