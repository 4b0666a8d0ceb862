"""The HTTP door of a server: application and listener put together. `foveal serve --http` opens it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from foveal_runtime.http.app import make_app
from foveal_runtime.http.listening import Listener
from foveal_runtime.http.multipart import LOGGER

if TYPE_CHECKING:
    from foveal_runtime.rpc.doors import Inside


class HttpDoor:
    """Serves over HTTP what a server serves over gRPC. Lives on the server's event loop."""

    def __init__(self, inside: Inside) -> None:
        """Args:
        inside: of the server, whose configuration names an address for HTTP.
        """
        config = inside.config
        logging.getLogger(LOGGER).setLevel(logging.CRITICAL)
        self._listener = Listener(
            make_app(inside),
            config.http,
            inside.certificate,
            connections=2 * config.max_calls,
            drain_s=config.drain_s,
        )

    @property
    def address(self) -> str:
        """Where it listens, with the port that it got."""
        return self._listener.address

    async def open(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address can't be listened on.
        """
        await self._listener.open()

    async def close(self) -> None:
        """Refuse new connections, wait for requests in work, and end. Idempotent."""
        await self._listener.close()
