"""HTTP/2 by hand, for callers that no gRPC library would play: frames as bytes, and an answer as frames."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0x0, 0x1, 0x4, 0x8
_FIRST_WINDOW_BYTES, _FRAME_BYTES = 65_535, 16_384
"""Of a stream and of a connection until the other end says more (section 6.9.2), and of a frame (section 4.2)."""
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE = 0x4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(body: bytes) -> bytes:
    """A gRPC message, with its length before it."""
    return b"\x00" + struct.pack(">I", len(body)) + body


def open_call(address: str, path: str, *settings: tuple[int, int], source: str = "") -> socket.socket:
    """A connection on which a call has begun, as stream 1, and has sent no message yet.

    Args:
        address: HOST:PORT.
        path: of the method, `/package.Service/Method`.
        settings: of the connection, each an identifier and its value.
        source: the address that the connection comes from; any without it.
    """
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=10, source_address=(source, 0) if source else None)
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


def send_as_allowed(connection: socket.socket, body: bytes, *, seconds: float) -> int:
    """Send bytes on stream 1 as far as the other end's windows let it.

    Args:
        connection: of `open_call`.
        body: what to send.
        seconds: that one waits for a window to open.

    Returns:
        The bytes that were sent.
    """
    windows = {0: _FIRST_WINDOW_BYTES, 1: _FIRST_WINDOW_BYTES}
    sent, first = 0, _FIRST_WINDOW_BYTES
    connection.settimeout(seconds)
    frames = frames_of(connection)
    with contextlib.suppress(TimeoutError):
        while sent < len(body):
            while size := min(_FRAME_BYTES, len(body) - sent, *windows.values()):
                connection.sendall(frame(DATA, 0, 1, body[sent : sent + size]))
                sent += size
                windows = {number: window - size for number, window in windows.items()}
            if sent < len(body):
                kind, flags, number, payload = next(frames)
                if kind == WINDOW_UPDATE:
                    windows[number] += int.from_bytes(payload, "big")
                elif kind == SETTINGS and not flags:
                    said = dict(struct.iter_unpack(">HI", payload)).get(INITIAL_WINDOW_SIZE, first)
                    connection.sendall(frame(SETTINGS, ACK, 0, b""))
                    windows[1] += said - first
                    first = said
    return sent


def frames_of(connection: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame, until the server closes the connection."""
    with connection.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            kind, flags, number = struct.unpack(">BBI", head[3:])
            yield kind, flags, number, stream.read(int.from_bytes(head[:3], "big"))


def _literal(name: str, value: str) -> bytes:
    """A header that is neither indexed nor compressed (RFC 7541, section 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
