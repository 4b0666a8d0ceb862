"""Exit codes are those of the table in docs/command-line.md."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from bundles import photograph, write_bundle
from commands import foveal
from servers import RunningServer

from foveal_runtime import errors
from foveal_runtime._proto import screening_pb2_grpc
from foveal_runtime.cli.local_server import FOVEAL
from foveal_runtime.rpc.status import error_of, status_of

PAGE = Path(__file__).resolve().parents[3] / "docs" / "command-line.md"
NOBODY = ("--address", "127.0.0.1:1")


def test_the_page_lists_the_codes_that_are_tested_here() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Exit codes")[2]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == ["0", "1", "2", "130", "141"]


def test_0_is_an_answer_whatever_it_says(server: RunningServer, bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "dark.png").write_bytes(black())
    graded = foveal("grade", str(tmp_path / "dark.png"), "--address", server.address)
    assert "not gradable" in graded.stdout
    assert graded.returncode == 0
    exam = foveal("exam", "--left", str(tmp_path / "dark.png"), "--address", server.address)
    assert "NO VERDICT" in exam.stdout
    assert exam.returncode == 0
    for command in (
        ("inspect", str(bundle_path)),
        ("verify", str(bundle_path)),
        ("--version",),
        ("--help",),
        ("completion", "bash"),
    ):
        assert foveal(*command).returncode == 0, command


def black() -> bytes:
    """A photograph without light."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (320, 240)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "command",
    [
        ("grade", "EYE"),
        ("embed", "EYE"),
        ("exam", "--left", "EYE"),
        ("search", "drusen"),
        ("index", "FOLDER"),
    ],
)
def test_1_is_a_server_that_is_not_there(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "eye.jpg").write_bytes(photograph())
    words = [word.replace("EYE", str(tmp_path / "eye.jpg")).replace("FOLDER", str(tmp_path)) for word in command]
    assert foveal(*words, *NOBODY).returncode == 1


@pytest.mark.parametrize("command", ["verify", "doctor", "compile"])
def test_1_is_a_check_that_fails(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir(mode=0o700)
    drifted = write_bundle(tmp_path / "drifted", golden_shift=3.0)
    assert foveal(command, str(drifted)).returncode == 1


@pytest.mark.parametrize(
    "command",
    [
        ("frobnicate",),
        ("grade",),
        ("grade", "eye.jpg", "--frobnicate"),
        ("grade", "/nowhere.jpg", *NOBODY),
        ("embed", "/nowhere.jpg", *NOBODY),
        ("exam", "/nowhere.jpg", "/nowhere-else.jpg", *NOBODY),
        ("index", "/nowhere", *NOBODY),
        ("search", *NOBODY),
        ("serve", "/nowhere"),
        ("verify", "/nowhere"),
        ("inspect", "/nowhere"),
        ("doctor", "--frobnicate"),
        ("compile", "/nowhere"),
        ("demo", "--resume", "/nowhere"),
        ("completion", "tcsh"),
        ("store", "check", "/nowhere", "--k", "0"),
        ("data", "check", "idrid:/nowhere"),
        ("train", "--recipe", "nosuch", "--data", "idrid:/nowhere"),
        ("evaluate", "/nowhere"),
        ("export", "/nowhere", "--precision", "int8"),
        ("sweep", "nosuch", "--data", "idrid:/nowhere", "--out", "sweep"),
    ],
)
def test_2_is_something_to_mend(command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = foveal(*command)
    assert done.returncode == 2, done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_highest_code_of_several_files_counts() -> None:
    from foveal_runtime.cli.failures import report_failures

    lost, bad = errors.UnavailableError("away"), errors.ImageError("cut")
    assert report_failures([(Path("a"), object())]) == 0
    assert report_failures([(Path("a"), lost), (Path("b"), object())]) == 1
    assert report_failures([(Path("a"), lost), (Path("b"), bad)]) == 2


def test_130_is_ctrl_c_and_does_not_wait_for_the_answer(tmp_path: Path) -> None:
    (tmp_path / "eye.jpg").write_bytes(photograph())
    asked, over = threading.Event(), threading.Event()

    class Silent(screening_pb2_grpc.ScreeningServicer):
        """Never answers."""

        def Grade(self, request: object, context: object) -> None:
            asked.set()
            over.wait()

    server = grpc.server(ThreadPoolExecutor(1))
    screening_pb2_grpc.add_ScreeningServicer_to_server(Silent(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    words = [*FOVEAL, "grade", str(tmp_path / "eye.jpg"), "--address", f"127.0.0.1:{port}", "--timeout", "600"]
    try:
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
            try:
                assert asked.wait(60)
                asking.send_signal(signal.SIGINT)
                out, err = asking.communicate(timeout=60)
            finally:
                asking.kill()
    finally:
        over.set()
        server.stop(None)
    assert asking.returncode == 130
    assert (out, err) == ("", "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_141_is_a_reader_that_has_gone(bundle_path: Path, unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    words = [*FOVEAL, "inspect", str(bundle_path)]
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=environment)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.FovealError, 1),
        (errors.CheckFailed, 1),
        (errors.UnavailableError, 1),
        (errors.LoadingError, 1),
        (errors.StoreError, 1),
        (errors.OverloadedError, 1),
        (errors.DeadlineError, 1),
        (errors.InputError, 2),
        (errors.ImageError, 2),
        (errors.ConfigError, 2),
        (errors.PreconditionError, 2),
        (errors.BundleError, 2),
        (errors.UntrainedError, 2),
        (errors.NotFoundError, 2),
    ],
)
def test_an_error_keeps_its_code_across_the_wire(kind: type[errors.FovealError], code: int) -> None:
    assert kind.exit_code == code
    assert error_of(status_of(kind("words"))).exit_code == code
