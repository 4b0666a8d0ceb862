"""Wrong input at the command line: one line that says what, got and how to mend it, exit code 1 or 2, no traceback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import commands
import pytest
from bundles import photograph, write_bundle
from servers import RunningServer


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "plain")


@pytest.fixture
def address(server: RunningServer) -> str:
    return server.address


def foveal(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foveal_runtime.cli.main", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def refused(done: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    """One line on stderr, nothing else said, the exit code, every word of `says`."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in says:
        assert word in lines[0], lines[0]


def test_a_missing_photograph_is_named(address: str, tmp_path: Path) -> None:
    refused(foveal("grade", tmp_path / "absent.jpg", "--address", address), 2, "absent.jpg")


def test_a_text_file_named_jpg_is_no_photograph(address: str, tmp_path: Path) -> None:
    path = tmp_path / "note.jpg"
    path.write_text("not a photograph, only named so")
    refused(foveal("grade", path, "--address", address), 2, "note.jpg", "JPEG, PNG, TIFF or WebP")


def test_a_truncated_jpeg_is_refused_and_its_neighbour_is_graded(address: str, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    whole.write_bytes(photograph())
    cut.write_bytes(photograph()[: len(photograph()) // 2])
    done = foveal("grade", cut, whole, "--address", address)
    refused(done, 2, "cut.jpg", "truncated or damaged")
    assert "whole.jpg" in done.stdout


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "eye.jpg").write_bytes(photograph())
    refused(foveal("grade", tmp_path / "eye.jpg", "--address", "127.0.0.1:9"), 1, "127.0.0.1:9", "foveal serve")


def test_a_port_in_use_is_named(bundle: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(foveal("serve", bundle, "--address", f"127.0.0.1:{port}"), 2, str(port), "in use")


def test_a_bundle_with_one_byte_changed_is_not_served_nor_verified(bundle: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(bundle, changed)
    graph = changed / "fusion.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    for command in ("serve", "verify"):
        refused(foveal(command, changed), 2, "fusion.onnx", "was changed")


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    refused(foveal("verify", tmp_path), 2, "manifest.json is missing")


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    refused(foveal("train", "--recipe", "egde", "--data", "idrid:nowhere"), 2, "'egde'", "edge")


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = commands.foveal("train", "--recipe", "tiny", "--data", "idrid:nowhere", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "nowhere does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_export_without_any_run_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = commands.foveal("export", "--precision", "fp16")
    assert done.returncode == 2
    assert "no finished run under runs" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_and_option_are_named() -> None:
    refused(foveal("sevre"), 2, "sevre")
    refused(foveal("grade", "--nosuch"), 2, "--nosuch")


def test_help_of_the_server_loads_no_heavy_library() -> None:
    script = (
        "import sys; from foveal_runtime.cli.main import run; code = run(['serve', '--help']);"
        "heavy = {'torch', 'onnxruntime', 'grpc', 'PIL', 'numpy', 'transformers', 'psycopg'} & set(sys.modules);"
        "assert code == 0 and not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "foveal serve" in done.stdout
