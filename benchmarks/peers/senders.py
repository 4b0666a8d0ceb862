"""The load's clients: gRPC and HTTP/1.1, with requests that were serialised before. Cheap, since they share the servers' cores.

HTTP is forty lines on a socket: a client library would take more processor time than some servers do.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from foveal_runtime._proto import open_inference_grpc_pb2 as inference
from foveal_runtime._proto import screening_pb2
from foveal_runtime.client.channel import open_aio_channel
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Study
from peers.load import GONE, Reply, Sends

_EARLY_S = 0.02
"""A deadline that is told so much before it ends was told by the server, which saw that it can't be kept."""
_BOUNDARY = b"foveal-benchmark"
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class GrpcSender:
    """One method of one server."""

    def __init__(self, address: str, method: str, requests: Sequence[bytes], read: Callable[[bytes], Reply]) -> None:
        """Args:
        address: HOST:PORT.
        method: /package.Service/Method.
        requests: one a photograph, serialised.
        read: of a serialised answer.
        """
        self._channel = open_aio_channel(address)
        self._call: Any = self._channel.unary_unary(method)
        self._requests, self._read = requests, read

    async def send(self, photograph: int, timeout_s: float) -> Reply:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            answer = await self._call(self._requests[photograph], timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and clock() - started > timeout_s - _EARLY_S:
                raise TimeoutError from None
            return Reply(code=error.code().name)
        return self._read(answer)

    async def close(self) -> None:
        await self._channel.close()


def foveal_sender(address: str, photographs: Sequence[bytes]) -> Sends:
    """foveal's own protocol."""
    requests = [screening_pb2.GradeRequest(studies=[study_to(Study(image=each))]).SerializeToString() for each in photographs]
    return GrpcSender(address, "/foveal.v1.Screening/Grade", requests, _read_foveal)


def _read_foveal(answer: bytes) -> Reply:
    (result,) = screening_pb2.GradeResponse.FromString(answer).results
    if not result.HasField("grade"):
        return Reply(code=_CODES[result.error.code])
    heads = {head.head: head for head in result.grade.graded.heads}
    return Reply(code="OK", probabilities=tuple(each.probability for each in heads[ICDR].classes) if ICDR in heads else ())


def triton_sender(address: str, photographs: Sequence[bytes]) -> Sends:
    """KServe's protocol over gRPC, elements as raw bytes."""
    requests = [
        inference.ModelInferRequest(
            model_name="foveal",
            inputs=[inference.ModelInferRequest.InferInputTensor(name="photograph", datatype="BYTES", shape=[1, 1])],
            raw_input_contents=[struct.pack("<I", len(each)) + each],
        ).SerializeToString()
        for each in photographs
    ]
    return GrpcSender(address, "/inference.GRPCInferenceService/ModelInfer", requests, _read_triton)


def _read_triton(answer: bytes) -> Reply:
    (raw,) = inference.ModelInferResponse.FromString(answer).raw_output_contents
    return Reply(code="OK", probabilities=struct.unpack(f"<{len(raw) // 4}f", raw))


class HttpSender:
    """Connections that are kept open, as many as are needed at once."""

    def __init__(self, address: str, requests: Sequence[bytes]) -> None:
        """Args:
        address: HOST:PORT.
        requests: one a photograph: head and body.
        """
        self._host, _, port = address.rpartition(":")
        self._port, self._requests = int(port), requests
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, photograph: int, timeout_s: float) -> Reply:
        async with asyncio.timeout(timeout_s):
            while self._idle:
                reader, writer = self._idle.pop()
                if not reader.at_eof() and not writer.is_closing():
                    break
                writer.close()
            else:
                reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                writer.write(self._requests[photograph])
                await writer.drain()
                status, body, stays = await _response(reader)
            except BaseException:
                writer.transport.abort()  # the caller is gone: that's how HTTP/1.1 says so
                raise
        if stays:
            self._idle.append((reader, writer))
        else:
            writer.close()
        if status != 200:
            return Reply(code=GONE if status == 0 else f"HTTP {status}")
        found = json.loads(body)
        # BentoML answers a list of one request's answers, as it takes a list of its inputs.
        return Reply(code="OK", probabilities=tuple(found[0] if found and isinstance(found[0], list) else found))

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body and whether the connection stays; status 0 where it broke."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        fields = dict(line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            body = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            body = await reader.readexactly(int(fields[b"content-length"]))
    except asyncio.IncompleteReadError:
        return 0, b"", False
    return int(head.split(b" ", 2)[1]), body, b"close" not in fields.get(b"connection", b"")


def _request(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def body_sender(path: str) -> Callable[[str, Sequence[bytes]], Sends]:
    """HTTP with the photograph as the body."""
    return lambda address, photographs: HttpSender(address, [_request(path, "image/jpeg", each) for each in photographs])


def form_sender(path: str, field: str) -> Callable[[str, Sequence[bytes]], Sends]:
    """HTTP with the photograph as the file of a form."""
    head = b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    opening, end = head % (_BOUNDARY, field.encode()), b"\r\n--%s--\r\n" % _BOUNDARY
    kind = f"multipart/form-data; boundary={_BOUNDARY.decode()}"
    return lambda address, photographs: HttpSender(
        address, [_request(path, kind, opening + each + end) for each in photographs]
    )


SENDERS: dict[str, Callable[[str, Sequence[bytes]], Sends]] = {
    "foveal": foveal_sender,
    "triton": triton_sender,
    "bentoml": form_sender("/grade", "photographs"),
    "litserve": body_sender("/predict"),
    "ray": body_sender("/"),
}
"""By server: a client of an address for photographs."""
