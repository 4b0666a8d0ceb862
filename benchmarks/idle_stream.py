"""A GradeStream that is silent for minutes: does it live, and does it then still answer a study?

    python benchmarks/idle_stream.py models/edge --minutes 10 --json OUT.json      # starts a server of its own
    python benchmarks/idle_stream.py 127.0.0.1:50051 --minutes 10

A study before the silence and one after it, on one stream. Exit code 1 when the second is not answered. gRPC's own server ends
such a stream after four minutes of a client's pings ("too_many_pings").
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foveal_runtime.cli.local_server import LocalServer
from foveal_runtime.client import Client
from foveal_runtime.errors import FovealError
from foveal_runtime.rpc.keepalive import KEEPALIVE
from foveal_runtime.study.study import Study

PHOTOGRAPH = Path(__file__).resolve().parent.parent / "examples" / "photographs" / "grade-0.jpg"


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", help="HOST:PORT, or a bundle to serve")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--photograph", type=Path, default=PHOTOGRAPH)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with _address(arguments.server) as address:
        found = measure(address, arguments.photograph.read_bytes(), arguments.minutes)
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if arguments.json is not None:
        arguments.json.write_text(text, encoding="utf-8")
    return 0 if found["alive"] else 1


@contextlib.contextmanager
def _address(server: str) -> Iterator[str]:
    if not Path(server).is_dir():
        yield server
        return
    with LocalServer(Path(server)) as own:
        yield own.address


def measure(address: str, photograph: bytes, minutes: float) -> dict[str, Any]:
    """Ask, be silent, and ask again on the same stream.

    Returns:
        `alive`, the seconds until the stream ended or the second answer came, and what ended it.
    """
    waiting: queue.Queue[Study | None] = queue.Queue()
    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "silent_minutes": minutes,
        "client_pings_every_s": KEEPALIVE.every_s,
        "server_bears_every_s": KEEPALIVE.least_pause_s,
    }
    with Client(address) as client:
        results = client.grade_stream(iter(waiting.get, None))
        begin = time.monotonic()
        try:
            waiting.put(Study(id="before", image=photograph))
            found["before"] = next(results).WhichOneof("outcome")
            time.sleep(60 * minutes)
            asked = time.monotonic()
            waiting.put(Study(id="after", image=photograph[:-2] + b"\x00\xff\xd9"))  # other bytes: not from the cache
            found["after"] = next(results).WhichOneof("outcome")
            found["answered_in_s"] = round(time.monotonic() - asked, 3)
            found["alive"] = found["after"] == "grade"
        except FovealError as error:
            found |= {"alive": False, "ended": f"{type(error).__name__}: {error}"}
        finally:
            waiting.put(None)
        found["seconds"] = round(time.monotonic() - begin, 1)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
