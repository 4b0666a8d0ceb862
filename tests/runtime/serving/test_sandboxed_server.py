"""A server whose workers are sandboxed serves as one whose workers are not, and says how far they are."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import photograph
from servers import RunningServer

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.compiled import FOLDER, INDEX, entry_folder
from foveal_runtime.engine.compiler import compile_bundle
from foveal_runtime.engine.providers import Provider
from foveal_runtime.sandbox.systemcalls import _ALLOW, _ARGUMENT, _EQUAL, _FAIL, _LOAD, _NUMBER, _RETURN
from foveal_runtime.study.study import Study

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")


@pytest.fixture(scope="module")
def cache(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with compiled graphs, one of which was damaged since."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOVEAL_CACHE", str(folder))
        bundle = Bundle.open(bundle_path)
        compile_bundle(bundle, Provider.CPU, threads=1)
        made = entry_folder(bundle.sha256, "cpu") / FOLDER
    graph = next(path for path in sorted(made.iterdir()) if path.suffix == ".onnx")
    graph.write_bytes(graph.read_bytes() + b"\0")
    return made


@pytest.fixture(scope="module")
def served(bundle_path: Path, cache: Path) -> Iterator[RunningServer]:
    with RunningServer(bundle_path, "--sandbox", "strict", env={"FOVEAL_CACHE": str(cache.parents[2])}) as running:
        yield running


def _status(pid: int) -> dict[str, str]:
    return dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def test_a_sandboxed_server_grades_and_has_compiled_its_damaged_cache_again(served: RunningServer, cache: Path) -> None:
    with served.client() as client:
        assert client.grade([Study(image=photograph())]).results[0].HasField("grade")
    assert "compiling again" in served.log
    assert (cache / INDEX).exists()
    (pid,) = served.workers()
    assert ".served-" in Path(f"/proc/{pid}/maps").read_text()  # the compiled graphs, from the folder that it may read


def test_the_start_says_what_was_reached(served: RunningServer) -> None:
    (line,) = (line for line in served.lines if line.startswith("worker processes are sandboxed"))
    assert "sandboxed: full (no capabilities, no new privileges" in line


def test_a_killed_worker_is_replaced_by_one_that_is_sandboxed_too(served: RunningServer) -> None:
    (first,) = served.workers()
    os.kill(first, signal.SIGKILL)
    end = time.monotonic() + 30
    while not (fresh := [pid for pid in served.workers() if pid != first]):
        assert time.monotonic() < end, served.log
        time.sleep(0.02)
    with served.client() as client:
        assert client.grade([Study(image=photograph(1))]).results[0].HasField("grade")
    for thread in Path(f"/proc/{fresh[0]}/task").iterdir():
        status = _status(int(thread.name))
        assert (status["CapEff"], status["NoNewPrivs"], status["Seccomp"]) == ("0" * 16, "1", "2")


def test_strict_is_refused_where_the_machine_does_not_reach_it(bundle_path: Path) -> None:
    # A kernel without seccomp, made by one: prctl(PR_SET_SECCOMP) fails in all that this program starts.
    program = (
        (_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, 3, 157), (_LOAD, 0, 0, _ARGUMENT), (_EQUAL, 0, 1, 22), (_RETURN, 0, 0, _FAIL | 22),
        (_RETURN, 0, 0, _ALLOW),
    )  # fmt: skip
    code = b"".join(struct.pack("=HBBI", *each) for each in program)
    start = (
        "import ctypes, os, struct, sys; from foveal_runtime.sandbox.kernel import prctl\n"
        f"code = ctypes.create_string_buffer({code!r}, {len(code)}); prctl(38, 1)\n"
        f"prctl(22, 2, ctypes.create_string_buffer(struct.pack('@HP', {len(program)}, ctypes.addressof(code))))\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'foveal_runtime.cli.main', *sys.argv[1:]])"
    )
    command = [sys.executable, "-c", start, "serve", str(bundle_path), "--address", "127.0.0.1:0", "--sandbox", "strict"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "error: --sandbox strict is not reached here: partial (" in done.stderr
    assert "not system calls (Invalid argument)" in done.stderr
    assert done.stderr.endswith("; mend this, or serve with --sandbox auto\n")
