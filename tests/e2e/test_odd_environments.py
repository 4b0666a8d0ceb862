"""Users without a name or a home, a home that nobody can write, a Kubernetes volume: each works, or one line says the mend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bundles import photograph, write_bundle
from commands import foveal as in_this_process
from commands import one_line
from servers import RunningServer, reachable_folder

from foveal_runtime.study.study import Study

NOBODY_KNOWN = 12345
FOVEAL = [sys.executable, "-m", "foveal_runtime.cli.main"]


@dataclass(frozen=True)
class User:
    """Who runs foveal, and where he is at home."""

    uid: int
    home: Path | None

    def run(self, *words: str | Path, cwd: Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """The `foveal` command, as this user."""
        kept = ("PATH", "PYTHONPATH", "OMP_NUM_THREADS", "LD_LIBRARY_PATH")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        env["PYTHONPATH"] = os.pathsep.join(str(Path(place).resolve()) for place in sys.path if place)
        if self.home is not None:
            env["HOME"] = str(self.home)
        # May read what root may: the tests' Python and checkout can lie in root's home. May write what he may.
        reading = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", *reading]
        command = [*become, *FOVEAL, *map(str, words)]
        return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=timeout_s)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that any user may write in, with a bundle and a photograph."""
    with reachable_folder() as folder:
        folder.chmod(0o1777)
        write_bundle(folder / "bundle")
        (folder / "a.jpg").write_bytes(photograph(1))
        for path in (folder / "bundle").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield folder


def closed(folder: Path) -> Path:
    """A home that its user can't write in."""
    folder.mkdir(mode=0o555)
    return folder


OTHERS = ("unknown user, home read-only", "home is no folder")


@pytest.fixture(params=["unknown user, no home", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def user(request: pytest.FixtureRequest, place: Path) -> User:
    """One of those that containers start programs as."""
    if os.geteuid() != 0:
        pytest.skip("only root may start a program as another user")
    found = {
        "unknown user, no home": User(NOBODY_KNOWN, None),
        "unknown user, home read-only": User(NOBODY_KNOWN, closed(place / "home")),
        "home is no folder": User(NOBODY_KNOWN, Path("/dev/null")),
    }[request.param]
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed, by which a program is started as another user")
    return found


def is_fine(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr


def is_one_line(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode in (1, 2)
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert words in lines[0]


def test_a_bundle_is_verified_inspected_and_a_photograph_checked(user: User, place: Path) -> None:
    is_fine(user.run("inspect", place / "bundle", cwd=place))
    is_fine(user.run("quality", "check", place / "a.jpg", cwd=place))
    is_fine(user.run("verify", place / "bundle", cwd=place))
    assert not (place / "~").exists()


def test_a_store_wants_a_user_with_a_name_and_says_so(user: User, place: Path) -> None:
    is_one_line(user.run("store", "stats", place / "store", cwd=place), "has no name in this system")


def test_compile_works_or_names_the_folder_to_set(user: User, place: Path) -> None:
    is_one_line(user.run("compile", place / "bundle", cwd=place), "set FOVEAL_CACHE to")
    is_fine(User(user.uid, None).run("completion", "bash", cwd=place))


@pytest.mark.slow
def test_training_and_export_work(user: User, place: Path) -> None:
    is_fine(user.run("data", "synth", place / "data", "--patients", "20", "--seed", "1", "--balanced", cwd=place))
    words = ("train", "--recipe", "tiny", "--set", "optimiser.epochs=1", "--data", f"brset:{place / 'data'}")
    is_fine(user.run(*words, "--out", place / "run", cwd=place))
    is_fine(user.run("export", place / "run", "--precision", "fp32", "--out", place / "exported", cwd=place))
    assert not (place / "~").exists()


def volume(folder: Path, bundle: Path) -> Path:
    """A bundle as Kubernetes mounts a volume: each name a link through `..data` to the current version."""
    shutil.copytree(bundle, folder / "..2026_01")
    (folder / "..data").symlink_to("..2026_01")
    for each in bundle.iterdir():
        (folder / each.name).symlink_to(Path("..data") / each.name)
    (folder.parent / "current").symlink_to(folder.name + "/..data")
    return folder


@pytest.mark.parametrize("name", [lambda folder: folder / "..data", lambda folder: folder.parent / "current"])
def test_a_bundle_in_a_kubernetes_volume_is_served_through_its_link(
    bundle_path: Path, tmp_path: Path, name: Callable[[Path], Path]
) -> None:
    named = name(volume(tmp_path / "mount", bundle_path))
    with RunningServer(named) as server, server.client() as client:
        assert client.grade([Study(image=photograph(1))]).results[0].grade.HasField("graded")


def test_the_folder_of_links_itself_is_refused_with_the_mend(bundle_path: Path, tmp_path: Path) -> None:
    folder = volume(tmp_path / "mount", bundle_path)
    done = in_this_process("verify", str(folder))
    assert f"is a Kubernetes volume, whose files are links; name the folder {folder}/..data" in one_line(done.stderr)
