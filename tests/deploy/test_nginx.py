"""A real nginx with the sample's configuration before a real server: TLS, photographs above its limit, a dead server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from certificates import Authority
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pictures import saved
from PIL import Image
from servers import RunningServer

from foveal_runtime.cli.local_server import free_address
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.client.channel import open_channel
from foveal_runtime.errors import UnavailableError
from foveal_runtime.study.study import Study

pytestmark = pytest.mark.slow  # needs nginx
NGINX = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
SAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "foveal.conf"


@pytest.fixture
def proxied(bundle_path: Path, tmp_path: Path) -> Iterator[tuple[str, RunningServer, Authority]]:
    """nginx's address, the server behind it and who signed nginx's certificate."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    authority, outside = Authority(tmp_path / "tls"), free_address()
    authority.sign("server", "127.0.0.1", "localhost")
    with RunningServer(bundle_path) as server:
        site = SAMPLE.read_text().replace("/etc/foveal/tls", str(tmp_path / "tls"))
        site = site.replace("server 127.0.0.1:50051;", f"server {server.address};").replace("listen 443", f"listen {outside}")
        (tmp_path / "site.conf").write_text(site)
        scratch = "".join(
            f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (tmp_path / "nginx.conf").write_text(
            f"pid {tmp_path}/pid;\nuser root;\ndaemon off;\nevents {{}}\nhttp {{\n{scratch}include {tmp_path}/site.conf;\n}}\n"
        )
        words = [NGINX, "-e", "stderr", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]
        nginx = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        try:
            yield outside, server, authority
        finally:
            nginx.send_signal(signal.SIGQUIT)
            nginx.wait(20)


def test_photographs_above_a_megabyte_pass_and_a_dead_server_is_said_in_grpcs_words(
    proxied: tuple[str, RunningServer, Authority],
) -> None:
    address, server, authority = proxied
    noise = np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8)
    photograph = saved(Image.fromarray(noise), "PNG")
    assert len(photograph) > 2 << 20
    with Client(address, ClientOptions(tls_ca=authority.pem, timeout_s=30.0)) as client:
        assert client.grade([Study(image=photograph)]).results[0].WhichOneof("outcome") == "grade"
    with open_channel(address, ClientOptions(tls_ca=authority.pem)) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(30)
    end = time.monotonic() + 10
    with Client(address, ClientOptions(tls_ca=authority.pem, timeout_s=5.0, retry_s=0)) as client:
        with pytest.raises(UnavailableError):
            client.grade([Study(image=photograph)])
        assert time.monotonic() < end
