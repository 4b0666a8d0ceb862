"""A worker steps back for its server, whatever its threads do meanwhile."""

from __future__ import annotations

import os
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
