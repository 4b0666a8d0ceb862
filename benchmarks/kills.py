"""Kill a server's processes while a caller writes to its archive: is anything acknowledged lost, and when do writes go on?

    python benchmarks/kills.py models/edge --kills 20 --json benchmarks/results/kills.json

Each kind of process is killed so often by SIGKILL at random moments: a *worker*, the whole *server* (started again at once, as
a service manager would), PostgreSQL's *postmaster*, and one *backend*, over which PostgreSQL ends all others and recovers. The
writes are photographs to embed while workers are killed, else vectors. *Back* is from the kill to the end of the first write
that began after it and was acknowledged. In the end every acknowledged id is read again. Exit code 1 when one is missing, an
entry is doubled or changed, or a time is above its bound.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from foveal_runtime._proto import archive_pb2, screening_pb2, study_pb2
from foveal_runtime.cli.local_server import LocalServer, free_address
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.errors import FovealError
from processes import children
from runtime_load import report

PHOTOGRAPH = Path(__file__).resolve().parent.parent / "examples" / "photographs" / "grade-0.jpg"
_ENTRIES = 3
"""Of one write: all are stored, or none."""
_AT_ONCE = 100
_PATIENCE_S = 60.0
_PAUSE_S = 0.01


class Victim(Enum):
    """What is killed."""

    WORKER = "worker"
    SERVER = "server"
    POSTMASTER = "postmaster"
    BACKEND = "backend"


BACK_S = {Victim.WORKER: 2.0, Victim.SERVER: 3.0, Victim.POSTMASTER: 8.0, Victim.BACKEND: 8.0}
"""Most seconds until writes go on."""


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kills", type=int, default=20, help="of each kind")
    parser.add_argument("--only", choices=[victim.value for victim in Victim], action="append")
    parser.add_argument("--photograph", type=Path, default=PHOTOGRAPH)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    victims = [victim for victim in Victim if arguments.only is None or victim.value in arguments.only]
    found: dict[str, Any] = {"date": datetime.date.today().isoformat(), "bundle": arguments.bundle.name, "seed": arguments.seed}
    with _open_folder() as folder:
        for victim in victims:
            found[victim.value] = measure(
                arguments.bundle,
                folder / victim.value,
                victim,
                arguments.kills,
                arguments.photograph.read_bytes(),
                random.Random(arguments.seed),
            )
            print(victim.value, json.dumps(found[victim.value]), file=sys.stderr)
    report(found, arguments.json)
    return 0 if all(found[victim.value]["met"] for victim in victims) else 1


@contextlib.contextmanager
def _open_folder() -> Iterator[Path]:
    """A folder on the disk that PostgreSQL's own user can enter, when this runs as root."""
    with tempfile.TemporaryDirectory(prefix="foveal-kills-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def measure(bundle: Path, store: Path, victim: Victim, kills: int, photograph: bytes, rng: random.Random) -> dict[str, Any]:
    """Kill so often, count what is left.

    Returns:
        Of the kind: `back_s` (median, most), what was acknowledged, lost, doubled and changed, errors that the writer saw, and
        whether all bounds are `met`.
    """
    address = free_address()
    flags = ("--store", str(store), "--workers", "1", "--address", address)
    writer = Writer(address, photograph if victim is Victim.WORKER else None)
    back_s: list[float] = []
    server = LocalServer(bundle, *flags)
    server.__enter__()
    try:
        writer.start(_PATIENCE_S)
        for _ in range(kills):
            writer.wait_for(3, _PATIENCE_S)
            time.sleep(rng.uniform(0, 0.3))
            killed = kill(server, victim, rng)
            if victim is Victim.SERVER:
                server.process.wait()
                server.__exit__(None, None, None)
                server = LocalServer(bundle, *flags)
                server.__enter__()
            back_s.append(writer.acknowledged_after(killed, _PATIENCE_S) - killed)
        writer.stop()
        left = count(address, writer)
    finally:
        writer.stop()
        server.__exit__(None, None, None)
    most = max(back_s)
    return {
        "kills": kills,
        "back_s": {"median": round(statistics.median(back_s), 2), "most": round(most, 2), "bound": BACK_S[victim]},
        "load_average": round(os.getloadavg()[0], 1),
        "acknowledged_entries": len(writer.acknowledged) * _ENTRIES,
        **left,
        "errors": dict(writer.errors),
        "met": not (left["lost"] or left["doubled"] or left["changed"]) and most <= BACK_S[victim],
    }


class Writer:
    """Writes numbered entries, one request after the other, for as long as it runs; notes when each write was acknowledged."""

    def __init__(self, address: str, photograph: bytes | None) -> None:
        """Args:
        address: of the server.
        photograph: that each entry is made of, with other bytes behind its end; None writes vectors.
        """
        self._client = Client(address, ClientOptions(timeout_s=20, retry_s=0))
        self._photograph = photograph
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._space = ""
        self.acknowledged: list[tuple[int, float, float]] = []
        """Number of the write, when it began and when it was acknowledged."""
        self.errors: Counter[str] = Counter()

    def start(self, within_s: float) -> None:
        """Begin."""
        self._space = self._client.model().model.space_id
        self._thread.start()
        self.wait_for(1, within_s)

    def _run(self) -> None:
        number = 0
        while not self._over.is_set():
            began = time.monotonic()
            request = archive_pb2.UpsertRequest(entries=self.entries(number), space_id=self._space)
            try:
                results = self._client.upsert(request).results
                stored = all(result.HasField("stored") for result in results)
                self.errors.update(screening_error(result) for result in results if not result.HasField("stored"))
            except FovealError as error:
                self.errors[type(error).__name__] += 1
                stored = False
            if stored:
                self.acknowledged.append((number, began, time.monotonic()))
                number += 1
            elif self._over.wait(_PAUSE_S):
                return

    def entries(self, number: int) -> list[archive_pb2.Entry]:
        """Of a write: all follows from its number."""
        return [self._entry(number, i) for i in range(_ENTRIES)]

    def _entry(self, number: int, i: int) -> archive_pb2.Entry:
        facts = archive_pb2.Facts(id=f"{number}-{i}", attributes={"write": str(number)})
        if self._photograph is None:
            return archive_pb2.Entry(facts=facts, vectors=archive_pb2.VectorSet(vectors=[vector_of(number, i)]))
        # What follows a JPEG's end changes no pixel, and no kept answer is given again.
        image = study_pb2.Image(encoded=self._photograph + f"{number}-{i}".encode())
        return archive_pb2.Entry(facts=facts, study=study_pb2.Study(image=image))

    def wait_for(self, writes: int, within_s: float) -> None:
        """Until so many more are acknowledged."""
        wanted = len(self.acknowledged) + writes
        self._until(lambda: len(self.acknowledged) >= wanted, within_s)

    def acknowledged_after(self, moment: float, within_s: float) -> float:
        """When the first write that began after a moment was acknowledged."""
        self._until(lambda: any(began > moment for _, began, _ in self.acknowledged[-20:]), within_s)
        return next(ended for _, began, ended in self.acknowledged if began > moment)

    def _until(self, true: Callable[[], bool], within_s: float) -> None:
        end = time.monotonic() + within_s
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(f"writes did not go on within {within_s:g} s: {dict(self.errors)}")
            time.sleep(0.002)

    def stop(self) -> None:
        """End, once the write that is under way has. Idempotent."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)
        self._client.close()


def screening_error(result: archive_pb2.UpsertResult) -> str:
    """Name of the error of one entry."""
    from foveal_runtime.rpc.status import error_of

    return type(error_of(result.error)).__name__


def vector_of(number: int, i: int) -> screening_pb2.Vector:
    """A unit vector that follows from its numbers."""
    values = np.random.default_rng((number, i)).normal(size=256)
    values /= np.linalg.norm(values)
    return screening_pb2.Vector(kind="VECTOR_KIND_IMAGE", values=values.astype(np.float32).tolist())


def kill(server: LocalServer, victim: Victim, rng: random.Random) -> float:
    """End one process of this kind by SIGKILL. Returns when."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        pids = victims(server.process.pid, victim)
        if pids:
            with contextlib.suppress(ProcessLookupError):
                killed = time.monotonic()
                os.kill(rng.choice(pids), signal.SIGKILL)
                return killed
        time.sleep(0.005)
    raise TimeoutError(f"no {victim.value} runs")


def victims(server: int, victim: Victim) -> list[int]:
    """Processes of a server that are of this kind."""
    if victim is Victim.SERVER:
        return [server]
    if victim is Victim.WORKER:
        return [pid for pid in children(server) if b"foveal_runtime.serving.worker" in command(pid)]
    postmasters = [pid for pid in children(server) if command(pid).partition(b"\0")[0].endswith(b"/postgres")]
    if victim is Victim.POSTMASTER:
        return postmasters
    # A process that serves a connection is called by its role and database.
    return [pid for postmaster in postmasters for pid in children(postmaster) if b" foveal [local]" in command(pid)]


def command(pid: int) -> bytes:
    """Of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def count(address: str, writer: Writer) -> dict[str, int]:
    """What of the acknowledged entries is missing or changed, and how many entries there are beside them.

    The last write may be there whole although its answer never came.
    """
    lost = changed = 0
    with Client(address, ClientOptions(timeout_s=60)) as client:
        for at in range(0, len(writer.acknowledged), _AT_ONCE):
            numbers = [number for number, _, _ in writer.acknowledged[at : at + _AT_ONCE]]
            ids = [f"{number}-{i}" for number in numbers for i in range(_ENTRIES)]
            found = {e.facts.id: e for e in client.get(archive_pb2.GetRequest(ids=ids)).entries}
            lost += len(ids) - len(found)
            changed += sum(e.facts.attributes["write"] != e.facts.id.partition("-")[0] for e in found.values())
        others = client.stats().entries - len(writer.acknowledged) * _ENTRIES + lost
    return {"lost": lost, "changed": changed, "doubled": 0 if others in (0, _ENTRIES) else others}


if __name__ == "__main__":
    raise SystemExit(main())
