"""Studies out of messages: parsed, hashed and looked at once, and not on the event loop where they are large."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from foveal_runtime._proto import study_pb2
from foveal_runtime.errors import FovealError
from foveal_runtime.photo.header import peek_pixels
from foveal_runtime.rpc.inbox import LARGE_BYTES, message_bytes
from foveal_runtime.rpc.messages import study_from
from foveal_runtime.serving.request import photograph_key
from foveal_runtime.study.study import Study


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadStudy:
    """A study, and what reading it showed."""

    study: Study
    image_sha256: bytes
    """Of the photograph's bytes, 32 bytes; of no bytes without one."""
    photograph_key: bytes | None
    """`Request.photograph_key`; None where it was not asked for."""
    pixels: int | None
    """From the photograph's header; None where that does not say, 0 without a photograph."""

    @property
    def content_sha256(self) -> bytes:
        """Identity of what an archive keeps the vectors of: the photograph, or the note without one."""
        return self.image_sha256 if self.study.image else hashlib.sha256((self.study.note or "").encode()).digest()


async def read_all(messages: Sequence[study_pb2.Study], *, keys: bool = False) -> list[ReadStudy | FovealError]:
    """Each message's study, or what is wrong with it.

    Args:
        messages: to read.
        keys: whether somebody needs their `photograph_key`.
    """
    size = message_bytes()
    if size is None:
        size = sum(message.ByteSize() for message in messages)
    if size < LARGE_BYTES:
        return [_read(message, keys) for message in messages]
    return await asyncio.to_thread(lambda: [_read(message, keys) for message in messages])


def _read(message: study_pb2.Study, keys: bool) -> ReadStudy | FovealError:
    try:
        study = study_from(message)
        image = study.image or b""
        pixels = peek_pixels(image) if image else 0
    except FovealError as error:
        return error
    key = photograph_key(study.image) if keys else None
    return ReadStudy(study=study, image_sha256=hashlib.sha256(image).digest(), photograph_key=key, pixels=pixels)
