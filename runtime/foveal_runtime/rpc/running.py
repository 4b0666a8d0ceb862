"""A server as a process: it serves until a signal ends it, and loads its bundle again at another. Serves nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from foveal_runtime.lifecycle import Event, tell
from foveal_runtime.serving import oom
from foveal_runtime.serving.memory import few_arenas, keep_freed, leave_loaded

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.rpc.server import Server


async def run(server: Server, announce: Callable[[Server, Bundle], None]) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP loads the bundle again.

    Args:
        server: not started.
        announce: called once the server is SERVING.
    """
    few_arenas()
    keep_freed()
    oom.sooner(oom.SERVER)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    starting = asyncio.create_task(server.start())
    waiting = asyncio.create_task(stopping.wait())
    reloads: set[asyncio.Task[None]] = set()

    async def reload_once_serving() -> None:
        await asyncio.wait((starting,))
        if not starting.cancelled() and starting.exception() is None:
            await server.reload()

    def reload_soon() -> None:
        task = asyncio.create_task(reload_once_serving())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload_soon)  # before the start: by default it ends the process
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return
        bundle = starting.result()
        leave_loaded()
        announce(server, bundle)
        await waiting
        tell(Event.STOPPING, "stopping: finishing what was accepted")
        await server.stop()
        tell(Event.STOPPED, "stopped")
    finally:
        waiting.cancel()
