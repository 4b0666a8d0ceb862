"""Steps of the demo: run a `foveal` command, keep what came of it in a folder, and do not repeat it on a resume.

The folder's steps.json holds what the demo was begun with and every finished step; it is replaced whole after each. Knows
neither what the steps are nor what they mean.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.cli.local_server import FOVEAL, LocalServer, free_address
from foveal_runtime.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from rich.console import Console

STEPS_FILE = "steps.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One finished step."""

    name: str
    seconds: float
    result: str
    """What came of it, one line."""
    where: str = ""
    """File, folder or address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A command that ended by itself."""

    code: int
    stdout: str


class Journal:
    """A demo's folder: its settings and the finished steps of both halves."""

    def __init__(self, folder: Path, settings: dict[str, Any], halves: dict[str, list[Step]]) -> None:
        self.folder = folder
        self.settings = settings
        self._halves = halves

    @classmethod
    def begin(cls, folder: Path, settings: dict[str, Any]) -> Journal:
        """A new demo.

        Raises:
            ConfigError: the folder holds something already, or can't be written.
        """
        if (folder / STEPS_FILE).exists():
            raise ConfigError(f"{folder} holds a demo already; go on with --resume {folder}, or name another folder with --out")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder} exists and is no empty folder; name another with --out")
        journal = cls(folder, settings, {})
        try:
            folder.mkdir(parents=True, exist_ok=True)
            journal._write()
        except OSError as error:
            raise ConfigError(f"{folder} can't be written ({error.strerror}); name another folder with --out") from None
        return journal

    @classmethod
    def resume(cls, folder: Path) -> Journal:
        """A demo that was begun.

        Raises:
            ConfigError: there is none, or another version of foveal wrote it.
        """
        path = folder / STEPS_FILE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} can't be read ({type(error).__name__}); --resume takes the folder of a demo") from None
        if document.get("format") != _FORMAT:
            raise ConfigError(f"{path} has format {document.get('format')}, this foveal reads {_FORMAT}; begin a new demo")
        halves = {half: [Step(**step) for step in steps] for half, steps in document["halves"].items()}
        return cls(folder, document["settings"], halves)

    def steps(self, half: str) -> list[Step]:
        """Finished steps of a half, in the order they were first finished."""
        return list(self._halves.get(half, ()))

    def record(self, half: str, step: Step) -> None:
        """Keep a finished step; one of the same name is replaced."""
        steps = self._halves.setdefault(half, [])
        names = [each.name for each in steps]
        if step.name in names:
            steps[names.index(step.name)] = step
        else:
            steps.append(step)
        self._write()

    def archive(self, half: str) -> Path:
        """Where a half's PostgreSQL keeps its data: beside the rest, or, for root in a closed folder, under the temporary ones.

        Started as root, PostgreSQL runs as another user, who can't enter a home such as /root.
        """
        key = f"{half}_archive"
        if key not in self.settings:
            beside = (self.folder / half / "archive").absolute()
            if os.geteuid() == 0 and not all(parent.stat().st_mode & stat.S_IXOTH for parent in self.folder.absolute().parents):
                open_to_all = Path(tempfile.mkdtemp(prefix="foveal-demo-"))
                open_to_all.chmod(0o755)
                beside = open_to_all / "archive"
            self.settings[key] = str(beside)
            self._write()
        return Path(self.settings[key])

    def _write(self) -> None:
        halves = {half: [asdict(step) for step in steps] for half, steps in self._halves.items()}
        document = {"format": _FORMAT, "settings": self.settings, "halves": halves}
        write_whole(self.folder / STEPS_FILE, json.dumps(document, indent=1) + "\n")


class Steps:
    """One half's steps: what is finished is told and not repeated."""

    def __init__(self, journal: Journal, half: str, console: Console) -> None:
        self._journal, self._half, self.console = journal, half, console
        self.folder = journal.folder / half
        self.folder.mkdir(exist_ok=True)

    def finished(self, *names: str) -> bool:
        """Whether every one of these steps is."""
        return set(names) <= {step.name for step in self._journal.steps(self._half)}

    def do(self, name: str, work: Callable[[], tuple[str, Path | str]]) -> None:
        """Do a step, unless it is finished.

        Args:
            name: of the step.
            work: does it, and returns its result in one line and where that lies.
        """
        if self.finished(name):
            self.console.print(f"[dim]{name}: finished earlier[/dim]", highlight=False)
            return
        begin = time.monotonic()
        result, where = work()
        self.note(name, time.monotonic() - begin, result, where)

    def command(
        self,
        name: str,
        words: tuple[str | Path, ...],
        summary: Callable[[Any], str],
        *,
        document: str,
        where: Path | str = "",
        log: str = "",
    ) -> None:
        """Do a step that is one command with --json, which must succeed.

        Args:
            name: of the step.
            words: the command after `foveal`, without --json.
            summary: one line of the command's document.
            document: file of the half's folder that keeps it.
            where: what to show in the table; default: the document's file.
            log: as in `run`.
        """
        kept = self.folder / document

        def work() -> tuple[str, Path | str]:
            asked = (*words, "--json")
            outcome = self.run(*asked, log=log)
            if outcome.code != 0:
                raise self.failure(outcome.code, *asked)
            write_whole(kept, outcome.stdout)
            return summary(json.loads(kept.read_text(encoding="utf-8"))), where or kept

        self.do(name, work)

    @contextmanager
    def serving(self, bundle: Path, *flags: str) -> Iterator[str]:
        """A server with the half's archive for as long as the block runs; its start is a step of every run.

        Yields:
            The server's HOST:PORT.
        """
        address = free_address()
        store = ("--store", str(self._journal.archive(self._half)), *flags)
        self.show("serve", bundle, *store, "--address", address, after=" &")
        begin = time.monotonic()
        with LocalServer(bundle, *store, "--address", address):
            self.note("serve", time.monotonic() - begin, f"{bundle}: hashes checked, golden studies replayed, SERVING", address)
            yield address

    def run(self, *words: str | Path, log: str = "") -> Outcome:
        """Show a `foveal` command and run it in a process of its own.

        Args:
            words: the command after `foveal`.
            log: file of the half's folder for what it says on stderr, for commands that print long tables; shown when it fails.
                Else stderr goes to this terminal.
        """
        self.show(*words)
        command = [*FOVEAL, *map(str, words)]
        # Threads that wait by spinning take a busy machine's cores from those they wait for (docs/decisions.md).
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        if not log:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
            return Outcome(code=done.returncode, stdout=done.stdout)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        write_whole(self.folder / log, done.stderr)
        if done.returncode != 0:
            sys.stderr.write(done.stderr)
        return Outcome(code=done.returncode, stdout=done.stdout)

    def show(self, *words: str | Path, after: str = "") -> None:
        """Print a command as a person would type it."""
        self.console.print(f"[bold]$ {typed(*words)}{after}[/bold]", soft_wrap=True, highlight=False)

    def failure(self, code: int, *words: str | Path) -> CheckFailed:
        """What to say of a command that failed, and how to go on."""
        return CheckFailed(
            f"`{typed(*words)}` failed with exit code {code}; it says above why. Repeat it by that command, or mend the "
            f"cause and go on with `{typed('demo', '--resume', self._journal.folder)}`"
        )

    def note(self, name: str, seconds: float, result: str, where: Path | str = "") -> None:
        """Keep a finished step, and say what came of it."""
        self._journal.record(self._half, Step(name=name, seconds=round(seconds, 1), result=result, where=str(where)))
        self.console.print(f"  {result}", highlight=False, markup=False)


def typed(*words: str | Path) -> str:
    """A `foveal` command as it can be typed in this terminal: by path where the environment is not activated."""
    program = Path(sys.executable).parent / "foveal"
    found = shutil.which("foveal")
    if found is not None and Path(found) == program:
        name = "foveal"
    elif program.is_file():
        name = str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)
    else:
        name = shlex.join(FOVEAL)
    return f"{name} {shlex.join(map(str, words))}"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that half of it is never seen."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
