"""Messages between a server and a worker on one socket: pickled, photographs beside the pickle. Knows nothing of their meaning.

A frame is its lengths, a pickle (protocol 5) and the buffers that the pickle refers to. Photographs are such buffers: they are
written from where they lie, and received as the `bytes` that the study then holds, without a copy in between. A pickle can call
whatever it names: a server, whose workers meet hostile bytes, reads from them nothing but data.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
from collections.abc import Sequence
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any

from foveal_runtime.errors import FovealError

OUT_OF_BAND_BYTES = 64 << 10
"""Photographs and arrays from here on travel beside the pickle; below, a buffer of its own costs more than the copy."""
MAX_BUFFERS = 1 << 16
"""In a frame."""
_AT_ONCE = 1000
"""Buffers in one system call; the kernel takes 1,024."""
_MAGIC = 0xF0EA1
_HEAD = struct.Struct("=IIQ")
"""Magic number, number of buffers, bytes of the pickle."""


_ERRORS = "foveal_runtime.errors"
_NUMPY = frozenset(
    (module, name)
    for name, modules in {
        "_frombuffer": ("numpy._core.numeric", "numpy.core.numeric"),
        "_reconstruct": ("numpy._core.multiarray", "numpy.core.multiarray"),
        "scalar": ("numpy._core.multiarray", "numpy.core.multiarray"),
        "dtype": ("numpy",),
        "ndarray": ("numpy",),
    }.items()
    for module in modules
)
"""What arrays and their scalars are made of, by the names of NumPy 1 and 2."""


class WireError(Exception):
    """What arrived is no frame of ours."""


class Wire:
    """One end of a socket. One thread may send while another receives."""

    def __init__(self, connection: socket.socket, *, max_bytes: int, trusted: bool = True) -> None:
        """Args:
        connection: a connected, blocking stream socket; closed with the wire.
        max_bytes: of a frame that arrives; what claims more is no frame, and is not waited for.
        trusted: whether the other end may name any class and function; else foveal's own data, errors and arrays alone.
        """
        self._loads = pickle.loads if trusted else _data_alone
        self._socket = connection
        self._max_bytes = max_bytes

    def send(self, message: object) -> None:
        """Send a message; returns when the kernel has taken it.

        Raises:
            OSError: the other end is gone.
        """
        data, views = _pickled(message)
        assert len(views) <= MAX_BUFFERS
        head = _HEAD.pack(_MAGIC, len(views), len(data))
        if views:
            self._write([head, struct.pack(f"={len(views)}Q", *(view.nbytes for view in views)), data, *views])
        else:
            self._socket.sendall(head + data)

    def _write(self, parts: Sequence[bytes | memoryview]) -> None:
        left = [memoryview(part) for part in parts if len(part)]
        while left:
            sent = self._socket.sendmsg(left[:_AT_ONCE])
            while left and sent >= left[0].nbytes:
                sent -= left.pop(0).nbytes
            if sent:
                left[0] = left[0][sent:]

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: the other end is gone, perhaps in the middle of a frame.
            OSError: the socket is broken.
            WireError: what arrived is no frame.
        """
        magic, count, size = _HEAD.unpack(self._read(_HEAD.size))
        if magic != _MAGIC or count > MAX_BUFFERS:
            raise WireError("no frame begins here")
        lengths = struct.unpack(f"={count}Q", self._read(8 * count)) if count else ()
        if size + sum(lengths) > self._max_bytes:
            raise WireError(f"a frame of {size + sum(lengths)} bytes, at most {self._max_bytes} are read")
        data = self._read(size)
        buffers = [self._read(length) for length in lengths]
        try:
            return self._loads(data, buffers=buffers)
        except Exception as error:
            raise WireError(f"a message that can't be read ({type(error).__name__})") from error

    def _read(self, size: int) -> bytes:
        """Exactly so many bytes; the kernel copies them to where they stay."""
        data = self._socket.recv(size, socket.MSG_WAITALL) if size else b""
        while len(data) < size:  # a signal came, or the end
            more = self._socket.recv(size - len(data), socket.MSG_WAITALL)
            if not more:
                raise EOFError
            data += more
        return data

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class _DataAlone(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _data_class(module, name)


def _data_alone(data: bytes, *, buffers: Sequence[bytes]) -> Any:
    return _DataAlone(io.BytesIO(data), buffers=buffers).load()


@cache
def _data_class(module: str, name: str) -> Any:
    """A class whose making does nothing but hold values.

    Raises:
        UnpicklingError: it is another class, or a function.
    """
    if (module, name) in _NUMPY:
        return getattr(import_module(module), name)
    if module.startswith("foveal_runtime.") and name.isidentifier():
        if module == _ERRORS and name.startswith("_rebuild_"):
            return getattr(import_module(module), name)  # errors whose message is made of parts
        found = getattr(import_module(module), name)
        if isinstance(found, type) and (is_dataclass(found) or issubclass(found, (Enum, FovealError))):
            return found
    raise pickle.UnpicklingError("a message from a worker names what is no data")


def _pickled(message: object) -> tuple[bytes, list[memoryview]]:
    views: list[memoryview] = []

    def beside(buffer: pickle.PickleBuffer) -> bool:
        """Take a large buffer out of the pickle; true leaves it in."""
        view = buffer.raw()
        small = view.nbytes < OUT_OF_BAND_BYTES
        if not small:
            views.append(view)
        return small

    data = io.BytesIO()
    _Pickler(data, protocol=5, buffer_callback=beside).dump(message)
    return data.getvalue(), views


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: object) -> Any:
        """Enumerations by class and value on every Python; that of 3.11.0 to 3.11.3 names `getattr`, which no server reads."""
        return (type(obj), (obj.value,)) if isinstance(obj, Enum) else NotImplemented
