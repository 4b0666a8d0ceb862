"""What a second way into a server needs to know of it, and what the server wants of it. Listens to nothing.

A door serves the same calls through the same boundary: tokens, shares of callers, budget, admission, metrics and audit trail
are those of gRPC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from foveal_runtime.access.watching import Watched
    from foveal_runtime.rpc.call import Boundary
    from foveal_runtime.rpc.certificates import ServerFiles
    from foveal_runtime.rpc.health_service import Health
    from foveal_runtime.rpc.traces import Traces
    from foveal_runtime.serving.config import ServeConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Inside:
    """The parts of a server behind a door."""

    config: ServeConfig
    boundary: Boundary
    """Around every call."""
    servicers: Mapping[str, Any]
    """Of each service, by its full name."""
    health: Health
    traces: Traces | None
    """Where calls have spans; None where none are sent."""
    certificate: Watched[ServerFiles] | None
    """TLS files as they were read last; None is plain text."""


class Door(Protocol):
    """A second way into a server. Lives on its event loop."""

    @property
    def address(self) -> str:
        """Where it listens, with the port that it got."""
        ...

    async def open(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address can't be listened on.
        """
        ...

    async def close(self) -> None:
        """Refuse new calls, wait for those in work, and end. Idempotent."""
        ...


OpenDoor = Callable[[Inside], Door]
