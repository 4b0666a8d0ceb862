"""Known holes in what a clinic installs, doubtful lines in foveal's own code, and a bill of materials of the environment.

    python scripts/check_security.py [--tools FOLDER] [--bom FILE]

bandit, pip-audit and cyclonedx-py come from PyPI; what is not installed, and an audit that nobody answers offline, is skipped
by name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CLINIC = ROOT / "requirements" / "clinic.txt"
NOT_ASKED = {
    "B101": "asserts guard against our own bugs; what a user gives is refused by errors",
    "B404": "programs are started, see B603",
    "B603": "programs are started by lists of words, never through a shell",
}
"""Of bandit's tests, with why."""
REVIEWED = {
    ("B608", "runtime/foveal_runtime/store/"): "names of tables are psycopg's sql.Identifier, values are parameters",
    (
        "B301",
        "runtime/foveal_runtime/serving/wire.py",
    ): "a worker reads its server; a server reads data classes alone",
    ("B403", "runtime/foveal_runtime/serving/wire.py"): "as above",
    ("B403", "runtime/foveal_runtime/study/study.py"): "PickleBuffer alone, for that pipe",
    ("B108", "runtime/foveal_runtime/sandbox/confine.py"): "folders that a worker is kept from, and one that a device may need",
    ("B108", "runtime/foveal_runtime/store/index.py"): "the size of /dev/shm is looked at, nothing is written",
    ("B311", "runtime/foveal_runtime/store/"): "a pause and a sample, no secret",
    ("B604", "runtime/foveal_runtime/cli/completion.py"): "the parameter names a shell to complete for; none is started",
    ("B105", "runtime/foveal_runtime/bundle/signing.py"): "the name of a variable",
    ("B105", "runtime/foveal_runtime/cli/environment.py"): "a sentence",
    ("B105", "runtime/foveal_runtime/store/programs.py"): "the name of a variable",
    ("B105", "export/foveal_export/parity/report.py"): "a class of a style sheet",
    ("B106", "runtime/foveal_runtime/client/diagnosis.py"): "an empty default",
    ("B607", "train/foveal_train/runs/origin.py"): "git as the user's PATH has it",
    (
        "B615",
        "train/foveal_train/",
    ): "names that the user gives, of weights that are hashed once they are read (runs/provenance)",
}
"""Findings that were read and stay, by test and file or folder."""


class Checks:
    """Runs tools and remembers what they found."""

    def __init__(self, tools: str) -> None:
        self._path = os.pathsep.join(filter(None, (tools, str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
        self.failed = False

    def _run(self, tool: str, *words: str | Path) -> subprocess.CompletedProcess[str] | None:
        found = shutil.which(tool, path=self._path)
        if found is None:
            print(f"skipped: {tool} is not installed; pip install {'cyclonedx-bom' if tool == 'cyclonedx-py' else tool}")
            return None
        return subprocess.run([found, *map(str, words)], capture_output=True, text=True, check=False, cwd=ROOT, timeout=600)

    def code(self, *rooms: str) -> None:
        """bandit over foveal's own code."""
        words = ("-q", "-r", *rooms, "-x", "*/_proto/*", "-f", "json", "--skip", ",".join(NOT_ASKED))
        done = self._run("bandit", *words)
        if done is None:
            return
        results = json.loads(done.stdout)["results"]
        fresh = [each for each in results if not _reviewed(each)]
        for each in fresh:
            print(f"{each['filename']}:{each['line_number']}: {each['test_id']} {each['issue_text']}", file=sys.stderr)
        self.failed |= bool(fresh)
        print(f"{'found' if fresh else 'ok'}: bandit, {len(fresh)} new of {len(results)} findings")

    def packages(self) -> None:
        """pip-audit over what a clinic installs."""
        done = self._run(
            "pip-audit", "--require-hashes", "--disable-pip", "-r", CLINIC, "-f", "json", "--progress-spinner", "off"
        )
        if done is None:
            return
        try:
            found = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            print("skipped: pip-audit reaches no database of known holes")
            return
        audited = [each for each in found if "skip_reason" not in each]
        holes = [(each["name"], hole) for each in audited for hole in each.get("vulns", ())]
        for name, hole in holes:
            print(f"{name}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version yet'}", file=sys.stderr)
        self.failed |= bool(holes)
        if not audited:
            print(f"skipped: pip-audit's database knows none of the {len(found)} packages here")
        else:
            print(f"{'found' if holes else 'ok'}: pip-audit, {len(holes)} holes in {len(audited)} of {len(found)} packages")

    def materials(self, target: Path, python: str) -> None:
        """A CycloneDX bill of materials of what a clinic installs: its requirements, or an environment."""
        target.parent.mkdir(parents=True, exist_ok=True)
        source = ("environment", python) if python else ("requirements", CLINIC)
        words = (*source, "--output-reproducible", "--sv", "1.6", "--of", "JSON", "-o", target)
        done = self._run("cyclonedx-py", *words)
        if done is None:
            return
        self.failed |= done.returncode != 0
        print(f"ok: cyclonedx-py wrote {target}" if done.returncode == 0 else done.stderr)


def _reviewed(found: dict[str, Any]) -> bool:
    return any(found["test_id"] == test and found["filename"].startswith(place) for test, place in REVIEWED)


def main() -> int:
    """Run every check; 1 when a tool found something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", default="", help="folders to look for tools in first")
    parser.add_argument("--bom", type=Path, default=ROOT / "dist" / "foveal-clinic.cdx.json", help="bill of materials to write")
    parser.add_argument("--python", default="", help="list the packages of this Python's environment in the bill of materials")
    parser.add_argument("--rooms", nargs="*", default=["runtime", "train", "export"], help="folders of code to look at")
    given = parser.parse_args()
    checks = Checks(given.tools)
    checks.code(*given.rooms)
    checks.packages()
    checks.materials(given.bom, given.python)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
