"""A call's name: the caller's where it is a plain word, echoed, and in the log lines of the call."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from servers import RunningServer

from foveal_runtime._proto import screening_pb2, screening_pb2_grpc, study_pb2
from foveal_runtime.client.channel import open_channel


def asked(server: RunningServer, given: str | None) -> tuple[str, Any]:
    """The name that a Grade is answered under, and its outcome."""
    request = screening_pb2.GradeRequest(studies=[study_pb2.Study(note="macula")])
    with open_channel(server.address) as channel:
        stub: Any = screening_pb2_grpc.ScreeningStub(channel)  # type: ignore[no-untyped-call]
        _, call = stub.Grade.with_call(request, timeout=20, metadata=() if given is None else (("x-request-id", given),))
        return dict(call.initial_metadata())["x-request-id"], call.code()


def test_the_callers_name_is_echoed_and_logged(server: RunningServer) -> None:
    name, code = asked(server, "visit-7.left:1")
    assert (name, code) == ("visit-7.left:1", grpc.StatusCode.OK)
    server.wait_for("[visit-7.left:1]: Grade OK")


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 65, "-dash", "a%0aERROR forged"])
def test_what_is_no_plain_word_is_answered_under_a_name_of_our_own(server: RunningServer, given: str | None) -> None:
    name, code = asked(server, given)
    assert code is grpc.StatusCode.OK
    assert name != given
    assert len(name) == 32
    assert "forged" not in server.log


def test_a_refused_call_has_a_name_too(server: RunningServer) -> None:
    with open_channel(server.address) as channel:
        stub: Any = screening_pb2_grpc.ScreeningStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError) as refused:
            stub.Grade(screening_pb2.GradeRequest(), timeout=20, metadata=(("x-request-id", "empty-one"),))
    assert dict(refused.value.initial_metadata())["x-request-id"] == "empty-one"
    server.wait_for("[empty-one]: Grade InputError")
