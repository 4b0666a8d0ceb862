"""A server that is killed, or whose disk is full, while callers grade: no answer without its record, and the chain is whole."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import photograph
from servers import RunningServer

from foveal_runtime._proto import admin_pb2
from foveal_runtime.audit.chain import read_trail
from foveal_runtime.client import Client
from foveal_runtime.errors import AuditError
from foveal_runtime.rpc.status import error_of
from foveal_runtime.study.study import Study

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from audit_kills import measure


@pytest.mark.parametrize(("kills", "full"), [(2, 2), pytest.param(30, 30, marks=pytest.mark.slow)])
def test_no_answer_leaves_without_its_record(bundle_path: Path, tmp_path: Path, kills: int, full: int) -> None:
    found = measure(bundle_path, tmp_path / "trail", photograph(1), random.Random(1), kills=kills, full=full)
    assert found["without_record"] == found["different"] == found["torn_bytes"] == 0
    assert found["starts"] == kills + 1
    assert found["interruptions"] >= full
    assert found["answers"] >= 3 * (kills + full)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_file_system_refuses_by_name_and_grading_comes_back(bundle_path: Path, small_disk: Path) -> None:
    trail, rest = small_disk / "trail", small_disk / "rest"
    flags = ("--audit", str(trail), "--metrics", "127.0.0.1:0")
    with RunningServer(bundle_path, *flags) as server, server.client(retry_s=0) as client:
        client.grade([Study(image=photograph(1))])
        fill_up(rest)
        refused = refused_by_name(client, itertools.count())
        assert "No space left" in str(refused)
        assert refused.retry_after_s > 0
        server.wait_for("can't be written (No space left")
        assert server.health() == "NOT_SERVING"
        assert client.status().screening == admin_pb2.SERVING_STATE_NOT_SERVING
        assert "audit trail" in client.status().reason
        assert "foveal_audit_up 0.0" in metrics(server)
        with pytest.raises(AuditError):
            client.embed([Study(image=photograph(1))])
        (result,) = client.grade_stream([Study(image=photograph(1))])
        assert isinstance(error_of(result.error), AuditError)
        rest.unlink()
        server.wait_for("can be written again", 20)
        client.grade([Study(image=photograph(1))])
        assert server.health() == "SERVING"
        assert "foveal_audit_up 1.0" in metrics(server)
    verdicts = [record["verdict"] for record in read_trail(trail)]
    assert "interrupted" in verdicts
    assert verdicts[-1] == "stopped"


def fill_up(file: Path) -> None:
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(512))
        except OSError:
            return


def metrics(server: RunningServer) -> str:
    address = next(line.split()[-1] for line in server.lines if "metrics on " in line)
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def refused_by_name(client: Client, seeds: Iterator[int]) -> AuditError:
    """Grade until the trail's file is full: what it has of its last block is still its own."""
    for _ in range(100):
        try:
            client.grade([Study(image=photograph(1) + bytes([next(seeds)]))])
        except AuditError as refused:
            return refused
    raise AssertionError("a full disk took a hundred records")
