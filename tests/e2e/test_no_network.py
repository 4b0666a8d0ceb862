"""Train, export, verify, serve, grade, index and search where nothing can be reached: all work, no packet is tried, and no file
is written outside foveal's folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from servers import reachable_folder

TESTS = Path(__file__).parents[1]
SILENCERS = ("TELEMETRY", "XDG_", "OFFLINE", "PROXY", "CI", "GITHUB_ACTIONS")
"""What would keep a program quiet, or bring its files elsewhere, on a machine that is not like a clinic's."""
NAMESPACE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-current-user", "--keep-caps", "--net"]


def inside(folder: Path, *flags: str) -> Any:
    """The document of `in_a_namespace.py`."""
    env = {name: value for name, value in os.environ.items() if not any(word in name.upper() for word in SILENCERS)}
    env["PYTHONPATH"] = os.pathsep.join([str(TESTS), *sys.path])
    words = [*NAMESPACE, sys.executable, str(TESTS / "e2e" / "in_a_namespace.py"), str(folder), *flags]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env, timeout=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def namespaces() -> None:
    """Skips by name where there are none."""
    tried = [*NAMESPACE, "ip", "link", "add", "out", "type", "veth", "peer", "name", "sink"]
    try:
        done = subprocess.run(tried, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"no network namespace here: {error.filename} is not installed")
    if done.returncode != 0:
        pytest.skip(f"no network namespace here: {done.stderr.strip()}")


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_every_room_works_without_a_network_and_tries_no_packet() -> None:
    with reachable_folder() as folder:
        found = inside(folder)
    assert found["packets"] == 0, found["after"]
    assert [name for name in found["new"] if not name.startswith(("cache/foveal/", "cache/foveal-matplotlib/"))] == []


@pytest.mark.usefixtures("namespaces")
def test_the_counter_sees_what_leaves() -> None:
    with reachable_folder() as folder:
        assert inside(folder, "control")["packets"] >= 3
