"""What a server and its worker process say to each other: jobs one way, how they go the other way. Sends nothing.

Each message travels with the number of its job; a job's answer is a message of its own kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Ask
    from foveal_runtime.study.study import Study


@dataclass(frozen=True, slots=True)
class RunJob:
    """Studies to run together."""

    studies: tuple[Study, ...]
    asks: tuple[Ask, ...]


@dataclass(frozen=True, slots=True)
class SelfTestJob:
    """Replay the golden studies."""


@dataclass(frozen=True, slots=True)
class Started:
    """Work on the job begins, or another part of it: what it takes from here on is its own."""

    also: tuple[int, ...] = ()
    """Numbers of other jobs whose studies go through the graphs in the same call: when it hangs, they hang with it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing of the job is in work: what it takes until it is started again is that of others."""
