"""A real HAProxy with the sample's configuration before three real servers: TLS, large photographs, a server that is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from bundles import photograph
from certificates import Authority
from pictures import saved
from PIL import Image
from servers import RunningServer

from foveal_runtime.cli.local_server import free_address
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.study.study import Study

pytestmark = pytest.mark.slow  # needs haproxy
HAPROXY = shutil.which("haproxy", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
SAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "haproxy" / "haproxy.cfg"


@pytest.fixture
def proxied(bundle_path: Path, tmp_path: Path) -> Iterator[tuple[str, list[RunningServer], Authority]]:
    """HAProxy's address, the servers behind it and who signed its certificate."""
    if HAPROXY is None:
        pytest.skip("haproxy is not installed")
    authority, outside = Authority(tmp_path / "tls"), free_address()
    cert, key = authority.sign("server", "127.0.0.1", "localhost")
    (tmp_path / "both.pem").write_bytes(cert.read_bytes() + key.read_bytes())
    with ExitStack() as stack:
        servers = [stack.enter_context(RunningServer(bundle_path)) for _ in range(3)]
        site = SAMPLE.read_text().replace("/etc/foveal/tls/server.pem", str(tmp_path / "both.pem")).replace(":443", outside)
        for number, server in enumerate(servers, start=1):
            site = site.replace(f"10.0.0.{number}:50051", server.address)
        (tmp_path / "haproxy.cfg").write_text(site)
        proxy = subprocess.Popen([HAPROXY, "-db", "-f", str(tmp_path / "haproxy.cfg")], stderr=subprocess.DEVNULL)
        try:
            yield outside, servers, authority
        finally:
            proxy.terminate()
            proxy.wait(20)


def test_a_killed_server_is_noticed_by_its_health_and_large_photographs_pass(
    proxied: tuple[str, list[RunningServer], Authority],
) -> None:
    address, servers, authority = proxied
    noise = np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8)
    large = saved(Image.fromarray(noise), "PNG")
    assert len(large) > 2 << 20
    with Client(address, ClientOptions(tls_ca=authority.pem, timeout_s=30.0)) as client:
        assert client.grade([Study(image=large)]).results[0].WhichOneof("outcome") == "grade"
        servers[0].process.send_signal(signal.SIGKILL)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert client.grade([Study(image=photograph(1))]).results[0].HasField("grade")
        servers[1].process.send_signal(signal.SIGTERM)
        servers[1].process.wait(30)
        assert client.grade([Study(image=photograph(2))]).results[0].HasField("grade")
