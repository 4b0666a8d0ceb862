"""A real `foveal serve` process for as long as a block runs: what the demo, the benchmarks and the tests talk to.

Knows nothing of what is asked of the server.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from foveal_runtime.errors import CheckFailed
from foveal_runtime.lifecycle import LIFECYCLE
from foveal_runtime.rpc.address import free_port

FOVEAL = (sys.executable, "-m", "foveal_runtime.cli.main")
"""The `foveal` script of this environment."""
READY_S = 120.0
STOP_S = 30.0
_LIFE = f" INFO {LIFECYCLE} "
_HTTP = re.compile(r"""^(?:\{.*"message": ")?HTTP on ([^\s,"]+)""")
_ANNOUNCED = re.compile(r"""^(?:\{.*"message": ")?serving .* on ([^\s,"]+)""")


class LocalServer:
    """`with LocalServer(bundle, "--workers", "2") as server:`; SERVING when the block begins, ended by SIGTERM after it."""

    def __init__(
        self,
        bundle: Path,
        *flags: str,
        foveal: tuple[str, ...] = FOVEAL,
        env: Mapping[str, str] | None = None,
        echo: Callable[[str], object] | None = sys.stderr.write,
        ends_itself: bool = True,
        ready_s: float = READY_S,
        stop_s: float = STOP_S,
    ) -> None:
        """Args:
        bundle: what to serve.
        flags: more of `foveal serve`; without --address a free port of loopback is taken.
        foveal: the script to start, of another environment for example.
        env: variables to add.
        echo: told every line of the server's stderr, those apart that a healthy life brings; None keeps all in `lines` alone.
        ends_itself: False where `foveal` starts it through another program, whose exit code says nothing of the server's.
        ready_s: within which it has to serve.
        stop_s: within which it has to end.
        """
        place = () if "--address" in flags else ("--address", "127.0.0.1:0")
        self._command = [*foveal, "serve", str(bundle), *flags, *place]
        self._env, self._echo, self._ends_itself = dict(env or {}), echo, ends_itself
        self._ready_s, self._stop_s = ready_s, stop_s
        self.lines: list[str] = []
        """The server's stderr so far."""
        self.address = ""
        self.http = ""
        """http:// or https://HOST:PORT, where --http is among the flags."""
        self._announced = threading.Event()

    def __enter__(self) -> Self:
        """Start, and wait until it serves.

        Raises:
            CheckFailed: it did not get ready; its own words are the message's.
        """
        environment = {**os.environ, **self._env}
        self.process = subprocess.Popen(
            self._command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._announced.wait(self._ready_s) or not self.address:
            self.process.kill()
            self.process.wait()
            raise CheckFailed(f"the server did not get ready{self._why()}")
        return self

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if url := _HTTP.match(line.strip()):
                self.http = url.group(1)
            found = _ANNOUNCED.match(line.strip())
            if found and not self.address:
                self.address = found.group(1)
                self._announced.set()
            elif self._echo is not None and _LIFE not in line:
                self._echo(line)
        self._announced.set()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it by SIGTERM.

        Raises:
            CheckFailed: it ended with another exit code than 0, or had failed before. Who killed it by a signal knows.
        """
        code = self.process.poll()
        if code is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(self._stop_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
            failed, when = code != 0, " after SIGTERM"
        else:
            failed, when = code > 0, ""
        self._reader.join(5)
        if kind is None and failed and self._ends_itself:
            raise CheckFailed(f"the server ended with exit code {code}{when}{self._why()}")

    def _why(self) -> str:
        """Where the server's own words are."""
        return "; it says above why" if self._echo is not None else f":\n{self.log}"

    @property
    def log(self) -> str:
        """Everything on stderr so far."""
        return "".join(self.lines)


def free_address() -> str:
    """A HOST:PORT of loopback that nobody listens on."""
    return f"127.0.0.1:{free_port()}"
