"""Studies are read once, large ones in a thread, and a bad one keeps its error."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import pytest
from bundles import photograph

from foveal_runtime._proto import study_pb2
from foveal_runtime.engine.answers import Ask
from foveal_runtime.errors import StudyError
from foveal_runtime.rpc import reading
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.rpc.reading import ReadStudy, read_all
from foveal_runtime.serving import request as requests
from foveal_runtime.serving.request import Request
from foveal_runtime.study.study import Study


async def test_a_study_is_parsed_hashed_and_measured_and_its_neighbours_error_is_its_own() -> None:
    image = photograph(1, width=640, height=480)
    bad = study_pb2.Study(image=study_pb2.Image(encoded=b""))
    good, noted, refused = await read_all([study_to(Study(id="a", image=image)), study_to(Study(note="edema")), bad])
    assert isinstance(good, ReadStudy)
    assert (good.study.image, good.pixels) == (image, 640 * 480)
    assert good.content_sha256 == hashlib.sha256(image).digest()
    assert isinstance(noted, ReadStudy)
    assert (noted.pixels, noted.content_sha256) == (0, hashlib.sha256(b"edema").digest())
    assert isinstance(refused, StudyError)


@pytest.mark.parametrize(("size", "on_the_loop"), [(1_000, True), (1 << 20, False)])
async def test_large_messages_are_not_read_on_the_event_loop(
    size: int, on_the_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: list[int] = []
    true_read = reading._read

    def read(message: study_pb2.Study, keys: bool) -> object:
        where.append(threading.get_ident())
        return true_read(message, keys)

    monkeypatch.setattr(reading, "_read", read)
    await read_all([study_to(Study(image=b"\xff\xd8" + bytes(size)))])
    assert (where == [threading.get_ident()]) is on_the_loop


async def test_a_large_photograph_is_hashed_once_and_not_on_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    large: list[int] = []
    true_sha256 = hashlib.sha256

    def counted(data: bytes = b"") -> Any:
        if len(data) >= 1 << 20:
            large.append(threading.get_ident())
        return true_sha256(data)

    monkeypatch.setattr(hashlib, "sha256", counted)
    (read,) = await read_all([study_to(Study(image=b"\xff\xd8" + bytes(1 << 20)))])
    assert isinstance(read, ReadStudy)
    request = Request(study=read.study, ask=Ask(), image_sha256=read.image_sha256)
    assert request.key() == request.key()  # for the cache, and for the strikes
    assert len(read.content_sha256) == 32  # for the archive
    assert len(large) == 1
    assert large != [threading.get_ident()]
    assert Request(study=read.study, ask=Ask()).key() == request.key()
    assert len(large) == 2


async def test_what_is_compared_with_strikes_is_hashed_off_the_event_loop_where_somebody_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where: list[int] = []
    true_hash = requests.content_sha256

    def hashed(data: bytes) -> bytes:
        where.append(threading.get_ident())
        return true_hash(data)

    monkeypatch.setattr(requests, "content_sha256", hashed)
    message = study_to(Study(image=b"\xff\xd8" + bytes(1 << 20)))
    (unasked,) = await read_all([message])
    assert isinstance(unasked, ReadStudy)
    assert (unasked.photograph_key, where) == (None, [])
    (read,) = await read_all([message], keys=True)
    assert isinstance(read, ReadStudy)
    known = Request(study=read.study, ask=Ask(), known_key=read.photograph_key).photograph_key()
    assert len(where) == 1
    assert where != [threading.get_ident()]
    assert Request(study=read.study, ask=Ask()).photograph_key() == known
