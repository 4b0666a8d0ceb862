"""Kill a server, and fill its disk, while callers grade: has every answer its record, and is the trail's chain whole?

    python benchmarks/audit_kills.py models/edge --kills 30 --full 30 --json benchmarks/results/audit_kills.json

*Kills* are SIGKILL of the server at random moments, which is started again at once. *Full disks* are a limit of the kernel on
the size of the server's files, a random number of bytes above what the trail has, so that a record ends in its middle; when
callers were refused the limit is lifted, and grading has to go on by itself. Every call has a request id of its own. In the end
each answer that a caller got is looked for in the trail: by its id, the photograph's hash, and its grade. Exit code 1 when one
is missing or differs, the chain is broken, or a torn record was left.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import os
import random
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc

from foveal_runtime._proto import screening_pb2, screening_pb2_grpc, study_pb2
from foveal_runtime.audit.chain import Place, read_trail
from foveal_runtime.audit.segments import segments
from foveal_runtime.cli.local_server import LocalServer, free_address
from foveal_runtime.client.channel import open_channel
from foveal_runtime.rpc.status import error_of_rpc
from runtime_load import report

PHOTOGRAPH = Path(__file__).resolve().parent.parent / "examples" / "photographs" / "grade-0.jpg"
_CALLERS = 8
_PATIENCE_S = 90.0
_PAUSE_S = 0.02


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--full", type=int, default=30)
    parser.add_argument("--photograph", type=Path, default=PHOTOGRAPH)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="foveal-audit-") as folder:
        found = measure(
            arguments.bundle,
            Path(folder) / "trail",
            arguments.photograph.read_bytes(),
            random.Random(arguments.seed),
            kills=arguments.kills,
            full=arguments.full,
        )
    report(
        {"date": datetime.date.today().isoformat(), "bundle": arguments.bundle.name, "seed": arguments.seed, **found},
        arguments.json,
    )
    return 0 if found["met"] else 1


def measure(bundle: Path, trail: Path, photograph: bytes, rng: random.Random, *, kills: int, full: int) -> dict[str, Any]:
    """Kill and fill so often, and compare what callers got with what the trail has."""
    address = free_address()
    flags = ("--workers", "1", "--address", address, "--audit", str(trail), "--allow-unverified", "--allow-untrained")
    callers = Callers(address, photograph)
    server = LocalServer(bundle, *flags, echo=None)
    server.__enter__()
    try:
        callers.start()
        for number in range(kills):
            callers.wait_for(3)
            print(f"kill {number + 1}, {len(callers.answers)} answers", file=sys.stderr)
            time.sleep(rng.uniform(0, 0.3))
            server.process.kill()
            server.process.wait()
            server.__exit__(None, None, None)
            server = LocalServer(bundle, *flags, echo=None)
            server.__enter__()
        for number in range(full):
            callers.wait_for(3)
            print(f"full disk {number + 1}, {len(callers.answers)} answers", file=sys.stderr)
            fill(server.process.pid, trail, rng)
            callers.wait_for_refusal()
            make_room(server.process.pid)
        callers.wait_for(3)
    finally:
        callers.stop()
        server.__exit__(None, None, None)
    found = compare(trail, callers.answers)
    return {
        "kills": kills,
        "full_disks": full,
        "refused_for_the_trail": callers.errors["AUDIT_UNAVAILABLE"],
        "load_average": round(os.getloadavg()[0], 1),
        "errors": dict(callers.errors),
        **found,
        "met": not (found["without_record"] or found["different"] or found["torn_bytes"]) and found["answers"] > 0,
    }


class Callers:
    """Grade numbered photographs, one call after the other in each of some threads; keep what was answered."""

    def __init__(self, address: str, photograph: bytes) -> None:
        self._address, self._photograph = address, photograph
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(_CALLERS)]
        self.answers: dict[str, tuple[str, int]] = {}
        """By request id: SHA-256 of the photograph, and its ICDR grade; -1 is no grade."""
        self.errors: Counter[str] = Counter()

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def _run(self, caller: int) -> None:
        with open_channel(self._address) as channel:
            stub = screening_pb2_grpc.ScreeningStub(channel)
            number = 0
            while not self._over.is_set():
                name = f"caller-{caller}.{number}"
                image = self._photograph + name.encode()  # what follows a JPEG's end changes no pixel
                request = screening_pb2.GradeRequest(studies=[study_pb2.Study(image=study_pb2.Image(encoded=image))])
                number += 1
                try:
                    (result,) = stub.Grade(request, timeout=30, metadata=(("x-request-id", name),)).results
                except grpc.RpcError as error:
                    self.errors[error_of_rpc(error, self._address).reason] += 1
                    self._over.wait(_PAUSE_S)
                    continue
                icdr = result.grade.graded.icdr - 10 if result.grade.HasField("graded") else -1
                self.answers[name] = hashlib.sha256(image).hexdigest(), icdr

    def wait_for(self, answers: int) -> None:
        """Until there are so many more."""
        wanted = len(self.answers) + answers
        self._until(lambda: len(self.answers) >= wanted, "answers")

    def wait_for_refusal(self) -> None:
        """Until one more call was refused since the trail can't be written."""
        before = self.errors["AUDIT_UNAVAILABLE"]
        self._until(lambda: self.errors["AUDIT_UNAVAILABLE"] > before, "a refusal")

    def _until(self, true: Any, what: str) -> None:
        end = time.monotonic() + _PATIENCE_S
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(f"{what} did not come within {_PATIENCE_S:g} s: {dict(self.errors)}")
            time.sleep(0.002)

    def stop(self) -> None:
        """End, once the calls that are under way have. Idempotent."""
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_PATIENCE_S)


def fill(pid: int, trail: Path, rng: random.Random) -> None:
    """Let no file of a process grow beyond what the trail's last one has, and some bytes of a record."""
    size = segments(trail)[-1].path.stat().st_size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + rng.randrange(1, 2000), resource.RLIM_INFINITY))


def make_room(pid: int) -> None:
    """Lift that."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def compare(trail: Path, answers: dict[str, tuple[str, int]]) -> dict[str, int]:
    """What of the answers the trail has not, or otherwise.

    Raises:
        CheckFailed: its chain is broken.
    """
    place, records = Place(), {}
    verdicts: Counter[str] = Counter()
    for record in read_trail(trail, place):
        verdicts[record["verdict"]] += 1
        if record["call"] == "Grade":
            icdr = record.get("icdr")
            records[record["request_id"]] = record["photograph"], -1 if icdr is None else icdr
    return {
        "answers": len(answers),
        "records": place.sequence,
        "starts": verdicts["started"],
        "interruptions": verdicts["interrupted"],
        "without_record": sum(name not in records for name in answers),
        "different": sum(name in records and records[name] != answer for name, answer in answers.items()),
        "records_nobody_waited_for": len(records.keys() - answers.keys()),
        "torn_bytes": place.torn_bytes,
    }


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
