"""What a peer is started with. Both the benchmark and a peer's own process read it, so it imports nothing but Python's own."""

from __future__ import annotations

import os
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("triton", "bentoml", "litserve", "ray")
"""Folders beside this file: config.toml, requirements.txt, and what the server loads."""
_VARIABLE = "FOVEAL_PEER_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Of one server, whichever."""

    bundle: str
    """Folder of the bundle."""
    port: int
    """Of loopback, to listen on."""
    workers: int
    """Processes that decode and run graphs, one a core."""
    batch: int
    """Requests in a batch at most."""
    batch_wait_ms: float
    """A batch waits so long for company at most."""
    queue_wait_ms: float
    """What has waited longer than this is refused, by servers that can."""
    queued: int
    """Requests that may wait, of servers that can limit that."""
    deadline_ms: float
    """Callers leave after it."""

    def environment(self) -> dict[str, str]:
        """As variables of a process."""
        return {_VARIABLE + name.upper(): str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_environment(cls) -> Settings:
        """What `environment` wrote.

        Raises:
            KeyError: a variable is missing; the server was not started by the benchmark.
        """
        kinds = {"str": str, "int": int, "float": float}
        given = {each.name: kinds[str(each.type)](os.environ[_VARIABLE + each.name.upper()]) for each in fields(cls)}
        return cls(**given)


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """A peer's config.toml: how its documentation says to serve such a model."""

    package: str
    """The distribution whose version counts."""
    protocol: str
    """How it is asked, in words."""
    batch: int
    """Requests in a batch at most."""
    batch_wait_ms: float
    """A batch waits so long for company at most."""
    documentation: tuple[str, ...]
    """Pages that the settings come from."""

    @classmethod
    def read(cls, name: str) -> Advice:
        """Of a peer of `NAMES`."""
        document = tomllib.loads((HERE / name / "config.toml").read_text(encoding="utf-8"))
        return cls(**{**document, "documentation": tuple(document["documentation"])})
