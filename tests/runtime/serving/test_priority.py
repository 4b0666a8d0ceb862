"""A worker steps back for its server, whatever its threads do meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from foveal_runtime.serving.priority import step_back


@pytest.mark.skipif(sys.platform != "linux", reason="a priority is a thread's own on Linux alone")
def test_a_thread_that_ends_while_it_is_listed_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    changed: list[int] = []

    def set_priority(which: int, thread: int, nice: int) -> None:
        if thread == other.native_id:
            raise ProcessLookupError
        changed.append(thread)

    monkeypatch.setattr(os, "setpriority", set_priority)
    try:
        step_back(5)
    finally:
        over.set()
        other.join()
    assert threading.main_thread().native_id in changed
    assert other.native_id not in changed


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="taking a right away wants root on Linux")
def test_who_was_started_with_less_priority_keeps_it() -> None:
    """A service's `Nice=12`: without the right to take it back a worker could not start."""
    code = "import os; from foveal_runtime.serving.priority import step_back; step_back(5); print(os.nice(0))"
    ours = os.nice(0)
    for nice in (12, 0):
        done = subprocess.run(
            ["setpriv", "--bounding-set=-sys_nice", "nice", "-n", str(nice), sys.executable, "-c", code],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.strip() == str(max(5, min(ours + nice, 19))), done.stderr
