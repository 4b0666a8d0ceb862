"""Tasks that run until the server stops, each begun again when it fails. Watches nothing itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

_AGAIN_S = 1.0


class Watchers:
    """One server's. Lives on one event loop."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def keep(self, name: str, watcher: Callable[[], Awaitable[None]]) -> None:
        """Keep a watcher running: what it did not expect is logged, and it begins again."""

        async def watching() -> None:
            while True:
                try:
                    await watcher()
                except Exception as error:  # noqa: BLE001 - a watcher that ended without a word would never be missed
                    log.error("watching the %s failed (%s: %s) and goes on", name, type(error).__name__, error)
                await asyncio.sleep(_AGAIN_S)

        self._tasks.append(asyncio.create_task(watching(), name=f"foveal-{name}"))

    async def end(self) -> None:
        """End them. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
