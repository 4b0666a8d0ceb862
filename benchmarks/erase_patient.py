"""Erase a patient of 1,000 entries among 100,000 through a real server that is killed half way, and count what is left.

    python benchmarks/erase_patient.py models/edge --entries 100000 --mine 1000 --json benchmarks/results/erase_patient.json

The first DeleteByFilter is ended by kill -9 of the server as soon as part of the patient is gone; a new server goes on. Exit
code 1 when anything of the patient is left, or anything else is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from foveal_runtime._proto import archive_pb2, screening_pb2
from foveal_runtime.cli.local_server import LocalServer
from foveal_runtime.client import Client
from foveal_runtime.errors import FovealError

PATIENT = "patient-to-erase"
_AT_ONCE = 250
_DIMENSIONS = 12
"""Of the vectors' own, about those of a model's (docs/results.md, "The archive"): an index of white noise is slow to build."""
MINE = archive_pb2.Filter(fact=archive_pb2.FactIn(fact="FACT_PATIENT", values=[PATIENT]))


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--mine", type=int, default=1_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="foveal-erase-", dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user when this does as root
        found = measure(arguments.bundle, Path(folder) / "store", arguments.entries, arguments.mine)
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if arguments.json is not None:
        arguments.json.write_text(text, encoding="utf-8")
    return 0 if found["left_of_the_patient"] == 0 and found["others_lost"] == 0 else 1


def measure(bundle: Path, store: Path, entries: int, mine: int) -> dict[str, Any]:
    """Load, erase, kill, erase again, count."""
    flags = ("--store", str(store))
    with LocalServer(bundle, *flags) as server, Client(server.address) as client:
        load(client, entries, mine)
        counted = erase(client, dry_run=True).entries
    gone_at_kill, killed_in = -1, 0
    while gone_at_kill in (-1, 0):  # a kill before the first hundred are gone shows nothing
        killed_in += 1
        with LocalServer(bundle, *flags) as server, Client(server.address) as client:
            gone_at_kill = mine - kill_half_way(server, client, mine)
        if gone_at_kill == mine:
            break
    with LocalServer(bundle, *flags) as server, Client(server.address) as client:
        left_after_kill = erase(client, dry_run=True).entries
        began = time.monotonic()
        erased = erase(client, dry_run=False).entries
        again_s = time.monotonic() - began
        left = erase(client, dry_run=True).entries
        everybody = client.stats().entries
    return {
        "date": datetime.date.today().isoformat(),
        "entries": entries,
        "of_the_patient": counted,
        "attempts_until_killed_half_way": killed_in,
        "left_when_killed": left_after_kill,
        "erased_by_the_second_call": erased,
        "second_call_s": round(again_s, 3),
        "left_of_the_patient": left,
        "others_lost": entries - mine - everybody,
    }


def load(client: Client, entries: int, mine: int) -> None:
    """Store vectors of both kinds; the patient's lie scattered among the others."""
    space = client.model().model.space_id
    generator = np.random.default_rng(0)
    axes = generator.normal(size=(_DIMENSIONS, 256))
    chosen = set(random.Random(0).sample(range(entries), mine))

    def one(number: int) -> archive_pb2.Entry:
        values = generator.normal(size=(2, _DIMENSIONS)) @ axes
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        vectors = [
            screening_pb2.Vector(kind=kind, values=each)
            for kind, each in zip(("VECTOR_KIND_IMAGE", "VECTOR_KIND_JOINT"), values, strict=True)
        ]
        patient = PATIENT if number in chosen else f"patient-{number // 4}"
        facts = archive_pb2.Facts(id=f"{number:09d}", patient=patient)
        return archive_pb2.Entry(facts=facts, vectors=archive_pb2.VectorSet(vectors=vectors))

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("storing", total=entries)
        for start in range(0, entries, _AT_ONCE):
            batch = [one(number) for number in range(start, min(entries, start + _AT_ONCE))]
            results = client.upsert(archive_pb2.UpsertRequest(entries=batch, space_id=space)).results
            assert all(each.HasField("stored") for each in results)
            progress.advance(task, len(batch))


def erase(client: Client, *, dry_run: bool) -> archive_pb2.DeleteByFilterResponse:
    """All of the patient."""
    return client.delete_by_filter(archive_pb2.DeleteByFilterRequest(filter=MINE, dry_run=dry_run))


def kill_half_way(server: LocalServer, client: Client, mine: int) -> int:
    """Begin to erase and kill the server; entries of the patient that were there a moment before, as last counted."""

    def begin() -> None:
        with contextlib.suppress(FovealError):
            erase(client, dry_run=False)

    left = mine
    erasing = threading.Thread(target=begin)
    erasing.start()
    with contextlib.suppress(FovealError):
        while erasing.is_alive() and left == mine:
            left = erase(client, dry_run=True).entries
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(30)
    erasing.join(60)
    return left


if __name__ == "__main__":
    raise SystemExit(main())
