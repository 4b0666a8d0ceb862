"""`make wheelhouse` here, an installation without any index there: an unprivileged user installs, serves and grades."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import photograph, write_bundle
from servers import RunningServer, reachable_folder

pytestmark = pytest.mark.slow  # fills a wheelhouse and installs from it
ROOT = Path(__file__).resolve().parents[2]
EXTRAS = "cpu,store,dicom"
CLINIC = ROOT / "requirements" / "clinic.txt"
MOST_MB = {"cpu": 280, EXTRAS: 400}
"""On disk, without byte code."""
PATH = "/usr/bin:/bin:/usr/sbin"
UNPRIVILEGED = pwd.getpwnam("nobody")


def _pip_wheel(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)


def _as_user() -> tuple[str, ...]:
    """Words before a command that make it an unprivileged user's; none where this is one."""
    if os.geteuid() != 0:
        return ()
    return ("runuser", "-u", UNPRIVILEGED.pw_name, "--")


def _python(folder: Path) -> str:
    """A Python of this version that the unprivileged user may start: root's own may lie in a closed home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        words = [*_as_user(), str(candidate), "-c", "import ensurepip, venv"]
        if candidate and subprocess.run(words, capture_output=True, check=False, cwd=folder).returncode == 0:
            return candidate
    pytest.skip(f"no {version} with venv that an unprivileged user may start")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """The unprivileged user's folder, with the wheelhouse in it."""
    with reachable_folder() as folder:
        python_of_user = _python(folder)
        reached = _pip_wheel("--no-deps", "--wheel-dir", folder / "probe", "-c", ROOT / "constraints.txt", "typing_extensions")
        if reached.returncode != 0:
            pytest.skip("no package index can be reached, so there is nothing to fill a wheelhouse from")
        house = folder / "wheelhouse"
        for arguments in (("--require-hashes", "--no-deps", "-r", CLINIC), ("--no-deps", ROOT)):
            made = _pip_wheel("--wheel-dir", house, *arguments)
            assert made.returncode == 0, made.stderr[-3000:]
        shutil.copy(CLINIC, house)
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, UNPRIVILEGED.pw_uid, UNPRIVILEGED.pw_gid)
        _run(folder, python_of_user, "-m", "venv", folder / "venv")
        yield folder


def _run(home: Path, *words: str | Path) -> str:
    environment = {"HOME": str(home), "PATH": PATH, "LC_ALL": "C.UTF-8", "PIP_CONFIG_FILE": os.devnull}
    command = [*_as_user(), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment, cwd=home)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def python(home: Path) -> Path:
    """Python of an environment that was installed from the wheelhouse alone."""
    python = home / "venv" / "bin" / "python"
    _install(home, python, "--require-hashes", "-r", home / "wheelhouse" / "clinic.txt")
    _install(home, python, f"foveal[{EXTRAS}]")
    return python


def _install(home: Path, python: Path, *words: str | Path) -> None:
    offline = ("-m", "pip", "install", "--quiet", "--no-index", "--find-links", home / "wheelhouse", "--no-compile")
    _run(home, python, *offline, *words)


def _megabytes(python: Path) -> float:
    """What an environment takes beside Python's own pip."""
    folder = python.parents[1] / "lib"
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    kept = (path for path in files if path.suffix != ".pyc" and "/site-packages/pip" not in str(path))
    return sum(path.stat().st_size for path in kept) / 1e6


def test_an_unprivileged_user_installs_without_an_index_and_serves(home: Path, python: Path) -> None:
    bundle = write_bundle(home / "bundle")
    (home / "eye.jpg").write_bytes(photograph())
    (home / "eye.jpg").chmod(0o644)
    for path in (bundle, *bundle.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with _Server(bundle, "--store", str(home / "archive"), python=python, home=home) as server:
        graded = json.loads(
            _run(home, python.parent / "foveal", "grade", home / "eye.jpg", "--address", server.address, "--json")
        )
        # runuser stays root and waits for the server, which is its child.
        servers = server.workers() if os.geteuid() == 0 else [server.process.pid]
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in servers}
    assert graded[0]["status"] == "OK"
    assert owners == {UNPRIVILEGED.pw_uid if os.geteuid() == 0 else os.geteuid()}


class _Server(RunningServer):
    """A server of the unprivileged user."""

    def __init__(self, bundle: Path, *flags: str, python: Path, home: Path) -> None:
        super().__init__(bundle, *flags, python=python, env={"HOME": str(home), "PYTHONPATH": ""})
        self._command = [*_as_user(), *self._command]


def test_what_is_installed_is_small(home: Path, python: Path) -> None:
    sizes = {EXTRAS: _megabytes(python)}
    _run(home, _python(home), "-m", "venv", home / "small")
    small = home / "small" / "bin" / "python"
    _install(home, small, "foveal[cpu]")
    sizes["cpu"] = _megabytes(small)
    assert all(size <= MOST_MB[extras] for extras, size in sizes.items()), sizes


def test_doctor_finds_nothing_wrong_for_an_unprivileged_user_and_says_how_far_workers_are_sandboxed(
    home: Path, python: Path
) -> None:
    config = home / "serve.toml"
    config.write_text(
        f'bundle = "{write_bundle(home / "examined")}"\nstore = "{home / "examined-archive"}"\nsandbox = "strict"\n'
    )
    for path in (config, home / "examined", *(home / "examined").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    document = json.loads(_run(home, python.parent / "foveal", "doctor", "--config", config, "--json"))
    found = {finding["name"]: finding for finding in document["findings"]}
    assert document["healthy"]
    assert found["user"]["status"] == "ok"
    assert found["sandbox"]["says"].startswith("workers: full")
    assert found["store"]["status"] == "ok"


def test_the_installed_wheel_says_where_the_model_is(home: Path, python: Path) -> None:
    command = [*_as_user(), str(python.parent / "foveal"), "serve"]
    environment = {"HOME": str(home), "PATH": PATH}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment, cwd=home)
    assert done.returncode == 2
    assert "the folder models/edge of foveal's repository" in done.stderr


def test_the_installed_demo_says_what_each_half_needs_before_it_starts_anything(home: Path, python: Path) -> None:
    environment = {"HOME": str(home), "PATH": PATH}
    for flags, says in (((), "models/edge"), (("--half", "make"), "torch")):
        command = [*_as_user(), str(python.parent / "foveal"), "demo", *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment, cwd=home)
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert not (home / "runs").exists()
