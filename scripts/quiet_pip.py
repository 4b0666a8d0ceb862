"""Run pip and draw one line: phase, packages done of all, elapsed time. Standard library alone: nothing is installed yet.

    python scripts/quiet_pip.py LABEL --log FILE -- install -c constraints.txt -e ".[cpu,store]"

pip runs in the Python that runs this script. What it says goes to the log file; when it fails, the log's last lines are shown.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

LAST_LINES = 20
"""Of the log, shown when pip fails."""
REDRAW_S = 0.5
REMARK_S = 30.0
"""Between two lines where nobody watches: a file, CI's log."""
_COLLECTING = re.compile(r"(Collecting|Requirement already satisfied:) (\S+)")
_DOWNLOADING = re.compile(r"Downloading (\S+?)(?:\.whl|\.tar\.gz)?(?:\.metadata)? \(([\d.]+ [kMG]?B)\)")
_SAVED = re.compile(r"Saved \S+|Created wheel for ")
_INSTALLING = re.compile(r"Installing collected packages: (.+)")
_PROGRESS = re.compile(r"Progress \d+ of \d+")


def normal(name: str) -> str:
    """A distribution's name as its .dist-info folder begins (PEP 503 and PEP 427)."""
    return re.sub(r"[-_.]+", "_", name).lower()


class Pip:
    """What a running pip has said so far."""

    def __init__(self, site_packages: Path, started: float) -> None:
        """Args:
        site_packages: where packages arrive.
        started: POSIX time; what is older was there before.
        """
        self._site_packages, self._started = site_packages, started
        self.phase = "starting"
        self._known: set[str] = set()
        self._saved = 0
        self._wanted: list[str] = []
        self._file = ""

    def hear(self, line: str) -> None:
        """Take note of a line."""
        line = line.strip()
        if found := _COLLECTING.match(line):
            self.phase, self._file = "collecting", ""
            self._known.add(normal(re.split(r"[\[<>=!~;,( ]", found[2])[0]))
        elif found := _DOWNLOADING.match(line):
            self._file = f", {found[1].split('-')[0]} {found[2]}"
        elif _SAVED.match(line):
            self._saved += 1
        elif found := _INSTALLING.match(line):
            self.phase, self._wanted = "installing", [normal(name) for name in found[1].split(", ")]

    def progress_text(self) -> str:
        """Phase, and how many packages of how many."""
        if self.phase == "installing":
            return f"installing {self.installed()} of {len(self._wanted)} packages"
        if self.phase == "collecting":
            return f"collecting {len(self._known)} packages{self._file}"
        return self.phase

    def installed(self) -> int:
        """Packages of this run that are in place: pip says nothing until the last one is."""
        fresh = set()
        for folder in self._site_packages.glob("*.dist-info"):
            try:
                if folder.stat().st_mtime >= self._started:
                    fresh.add(normal(folder.name.removesuffix(".dist-info").rsplit("-", 1)[0]))
            except FileNotFoundError:
                continue  # replaced just now
        return len(fresh & set(self._wanted))

    def summary(self) -> str:
        """What was done, when all is."""
        if self._wanted:
            return f"{len(self._wanted)} packages installed"
        return f"{self._saved} wheel(s)" if self._saved else "nothing to do"


def clock(seconds: float) -> str:
    """`1 min 05 s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def main() -> int:
    """Run pip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("label", help="what the line begins with")
    parser.add_argument("--log", type=Path, required=True, help="file for all that pip says")
    parser.add_argument("pip", nargs="+", metavar="-- PIP ARGUMENT")
    given = parser.parse_args()
    begin = time.monotonic()
    pip = Pip(Path(sysconfig.get_paths()["purelib"]), time.time() - 1)
    command = [sys.executable, "-m", "pip", *given.pip, "--progress-bar", "off"]
    with given.log.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                pip.hear(line)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            watch(given.label, pip, reader, begin)
        except KeyboardInterrupt:
            process.wait()
            return 130
        code = process.wait()
    took = clock(time.monotonic() - begin)
    if code != 0:
        last = given.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        print(
            f"{given.label}: pip failed with exit code {code} after {took}; its last lines:", *last, sep="\n  ", file=sys.stderr
        )
        print(f"all of it: {given.log}", file=sys.stderr)
        return code
    print(f"{given.label}: {pip.summary()} in {took}", flush=True)
    return 0


def watch(label: str, pip: Pip, reader: threading.Thread, begin: float) -> None:
    """Draw the line until pip has nothing more to say."""
    terminal = sys.stdout.isatty()
    said_phase, said_at = "", begin
    while reader.is_alive():
        now = time.monotonic()
        if terminal:
            print(f"\r\x1b[K{label}: {pip.progress_text()}, {clock(now - begin)}", end="", flush=True)
        elif pip.phase != said_phase or now - said_at >= REMARK_S:
            said_phase, said_at = pip.phase, now
            print(f"{label}: {pip.progress_text()}, {clock(now - begin)}", flush=True)
        reader.join(REDRAW_S)
    if terminal:
        print("\r\x1b[K", end="")


if __name__ == "__main__":
    raise SystemExit(main())
