"""Streams that are opened and send nothing, one study, or half of one: beside them a caller is let in, and memory stays."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from attacker import Attack, streams
from beside import ATTACKER, Peak, WellBehaved, until
from bundles import photograph
from http2 import message, open_call, send_as_allowed
from servers import RunningServer

from foveal_runtime.errors import OverloadedError
from foveal_runtime.rpc.budget import COPIES

MB = 1 << 20
CALLS = 16
"""That the server takes at once."""
LARGEST, MESSAGE, BUDGET = 8 * MB, 7 * MB, 16 * MB
SLACK = 40 * MB
"""What any load takes: connections, threads, and the heap's holes."""


@pytest.mark.parametrize("messages", [pytest.param(0, marks=pytest.mark.slow), 1])
@pytest.mark.parametrize("guarded", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_idle_streams_leave_calls_to_others(bundle_path: Path, tmp_path: Path, messages: int, guarded: bool) -> None:
    of_one = "" if guarded else f"max_calls_per_caller = {CALLS}"
    config = f"cache_entries = 0\nmax_calls = {CALLS}\n{of_one}"
    with RunningServer(bundle_path, config=config, folder=tmp_path) as server:
        caller = WellBehaved(server.address, photograph(1))
        with Attack(
            "idle", server.address, connections=2 * CALLS, size_bytes=20_000, messages=messages, elsewhere=True
        ) as attack:
            server.wait_for("GradeStream OverloadedError", 20)  # as many as may be are open
            with caller, Peak(server.process.pid) as peak:
                if guarded:
                    until(lambda: len(caller.waits.seconds) >= 20)
                else:
                    until(lambda: bool(caller.waits.errors))
            assert attack.running
        assert server.health() == "SERVING"
        assert bool(caller.waits.errors) is not guarded
        assert all(isinstance(error, OverloadedError) for error in caller.waits.errors)
        assert peak.bytes <= SLACK


@pytest.mark.parametrize("guarded", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_halves_of_messages_stay_within_the_budget(bundle_path: Path, tmp_path: Path, guarded: bool) -> None:
    config = f"cache_entries = 0\nmax_message_bytes = {LARGEST}\nmax_received_bytes = {BUDGET if guarded else 1 << 40}"
    (study,) = streams(MESSAGE, 1)
    half = message(study)[: -(1 << 10)]
    with RunningServer(bundle_path, config=config, folder=tmp_path) as server, Peak(server.process.pid) as peak:
        caller = WellBehaved(server.address, photograph(1))
        with contextlib.ExitStack() as open_streams, caller:
            sent = [0] * CALLS
            for i in range(CALLS):
                connection = open_streams.enter_context(_stream(server.address))
                sent[i] = send_as_allowed(connection, half, seconds=0.5)
            until(lambda: len(caller.waits.seconds) >= 20)
            assert (sum(sent) <= BUDGET) is guarded
        assert server.health() == "SERVING"
        assert not caller.waits.errors
        assert (peak.bytes <= COPIES * BUDGET + SLACK) is guarded, f"{peak.bytes / MB:.0f} MB"


def _stream(address: str) -> socket.socket:
    return open_call(address, "/foveal.v1.Screening/GradeStream", source=ATTACKER)
