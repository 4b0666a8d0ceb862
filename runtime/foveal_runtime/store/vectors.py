"""pgvector's `halfvec` on the wire: float32 arrays to big-endian float16 and back. Knows no table.

The binary form is int16 dimension, int16 zero, then the components (pgvector's halfvec_send).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal_runtime.store.entry import Float32

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_HEADER = struct.Struct(">HH")


@dataclass(frozen=True, slots=True)
class HalfVector:
    """A vector in the form it travels in."""

    wire: bytes

    @classmethod
    def of(cls, vector_D: Float32) -> HalfVector:
        """Round to float16, nearest even. Components of a unit vector cannot overflow."""
        return cls(_HEADER.pack(vector_D.shape[0], 0) + vector_D.astype(">f2").tobytes())

    @classmethod
    def all_of(cls, vectors_ND: Float32) -> list[HalfVector]:
        """`of` for the rows of an array, at once."""
        count, dim = vectors_ND.shape
        header = _HEADER.pack(dim, 0)
        body = vectors_ND.astype(">f2").tobytes()
        return [cls(header + body[i * 2 * dim : (i + 1) * 2 * dim]) for i in range(count)]


def from_wire(data: bytes | bytearray | memoryview) -> Float32:
    """The float32 components of a halfvec in binary form."""
    return np.frombuffer(data, dtype=">f2", offset=_HEADER.size).astype(np.float32)


def from_text(data: bytes | bytearray | memoryview) -> Float32:
    """The float32 components of a halfvec in text form, `[0.1,0.2]`."""
    return np.array(bytes(data).strip(b"[]").split(b","), dtype=np.float32)


def register(connection: AsyncConnection, oid: int) -> None:
    """Teach a connection the type, whose OID differs between databases."""
    from psycopg.adapt import Dumper, Loader
    from psycopg.pq import Format

    type_oid = oid

    class _HalfVectorDumper(Dumper):
        format = Format.BINARY
        oid = type_oid

        def dump(self, obj: HalfVector) -> bytes:
            return obj.wire

    class _BinaryLoader(Loader):
        format = Format.BINARY

        def load(self, data: bytes | bytearray | memoryview) -> Float32:
            return from_wire(data)

    class _TextLoader(Loader):
        format = Format.TEXT

        def load(self, data: bytes | bytearray | memoryview) -> Float32:
            return from_text(data)

    connection.adapters.register_dumper(HalfVector, _HalfVectorDumper)
    connection.adapters.register_loader(oid, _BinaryLoader)
    connection.adapters.register_loader(oid, _TextLoader)
