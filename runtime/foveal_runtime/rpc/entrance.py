"""How a server is reached and by whom: its address, its certificate and the file of tokens, both read again when they change.

Serves no call: `access` asks each one, and what is read here is where it looks.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from foveal_runtime.access.tokenfile import read_tokens
from foveal_runtime.access.watching import Watched
from foveal_runtime.errors import ConfigError
from foveal_runtime.rpc.access import Gate
from foveal_runtime.rpc.address import check_free
from foveal_runtime.rpc.certificates import server_credentials, watched_files
from foveal_runtime.rpc.metrics import Figure, metric

if TYPE_CHECKING:
    from foveal_runtime.access.tokens import Tokens
    from foveal_runtime.rpc.certificates import ServerFiles
    from foveal_runtime.serving.config import ServeConfig

log = logging.getLogger(__name__)
LOOK_EVERY_S = 0.5
"""Files that changed are read when two looks find them the same: within a second."""

CURRENT = Figure(
    "foveal_files_current", "gauge",
    "1 where `certificate` or `tokens` is in use as its files are now, 0 where they can't be used and the last good ones are.",
    ("of",),
)  # fmt: skip
DAYS = Figure("foveal_certificate_days_left", "gauge", "Days until the server's certificate expires; below 0 when it has.")
VALID = Figure("foveal_tokens", "gauge", "Rows of the file of tokens, by whether their time is over.", ("state",))
FIGURES = (CURRENT, DAYS, VALID)


class Entrance:
    """Of one server."""

    def __init__(self, config: ServeConfig, refused: Callable[[str], None] = lambda reason: None) -> None:
        """Args:
        config: of the server.
        refused: told the reason of every call that is not let in.

        Raises:
            ConfigError: a file can't be used.
        """
        self._address = config.address
        self._tokens: Watched[Tokens] | None = None
        self._certificate: Watched[ServerFiles] | None = None
        self.gate: Gate | None = None
        """Who may make which call; None where everybody may make all."""
        if config.tls_cert is not None and config.tls_key is not None:
            self._certificate = watched_files(config.tls_cert, config.tls_key, config.client_ca)
        if config.tokens is not None:
            path = config.tokens
            self._tokens = tokens = Watched("tokens", (path,), lambda: read_tokens(path))
            self.gate = Gate(lambda: tokens.value, refused)
        elif config.client_ca is None:
            for address in config.reached:
                log.warning("everybody who reaches %s may grade, search, write and administer; see --tokens", address)

    def bind(self, server: Any) -> str:
        """Have a gRPC server listen. Where it listens; with port 0, the port it got.

        Raises:
            ConfigError: the address can't be listened on.
        """
        address = self._address
        host, _, port = address.rpartition(":")
        is_socket = address.startswith("unix:")
        if not is_socket:
            check_free(host.strip("[]"), int(port))
        try:
            if self._certificate is not None:
                bound = server.add_secure_port(address, server_credentials(self._certificate))
            else:
                bound = server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigError(f"can't listen on {address} ({error}); choose another with --address HOST:PORT") from None
        return address if is_socket else f"{host}:{bound}"

    @property
    def certificate(self) -> Watched[ServerFiles] | None:
        """TLS files as they were read last; None is plain text."""
        return self._certificate

    async def watch(self) -> None:
        """Read what has changed, for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self, *, at_once: bool = False) -> None:
        """Read what has changed.

        Args:
            at_once: also what changed this moment.
        """
        for each in self._watched.values():
            await asyncio.to_thread(each.look, at_once=at_once)

    @property
    def _watched(self) -> dict[str, Watched[Any]]:
        both = {"certificate": self._certificate, "tokens": self._tokens}
        return {name: each for name, each in both.items() if each is not None}

    def describe(self) -> list[Any]:
        """Nothing: names are known."""
        return []

    def collect(self) -> Iterator[Any]:
        """Its figures, as Prometheus asks for them."""
        now = datetime.datetime.now(datetime.UTC)
        yield metric(CURRENT, {(name,): each.is_current for name, each in self._watched.items()})
        if self._certificate is not None:
            yield metric(DAYS, {(): self._certificate.value.days_left(now)})
        if self._tokens is not None:
            over = sum(now >= row.expires for row in self._tokens.value.rows)
            yield metric(VALID, {("valid",): len(self._tokens.value.rows) - over, ("expired",): over})
