"""Callers who send all they have, beside one who asks for a photograph at a time: it is let in, and waits little longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attacker import Attack
from beside import Waits, WellBehaved
from bundles import photograph
from servers import RunningServer

MOST = 3.0
"""Times its wait in calm, at the 99th percentile."""
ATTEMPTS = 3
"""The machine may be busy with something else: an attack that is borne once is borne."""


@pytest.fixture(scope="module")
def server(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server")
    with RunningServer(bundle_path, "--workers", "2", config="cache_entries = 0", folder=folder) as running:
        yield running


def beside(
    server: RunningServer, kind: str, connections: int, messages: int, *, elsewhere: bool, size_bytes: int = 20_000
) -> tuple[Waits, float]:
    """What a well-behaved caller sees beside an attack all of which is answered, and its p99 as a ratio to that in calm."""
    caller = WellBehaved(server.address, photograph(1))
    calm = caller.calm()
    with (
        Attack(
            kind, server.address, connections=connections, size_bytes=size_bytes, messages=messages, elsewhere=elsewhere
        ) as attack,
        caller,
    ):
        counted = attack.finish()
    assert counted == {"answered": connections * messages}
    assert server.health() == "SERVING"
    assert not caller.waits.errors
    return caller.waits, caller.waits.p99_s / calm.p99_s


def least(
    server: RunningServer, kind: str, connections: int, messages: int, *, elsewhere: bool, size_bytes: int = 20_000
) -> float:
    """The least ratio of a few attempts."""
    ratios: list[float] = []
    while len(ratios) < ATTEMPTS and (not ratios or min(ratios) > MOST):
        ratios.append(beside(server, kind, connections, messages, elsewhere=elsewhere, size_bytes=size_bytes)[1])
    return min(ratios)


@pytest.mark.slow  # measures time, which a busy machine has none of
def test_twelve_streams_of_the_same_machine_hold_nobody_up(server: RunningServer) -> None:
    assert least(server, "streams", 12, 30, elsewhere=False) <= MOST


@pytest.mark.slow  # measures time, which a busy machine has none of
def test_sixty_four_connections_of_another_machine_hold_nobody_up(server: RunningServer) -> None:
    assert least(server, "calls", 64, 8, elsewhere=True) <= MOST


@pytest.mark.slow  # measures time, which a busy machine has none of
def test_two_streams_of_messages_of_55_mb_hold_nobody_up(server: RunningServer) -> None:
    assert least(server, "streams", 2, 24, elsewhere=True, size_bytes=55_000_000) <= MOST


@pytest.mark.slow  # measures time, which a busy machine has none of
def test_they_would_if_they_had_no_share_of_their_own(server: RunningServer) -> None:
    """The twin: as many calls of the same machine are of one share with the caller's, which waits behind them."""
    assert beside(server, "calls", 64, 8, elsewhere=False)[1] > MOST
