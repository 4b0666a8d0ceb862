"""Large uploads over HTTP behind a worker that stands still: memory stays within the budget, and health is answered."""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path

import httpx
import pytest
from beside import Peak
from servers import RunningServer

from foveal_runtime.rpc.budget import COPIES

pytest.importorskip("starlette")
MB = 1 << 20
LARGEST, BUDGET, CALLERS = 8 * MB, 32 * MB, 20
SLACK = 60 * MB
"""What any load takes: connections, threads, and the heap's holes."""
RAW = b"\xff\xd8" + b"x" * (7 * MB)
BODIES = {
    "image/jpeg": RAW,
    "application/json": json.dumps(
        {"studies": [{"image": {"encoded": base64.b64encode(RAW[: 5 * MB // 2]).decode()}}]}
    ).encode(),
}


def upload(url: str, kind: str, stop: threading.Event) -> None:
    """Send it again and again, whatever is answered."""
    with httpx.Client(timeout=3) as client:
        while not stop.is_set():
            try:
                client.post(f"{url}/v1/grade", content=BODIES[kind], headers={"content-type": kind})
            except httpx.TransportError:
                continue


@pytest.mark.parametrize(
    ("kind", "guarded"),
    [("image/jpeg", True), ("application/json", True), pytest.param("image/jpeg", False, marks=pytest.mark.slow)],
)
def test_what_is_unanswered_stays_within_the_budget(bundle_path: Path, tmp_path: Path, kind: str, guarded: bool) -> None:
    budget = BUDGET if guarded else 1 << 40
    config = f"cache_entries = 0\nmax_message_bytes = {LARGEST}\nmax_received_bytes = {budget}\n"
    with (
        RunningServer(bundle_path, "--http", "127.0.0.1:0", config=config, folder=tmp_path) as server,
        server.stopped_worker(),
        Peak(server.process.pid) as peak,
    ):
        stop = threading.Event()
        callers = [threading.Thread(target=upload, args=(server.http, kind, stop)) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert httpx.get(f"{server.http}/healthz", timeout=30).status_code == 200
            assert server.health() == "SERVING"
            time.sleep(0.1)
        stop.set()
        for caller in callers:
            caller.join()
    assert (peak.bytes <= COPIES * BUDGET + SLACK) is guarded, f"{peak.bytes / MB:.0f} MB"
