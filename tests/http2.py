"""HTTP/2 by hand, for callers that no gRPC library would play: frames as bytes, and an answer as frames."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

DATA, HEADERS, SETTINGS = 0x0, 0x1, 0x4
END_STREAM, END_HEADERS = 0x1, 0x4
INITIAL_WINDOW_SIZE = 0x4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(body: bytes) -> bytes:
    """A gRPC message, with its length before it."""
    return b"\x00" + struct.pack(">I", len(body)) + body


def open_call(address: str, path: str, *settings: tuple[int, int]) -> socket.socket:
    """A connection on which a call has begun, as stream 1, and has sent no message yet.

    Args:
        address: HOST:PORT.
        path: of the method, `/package.Service/Method`.
        settings: of the connection, each an identifier and its value.
    """
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    headers = {
        ":method": "POST", ":scheme": "http", ":path": path, ":authority": address,
        "te": "trailers", "content-type": "application/grpc",
    }  # fmt: skip
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *each) for each in settings))
        + frame(HEADERS, END_HEADERS, 1, b"".join(_literal(*pair) for pair in headers.items()))
    )
    return connection


def frames_of(connection: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame, until the server closes the connection."""
    with connection.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            kind, flags, number = struct.unpack(">BBI", head[3:])
            yield kind, flags, number, stream.read(int.from_bytes(head[:3], "big"))


def _literal(name: str, value: str) -> bytes:
    """A header that is neither indexed nor compressed (RFC 7541, section 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
