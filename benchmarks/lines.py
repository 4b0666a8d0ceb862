"""A child process that answers requests, JSON, one a line: starts it, asks, ends it, also by SIGKILL with all its children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from processes import processes_of


class ChildError(RuntimeError):
    """A child answered with an error, or ended."""


class LineProcess:
    """A context manager; leaving it sends `close` and ends the process."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Args:
        name: in errors.
        command: what is run. Each answer that ends a request has `done`, and `error` when it failed.
        environment: its variables.
        """
        self.name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    @property
    def pid(self) -> int:
        """Of the process; its own children are below it."""
        return self._process.pid

    def send(self, do: str, **values: Any) -> None:
        """Begin a request."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write((json.dumps({"do": do, **values}) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ChildError(f"{self.name} ended with exit code {self._process.wait()}") from None

    def receive(self) -> dict[str, Any] | None:
        """The next answer; None when the process has ended, a line that it had begun included."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def ask(self, do: str, *, each: Callable[[dict[str, Any]], None] | None = None, **values: Any) -> dict[str, Any]:
        """A whole request.

        Args:
            do: what.
            each: called with every answer before the last.
            values: of the request.

        Raises:
            ChildError: it failed.
        """
        self.send(do, **values)
        while (answer := self.receive()) is not None:
            if "error" in answer:
                raise ChildError(f"{self.name}, {do}: {answer['error']}")
            if "done" in answer:
                return answer
            if each is not None:
                each(answer)
        raise ChildError(f"{self.name} ended in {do} with exit code {self._process.wait()}")

    def kill(self) -> list[dict[str, Any]]:
        """SIGKILL to the process and all that came of it. Returns the answers that were still in the pipe."""
        for pid in processes_of(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        left = []
        while (answer := self.receive()) is not None:
            left.append(answer)
        self._process.wait()
        return left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(ChildError):
            if self._process.poll() is None:
                self.ask("close")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()
