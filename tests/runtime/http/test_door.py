"""The HTTP side as a part of its server: TLS and certificates, drain, limits, audit trail, metrics, callers that go."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from bundles import photograph
from certificates import DAY, Authority
from commands import foveal, one_line
from servers import RunningServer

from foveal_runtime.errors import ConfigError
from foveal_runtime.http import listening
from foveal_runtime.http.listening import Listener
from foveal_runtime.serving.config import ServeConfig

pytest.importorskip("starlette")
HTTP = ("--http", "127.0.0.1:0")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


def trusting(authority: Authority, pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.pem))
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


def scraped(server: RunningServer) -> str:
    address = next(line.split()[-1] for line in server.lines if "metrics on " in line)
    return httpx.get(f"http://{address}/metrics", timeout=30).text


def opened(server: RunningServer) -> socket.socket:
    host, port = server.http.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def answers(server: RunningServer) -> bool:
    """Whether a new connection is."""
    try:
        return httpx.get(f"{server.http}/v1/model", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def test_tls_is_grpcs_and_a_renewed_certificate_is_shown_to_new_connections(bundle_path: Path, authority: Authority) -> None:
    cert, key = authority.sign("server", "127.0.0.1")
    with RunningServer(bundle_path, *HTTP, "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        assert server.http.startswith("https://127.0.0.1:")
        context = trusting(authority)
        before = httpx.get(f"{server.http}/v1/model", verify=context).json()
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.http}/v1/model", verify=ssl.create_default_context())
        with pytest.raises(httpx.TransportError):
            httpx.get(server.http.replace("https", "http"))
        old = shown(server)
        authority.sign("server", "127.0.0.1", ends_in=2 * DAY)
        server.wait_for("TLS certificate: read again", 30)
        assert shown(server) != old
        assert httpx.get(f"{server.http}/v1/model", verify=context).json() == before


def shown(server: RunningServer) -> bytes:
    """The certificate that a new connection is shown, one that names no host."""
    host, port = server.http.removeprefix("https://").split(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port))) as raw, context.wrap_socket(raw) as tls:
        return tls.getpeercert(binary_form=True) or b""


def test_a_client_certificate_is_asked_for_and_its_name_is_the_caller(
    bundle_path: Path, authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.sign("server", "127.0.0.1")
    tokens, trail = tmp_path / "tokens.json", tmp_path / "trail"
    words = ("--role", "grade", "--expires", "30", "--certificate", "CN=camera-1", "--file", str(tokens))
    assert foveal("token", "add", "camera", *words).returncode == 0
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--client-ca", str(authority.pem))
    with RunningServer(bundle_path, *HTTP, *flags, "--tokens", str(tokens), "--audit", str(trail)) as server:
        context = trusting(authority, authority.sign("camera-1"))
        with httpx.Client(base_url=server.http, verify=context) as client:
            assert client.post("/v1/grade", files={"image": photograph(1)}).status_code == 200
            assert client.post("/v1/Admin/Reload").json()["reason"] == "ROLE_MISSING"
        with httpx.Client(base_url=server.http, verify=trusting(authority, authority.sign("stranger"))) as client:
            assert client.get("/v1/model").json()["reason"] == "TOKEN_MISSING"
        for context in (trusting(authority), trusting(authority, Authority(tmp_path / "theirs").sign("camera-1"))):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{server.http}/healthz", verify=context)
        server.wait_for("Grade OK")
        assert "ms, from camera by camera" in server.log
    records = [json.loads(line) for file in sorted(trail.glob("*.jsonl")) for line in file.read_text().splitlines()]
    (graded,) = (record for record in records if record["call"] == "Grade")
    assert graded["caller"] == {"peer": "camera", "name": "camera"}


def test_sigterm_waits_for_a_photograph_that_still_arrives_and_answers_it(bundle_path: Path) -> None:
    image = photograph(1)
    with RunningServer(bundle_path, *HTTP, "--drain", "20") as server, opened(server) as call:
        head = f"POST /v1/grade HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
        call.sendall(head.encode() + image[:100])
        assert httpx.get(f"{server.http}/v1/model").status_code == 200  # so the one before has arrived
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("stopping: finishing what was accepted")
        end = time.monotonic() + 20
        while answers(server):
            assert time.monotonic() < end
        call.sendall(image[100:])
        answer = b"".join(iter(lambda: call.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"graded"' in answer
        assert server.process.wait(25) == 0


def test_http_and_grpc_share_one_set_of_limits_and_a_refusal_says_when_to_come_back(bundle_path: Path, tmp_path: Path) -> None:
    config = "max_calls = 8\nmax_calls_per_caller = 1\n"
    with RunningServer(bundle_path, *HTTP, config=config, folder=tmp_path) as server, opened(server) as slow:
        slow.sendall(b"POST /v1/grade HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n\r\n")
        end = time.monotonic() + 20
        while (answer := httpx.get(f"{server.http}/v1/model")).status_code != 429:
            assert time.monotonic() < end
        assert answer.json()["reason"] == "OVERLOADED"
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["retryAfterSeconds"] > 0
        from foveal_runtime.errors import OverloadedError

        with server.client(retry_s=0) as client, pytest.raises(OverloadedError, match="of this caller"):
            client.model()
        assert httpx.get(f"{server.http}/readyz").status_code == 200


def test_a_caller_that_goes_is_not_worked_for(bundle_path: Path) -> None:
    body = b'{"studies": [{"note": "macula"}]}'
    head = (
        f"POST /v1/grade HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with RunningServer(bundle_path, *HTTP, "--metrics", "127.0.0.1:0") as server:
        with server.stopped_worker():
            with opened(server) as call:
                call.sendall(head.encode() + body)
                end = time.monotonic() + 20
                while "foveal_queued_studies 1.0" not in scraped(server) and "foveal_studies_in_work 1.0" not in scraped(
                    server
                ):
                    assert time.monotonic() < end, scraped(server)
            server.wait_for("Grade cancelled", 20)
        assert httpx.post(f"{server.http}/v1/grade", json={"studies": [{"note": "x"}]}, timeout=30).status_code == 200
        assert 'method="Grade",outcome="cancelled"' in scraped(server)


def test_many_at_once_are_all_answered(bundle_path: Path) -> None:
    image = photograph(1)
    with RunningServer(bundle_path, *HTTP, "--metrics", "127.0.0.1:0") as server:
        with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=server.http, timeout=60) as client:
            answers = list(pool.map(lambda i: client.post("/v1/grade", files={"image": image}), range(100)))
        assert {answer.status_code for answer in answers} == {200}
        assert 'foveal_call_seconds_count{method="Grade",outcome="OK"} 100.0' in scraped(server)


def test_a_head_that_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "REQUEST_S", 0.3)
    monkeypatch.setattr(listening, "KEEP_ALIVE_S", 1.0)
    import asyncio

    async def app(scope: object, receive: object, send: object) -> None:
        from foveal_runtime.http.endpoint import respond

        await respond(send, 200, {}, b"")  # type: ignore[arg-type]

    async def run() -> list[bytes]:
        listener = Listener(app, "127.0.0.1:0", None, connections=10, drain_s=1)
        await listener.open()
        host, port = listener.address.split(":")
        ends = []
        whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        for sent in (b"", b"GET / HTT", whole + b"GET", whole.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\nx")):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            try:
                ends.append(await asyncio.wait_for(reader.read(), 20))
            except ConnectionResetError:
                ends.append(b"")
            writer.close()
        await listener.close()
        return ends

    nothing, half, second, unread = asyncio.run(run())
    assert (nothing, half) == (b"", b"")
    assert second.startswith(b"HTTP/1.1 200")
    assert unread.startswith(b"HTTP/1.1 200") or unread == b""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--http", "0.0.0.0:8080"), "photographs and tokens would travel in plain text"),
        (("--http", "8080"), "http is '8080'; give HOST:PORT"),
        (("--http", "unix:/run/x"), "give HOST:PORT"),
        (("--http", "0.0.0.0:8080", "--insecure"), "nothing shows who made the bundle"),
    ],
)
def test_addresses_that_others_reach_are_asked_for_the_same_as_grpcs(
    bundle_path: Path, flags: tuple[str, ...], words: str
) -> None:
    done = foveal("serve", str(bundle_path), *flags, "--check-config")
    assert done.returncode == 2
    assert words in one_line(done.stderr)


def test_settings_of_http_are_checked_and_shown(bundle_path: Path) -> None:
    assert 'http = "127.0.0.1:8080"' in foveal("serve", str(bundle_path), "--http", "127.0.0.1:8080", "--check-config").stdout
    for origin in ("foveal.example", "https://a.example/", "ftp://a.example", "*"):
        with pytest.raises(ConfigError, match="http_origins"):
            ServeConfig(bundle=bundle_path, http_origins=(origin,))


def test_an_address_that_is_taken_is_said_with_its_flag(bundle_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        from foveal_runtime.errors import CheckFailed

        with pytest.raises(CheckFailed, match=f"can't listen on 127.0.0.1:{port} .* --http HOST:PORT"):
            RunningServer(bundle_path, "--http", f"127.0.0.1:{port}").__enter__()


def test_without_its_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal_runtime.cli.serve import _http_door

    for name in [name for name in sys.modules if name.startswith("foveal_runtime.http")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    with pytest.raises(ConfigError, match=r"install foveal\[http\]"):
        _http_door()
