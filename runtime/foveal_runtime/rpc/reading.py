"""Studies out of messages: parsed, hashed and looked at once, and not on the event loop where they are large."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foveal_runtime._proto import study_pb2
from foveal_runtime.errors import FovealError
from foveal_runtime.photo.header import peek_pixels
from foveal_runtime.rpc.inbox import LARGE_BYTES, message_bytes
from foveal_runtime.rpc.messages import study_from
from foveal_runtime.serving.request import photograph_key
from foveal_runtime.study.study import Study

Sent = Mapping[str, str | bool | None]
UNREAD: Sent = {"photograph": None, "alone": False}
"""Of a study that was refused before anybody read it."""


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
    refusal: FovealError | None = None
    """What is wrong with the photograph already by its header."""

    @property
    def photograph(self) -> str | None:
        """SHA-256 of the photograph's bytes in hexadecimal digits; None without one."""
        return self.image_sha256.hex() if self.study.image else None

    @property
    def sent(self) -> Sent:
        """What the audit trail says of it: whether the photograph came without a note or a record, and its hash."""
        alone = self.study.image is not None and self.study.note is None and self.study.record is None
        return {"photograph": self.photograph, "alone": alone}

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
    except FovealError as error:
        return error
    image, pixels, refusal = study.image or b"", 0 if not study.image else None, None
    try:
        pixels = peek_pixels(image) if image else 0
    except FovealError as error:
        refusal = error
    key = photograph_key(study.image) if keys else None
    return ReadStudy(
        study=study, image_sha256=hashlib.sha256(image).digest(), photograph_key=key, pixels=pixels, refusal=refusal
    )
