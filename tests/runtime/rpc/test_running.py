"""A server as a process of its own: what it does once it serves."""

from __future__ import annotations

import gc
import os
import signal
from typing import Any, cast

import pytest

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.rpc import running
from foveal_runtime.rpc.server import Server


class Idle:
    """Starts at once, and serves nothing."""

    async def start(self) -> Bundle:
        return cast("Bundle", object())

    async def stop(self) -> None:
        return


async def test_what_was_loaded_is_not_looked_through_again_while_callers_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each collection of all that the server had imported held up every call for 30 to 70 ms."""
    for name in ("few_arenas", "keep_freed"):
        monkeypatch.setattr(running, name, lambda: None)
    monkeypatch.setattr(running.oom, "sooner", lambda level: None)
    left: list[int] = []

    def announce(server: Any, bundle: Any) -> None:
        left.append(len(gc.get_objects()))
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        await running.run(cast("Server", Idle()), announce)
        assert gc.get_freeze_count() > 10 * left[0]
    finally:
        gc.unfreeze()
