"""Messages between a server and a worker: what travels beside the pickle, and what a torn or hostile frame is."""

from __future__ import annotations

import copy
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from bundles import open_engine

from foveal_runtime.engine.selftest import self_test
from foveal_runtime.errors import ImageError
from foveal_runtime.sandbox.confine import Confinement, Policy
from foveal_runtime.serving.jobs import RunJob, Started, Waiting
from foveal_runtime.serving.wire import OUT_OF_BAND_BYTES, Wire, WireError, _pickled
from foveal_runtime.serving.worker import Ready
from foveal_runtime.study.study import Record, Study

HEAD = struct.Struct("=IIQ")
MAGIC = 0xF0EA1
MB = 1 << 20


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def carried(message: object, ends: tuple[socket.socket, socket.socket]) -> object:
    """The message as it arrives."""
    sender = threading.Thread(target=Wire(ends[0], max_bytes=128 * MB).send, args=(message,))
    sender.start()
    try:
        return Wire(ends[1], max_bytes=128 * MB).receive()
    finally:
        sender.join(10)


@pytest.mark.parametrize("size", [0, 1, OUT_OF_BAND_BYTES - 1, OUT_OF_BAND_BYTES, 20_000_000])
def test_a_study_arrives_as_it_was(ends: tuple[socket.socket, socket.socket], size: int) -> None:
    study = Study(id="a", image=os.urandom(size), note="macula", record=Record(age_years=61.0))
    number, job = carried((7, RunJob((study, Study(note="b")), ())), ends)  # type: ignore[misc]
    assert number == 7
    assert job.studies == (study, Study(note="b"))
    assert type(job.studies[0].image) is bytes


def test_a_photograph_is_not_copied_into_the_pickle() -> None:
    image = bytes(MB)
    data, beside = _pickled((1, RunJob((Study(image=image), Study(image=b"small")), ())))
    assert len(data) < 1000
    assert [view.obj for view in beside] == [image]
    assert beside[0].obj is image


def test_a_study_is_pickled_and_copied_as_ever_where_nobody_takes_its_photograph_out() -> None:
    study = Study(id="a", image=bytes(MB), note="b", record=Record(age_years=61.0))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(study, protocol=protocol)) == study
    assert copy.deepcopy(study) == study


def test_small_arrays_stay_in_the_pickle_and_can_be_written_to(ends: tuple[socket.socket, socket.socket]) -> None:
    vectors = {"joint": np.arange(256, dtype=np.float32)}
    assert _pickled(vectors)[1] == []
    arrived = carried(vectors, ends)
    assert isinstance(arrived, dict)
    assert arrived["joint"].flags.writeable
    np.testing.assert_array_equal(arrived["joint"], vectors["joint"])


def test_more_photographs_than_one_system_call_takes_arrive(ends: tuple[socket.socket, socket.socket]) -> None:
    image = bytes(OUT_OF_BAND_BYTES)
    studies = tuple(Study(id=str(i), image=image) for i in range(1100))
    assert carried(studies, ends) == studies


@pytest.mark.parametrize("torn_at", [1, HEAD.size, HEAD.size + 3])
def test_a_torn_frame_is_the_end(ends: tuple[socket.socket, socket.socket], torn_at: int) -> None:
    ends[0].sendall((HEAD.pack(MAGIC, 0, 100) + b"x" * 99)[:torn_at])
    ends[0].close()
    with pytest.raises(EOFError):
        Wire(ends[1], max_bytes=MB).receive()


@pytest.mark.parametrize(
    "frame",
    [
        b"\0" * 64,
        HEAD.pack(MAGIC, 0, 1 << 60),
        HEAD.pack(MAGIC, 1, 10) + struct.pack("=Q", 1 << 60),
        HEAD.pack(MAGIC, 1 << 31, 10),
        HEAD.pack(MAGIC, 0, 4) + b"nope",
        HEAD.pack(MAGIC, 0, 0),
    ],
)
def test_what_is_no_frame_is_refused_and_not_waited_for(ends: tuple[socket.socket, socket.socket], frame: bytes) -> None:
    ends[0].sendall(frame)
    ends[1].settimeout(10)
    with pytest.raises(WireError):
        Wire(ends[1], max_bytes=MB).receive()


def test_a_closed_end_can_not_be_sent_to(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        Wire(ends[0], max_bytes=MB).send((1, Study(image=bytes(MB))))


def test_a_worker_that_can_not_read_its_server_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = theirs.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "foveal_runtime.serving.worker", str(fd), Policy().to_text()],
            pass_fds=(fd,),
            stderr=subprocess.PIPE,
        )
        ours.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"WireError" in said


def _from_a_worker(ends: tuple[socket.socket, socket.socket], data: bytes) -> object:
    ends[0].sendall(HEAD.pack(MAGIC, 0, len(data)) + data)
    return Wire(ends[1], max_bytes=MB, trusted=False).receive()


@pytest.mark.parametrize(
    "call",
    [
        (os.system, ("touch {}",)),
        (subprocess.Popen, (["touch", "{}"],)),
        (eval, ("open('{}', 'w')",)),
        (os.mkdir, ("{}",)),
        (open, ("{}", "w")),
        (copy.deepcopy, ({"a": 1},)),
    ],
    ids=lambda call: getattr(call[0], "__qualname__", ""),
)
def test_a_worker_that_was_taken_over_makes_its_server_call_nothing(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path, call: tuple[Callable[..., object], tuple[object, ...]]
) -> None:
    made = tmp_path / "made"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            function, arguments = call
            return function, tuple(json.loads(json.dumps(arguments).replace("{}", str(made))))

    data = pickle.dumps((1, Attack()))
    with pytest.raises(WireError, match="UnpicklingError"):
        _from_a_worker(ends, data)
    assert not made.exists()
    pickle.loads(data)  # its twin: a trusted end would have called it


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("foveal_runtime.serving.supervisor", "Worker"),
        ("foveal_runtime.bundle.golden", "write_golden"),
        ("foveal_runtime.serving.wire", "pickle.loads"),
        ("foveal_runtime.serving.supervisor", "subprocess"),
        ("numpy", "fromfile"),
        ("builtins", "getattr"),
    ],
)
def test_names_of_functions_and_of_classes_that_do_something_are_refused(
    ends: tuple[socket.socket, socket.socket], module: str, name: str
) -> None:
    text = [b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name)]
    with pytest.raises(WireError):
        _from_a_worker(ends, b"\x80\x05" + text[0] + text[1] + b"\x93.")


def _reduced_by_name(member: Enum, protocol: int) -> tuple[object, ...]:
    """As Python 3.11.0 to 3.11.3 has it, which is Debian 12's."""
    return getattr, (type(member), member.name)


@pytest.mark.parametrize("reduced", [Enum.__reduce_ex__, _reduced_by_name])
def test_answers_of_every_kind_pass(
    ends: tuple[socket.socket, socket.socket],
    bundle_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reduced: Callable[..., object],
) -> None:
    monkeypatch.setattr(Enum, "__reduce_ex__", reduced)
    engine = open_engine(bundle_path)
    outcome = engine.run([engine.prepare(Study(note="macula"))])[0]
    error = ImageError("no photograph; send one")
    ready = Ready(self_test=self_test(engine), load_s=0.5, confinement=Confinement(measures=("a",)))
    for answer in ([outcome, error], ready, Started(also=(1,)), Waiting()):
        number, found = _from_a_worker(ends, _pickled((3, answer))[0])  # type: ignore[misc]
        assert number == 3
        assert type(found) is type(answer)
    assert str(_from_a_worker(ends, _pickled(error)[0])) == str(error)
