"""Channels: none to this machine goes through a proxy, and nobody opens one by himself."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import photograph
from servers import RunningServer

from foveal_runtime.client import AsyncClient, Client, ClientOptions
from foveal_runtime.errors import FovealError
from foveal_runtime.serving.address import host_and_port, is_loopback
from foveal_runtime.study.study import Study

ROOT = Path(__file__).resolve().parents[3]


class Proxy:
    """Listens, keeps the first line of everybody who connects, and hangs up."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked: list[bytes] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.asked.append(connection.recv(4096).split(b"\r\n")[0])

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["http_proxy", "https_proxy", "grpc_proxy"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that the environment names; nothing is exempt."""
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    listening = Proxy()
    monkeypatch.setenv(request.param, listening.url)
    yield listening
    listening.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_photograph_for_this_machine_goes_through_a_proxy(proxy: Proxy, server: RunningServer, host: str) -> None:
    address, studies = server.address.replace("127.0.0.1", host), [Study(image=photograph())]

    async def ask() -> None:
        async with AsyncClient(address, ClientOptions(timeout_s=10)) as client:
            assert (await client.grade(studies)).results[0].HasField("grade")

    with Client(address, ClientOptions(timeout_s=10)) as client:
        assert client.grade(studies).results[0].HasField("grade")
        assert len(list(client.grade_stream(iter(studies)))) == 1
    asyncio.run(ask())
    assert server.health() == "SERVING"
    assert proxy.asked == []


def test_to_other_machines_the_proxy_is_used_as_ever(proxy: Proxy) -> None:
    with Client("foveal.invalid:50051", ClientOptions(timeout_s=5, retry_s=0)) as client, pytest.raises(FovealError):
        client.model()
    assert proxy.asked[0].startswith(b"CONNECT foveal.invalid:50051")


def test_what_is_this_machine() -> None:
    here = (
        "127.0.0.1:50051", "127.8.9.1:1", "localhost:50051", "LOCALHOST", "[::1]:50051", "[::ffff:127.0.0.1]:1", "ipv6:[::1]:1",
        "unix:/run/foveal", "unix:///run/foveal", "unix-abstract:foveal", "dns:///localhost:50051", "dns:127.0.0.1:1",
        "ipv4:127.0.0.1:1,127.0.0.2:1",
    )  # fmt: skip
    elsewhere = (
        "eye.clinic:50051", "10.0.0.7:50051", "[2001:db8::1]:1", "localhost.eye.clinic:1", "127.0.0.1.eye.clinic:1",
        "dns:///eye.clinic:1", "ipv4:127.0.0.1:1,10.0.0.7:1", "0.0.0.0:1",
    )  # fmt: skip
    assert [address for address in here if not is_loopback(address)] == []
    assert [address for address in elsewhere if is_loopback(address)] == []


def test_host_and_port_of_every_form_of_address() -> None:
    for address, found in (
        ("eye.clinic:50051", ("eye.clinic", 50051)),
        ("eye.clinic", ("eye.clinic", 443)),
        ("[::1]:50051", ("::1", 50051)),
        ("::1", ("::1", 443)),
        ("dns:///eye.clinic:50051", ("eye.clinic", 50051)),
        ("dns://10.0.0.1/eye.clinic:50051", ("eye.clinic", 50051)),
        ("ipv6:[::1]:50051", ("::1", 50051)),
    ):
        assert host_and_port(address) == found


def test_nobody_opens_a_channel_by_himself() -> None:
    opens = re.compile(r"\b(in)?secure_channel\(")
    rooms = ("runtime", "train", "export", "benchmarks", "scripts", "tests", "examples")
    found = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py")) if opens.search(path.read_text("utf-8"))]
    assert [str(path.relative_to(ROOT)) for path in found] == [
        "runtime/foveal_runtime/client/channel.py",
        "tests/attacker.py",  # who attacks takes none of the care that clients take
        "tests/attacks/test_malformed.py",
    ]
