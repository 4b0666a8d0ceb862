"""Studies are read once, large ones in a thread, and a bad one keeps its error."""

from __future__ import annotations

import hashlib
import threading

import pytest
from bundles import photograph

from foveal_runtime._proto import study_pb2
from foveal_runtime.errors import StudyError
from foveal_runtime.rpc import reading
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.rpc.reading import ReadStudy, read_all
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

    def read(message: study_pb2.Study) -> object:
        where.append(threading.get_ident())
        return true_read(message)

    monkeypatch.setattr(reading, "_read", read)
    await read_all([study_to(Study(image=b"\xff\xd8" + bytes(size)))])
    assert (where == [threading.get_ident()]) is on_the_loop
