"""What a sandboxed process can still do, tried by code inside of one: as root, as root without capabilities, as nobody."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confined import ATTEMPTS

import foveal_runtime
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.photo.imaging import ImageLimits
from foveal_runtime.sandbox.confine import Confinement, Policy, Sandbox
from foveal_runtime.sandbox.probe import probe
from foveal_runtime.serving.workerspec import WorkerSpec, policy_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")
TESTS = Path(__file__).resolve().parents[2]
NOBODY = pwd.getpwnam("nobody")
USERS = {
    "as started": (),
    "without capabilities": ("setpriv", "--inh-caps=-all", "--bounding-set=-all", "--ambient-caps=-all", "--no-new-privs"),
    "nobody": ("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups", "--no-new-privs"),
}
STILL = {"thread", "library", "own end"}
"""What a process that computes needs."""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user reaches, with the code to try and files of the trying user's own."""
    # Not in /tmp or /dev/shm, where a process with a device may write.
    with tempfile.TemporaryDirectory(prefix="foveal-test-", dir="/var/tmp") as made:
        folder = Path(made)
        folder.chmod(0o755)
        package = folder / "code" / "foveal_runtime"
        source = Path(foveal_runtime.__file__).parent
        shutil.copytree(source / "sandbox", package / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(source / "__init__.py", package)
        shutil.copy(TESTS / "confined.py", folder / "code")
        for path in (folder / "code").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield folder


def tried(home: Path, policy: Policy, user: str, *flags: str) -> dict[str, object]:
    """What a process under a policy reports of itself."""
    if user != "as started" and os.geteuid() != 0:
        pytest.skip("only root can start a process as another user")
    own = home / "own"
    (own / "cache").mkdir(parents=True)
    for name in ("file", "renamed", "removed"):
        (own / name).write_text("secret")
        (own / name).chmod(0o600)
    python = sys.executable
    if user == "nobody":
        for path in (own, *own.rglob("*")):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""
        if not python:
            pytest.skip("no Python that an unprivileged user may start")
    command = [*USERS[user], python, str(home / "code" / "confined.py"), policy.to_text(), str(own), *flags]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(home / "code"), "HOME": str(own)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env, cwd=home / "own")
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("user", USERS)
def test_a_process_that_computes_can_do_nothing_else(home: Path, user: str) -> None:
    found = tried(home, policy_of("cpu", Sandbox.STRICT), user)
    assert set(found["allowed"]) == STILL, found["says"]  # type: ignore[call-overload]
    assert found["level"] == "full", found["says"]
    assert found["status"] == {
        **dict.fromkeys(("CapPrm", "CapEff", "CapAmb"), "0" * 16),
        "CapBnd": found["status"]["CapBnd"] if user == "nobody" else "0" * 16,  # type: ignore[index]
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }


@pytest.mark.parametrize("user", USERS)
def test_without_a_sandbox_the_same_process_can_do_all_of_it(home: Path, user: str) -> None:
    found = tried(home, policy_of("cpu", Sandbox.OFF), user)
    # Another user's parent is out of reach anyway, and some kernels have io_uring switched off.
    out_of_reach = {"queue of the kernel"}
    if user != "as started":
        out_of_reach |= {"signal to the parent", "parent's environment"}
    assert set(ATTEMPTS) - out_of_reach <= set(found["allowed"])  # type: ignore[call-overload]
    assert found["level"] == "none"


@pytest.mark.parametrize("user", USERS)
def test_a_process_with_a_device_has_no_network_and_writes_into_its_cache_alone(home: Path, user: str) -> None:
    policy = replace(policy_of("cuda", Sandbox.AUTO), writable=(str(home / "own" / "cache"),))
    found = tried(home, policy, user)
    allowed = set(found["allowed"])  # type: ignore[call-overload]
    assert allowed >= {*STILL, "unix socket", "program", "process", "secret read", "in the cache", "scratch file"}
    refused = {"internet socket", "internet datagram socket", "internet socket of version 6", "kernel socket", "new file"}
    refused |= {"new folder", "appended", "truncated", "renamed", "removed", "queue of the kernel", "file by a thread"}
    assert not allowed & refused, found["says"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace takes root")
def test_without_landlock_root_gets_a_read_only_view_of_its_own(home: Path) -> None:
    found = tried(
        home, replace(policy_of("cpu", Sandbox.AUTO), writable=(str(home / "own" / "cache"),)), "as started", "without-landlock"
    )
    assert set(found["allowed"]) == {*STILL, "in the cache", "secret read"}, found["says"]  # type: ignore[call-overload]
    assert "mount namespace" in str(found["says"])
    (home / "still-writable").touch()  # for everybody else nothing has changed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_without_landlock_a_user_is_told_what_is_missing(home: Path) -> None:
    found = tried(home, policy_of("cpu", Sandbox.AUTO), "nobody", "without-landlock")
    assert found["level"] == "partial"
    assert "not files (Operation not permitted)" in str(found["says"])
    assert "a file could be made in" in str(found["says"])
    assert "internet socket" not in found["allowed"]  # type: ignore[operator]


def test_folders_that_are_closed_to_root_without_capabilities_keep_the_one_to_read(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities")
    os.chown(home / "code", NOBODY.pw_uid, NOBODY.pw_gid)
    (home / "code").chmod(0o700)
    found = tried(home, policy_of("cpu", Sandbox.STRICT), "as started")
    assert "no capabilities but cap_dac_read_search" in str(found["says"])
    assert set(found["allowed"]) == STILL  # type: ignore[call-overload]


def test_it_refuses_to_begin_when_other_threads_run_already() -> None:
    code = (
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "from foveal_runtime.sandbox.confine import Policy, confine; confine(Policy())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert "threads that run already" in done.stderr


def test_a_policy_survives_a_command_line_and_a_worker_reads_what_it_loads_alone(bundle_path: Path) -> None:
    spec = WorkerSpec(bundle=Bundle.open(bundle_path), provider="cpu", threads=1, max_rows=2, limits=ImageLimits())
    assert Policy.from_text(spec.policy.to_text()) == spec.policy
    assert spec.policy.readable == (str(bundle_path),)
    sealed = replace(spec, bundle=Bundle.open(bundle_path, seal=True))
    assert sealed.policy.readable == ()
    assert not sealed.policy.writable


def test_what_this_machine_reaches_is_found_by_trying() -> None:
    found = probe(Policy())
    assert found.level in ("full", "partial")
    assert str(found).startswith(found.level)
    assert probe(Policy(mode=Sandbox.OFF)) == Confinement()
