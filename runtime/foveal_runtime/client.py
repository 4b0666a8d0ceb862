"""Python clients, sync and async: connection reuse, deadlines, retries where they are safe. They grade nothing themselves.

    with Client("127.0.0.1:50051") as client:
        response = client.grade([Study(id="a", image=Path("a.jpg").read_bytes())])

Every call of the interface can be repeated without harm (writes are by id), so calls are retried while the server is away, by
gRPC's own policy and within the deadline; streams are not. Failures raise the errors of `foveal_runtime.errors`.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from foveal_runtime._proto import archive_pb2, archive_pb2_grpc, model_pb2, screening_pb2, screening_pb2_grpc, study_pb2
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.errors import ConfigError
from foveal_runtime.rpc.messages import KIND_TO, study_to
from foveal_runtime.rpc.status import error_of_rpc
from foveal_runtime.study.study import Study

DEFAULT_ADDRESS = "127.0.0.1:50051"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientOptions:
    """How to reach a server."""

    timeout_s: float = 60.0
    """Deadline of every call that is no stream."""
    tls_ca: Path | None = None
    """PEM certificates that the server's must be signed by; None with no TLS at all."""
    tls_cert: Path | None = None
    """PEM certificate of this client, for servers with --client-ca."""
    tls_key: Path | None = None
    max_message_bytes: int = 64 << 20
    scale_down_px: int | None = None
    """Photographs whose longer side is longer than this are scaled down and sent as JPEG of quality 95: less to send, and an
    answer that may differ in the last digits. None sends what there is."""


def scaled_down(image: bytes, side_px: int) -> bytes:
    """A photograph of at most `side_px` a side; the very same bytes when it is small enough or can't be read here."""
    from PIL import Image, ImageOps

    from foveal_runtime.errors import ImageError
    from foveal_runtime.photo.imaging import open_header

    try:
        picture = open_header(image)
        if max(picture.size) <= side_px:
            return image
        picture.draft("RGB", (side_px, side_px))
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    except (ImageError, OSError):
        return image  # the server says what is wrong with it, in one place
    upright.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    upright.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _channel_options(options: ClientOptions) -> list[tuple[str, Any]]:
    policy = {
        "methodConfig": [
            {
                "name": [{"service": "foveal.v1.Screening"}, {"service": "foveal.v1.Archive"}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
    return [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", options.max_message_bytes),
        ("grpc.service_config", json.dumps(policy)),
        ("grpc.keepalive_time_ms", 60_000),
    ]


def _credentials(options: ClientOptions) -> Any:
    try:
        roots, cert, key = (
            path.read_bytes() if path is not None else None for path in (options.tls_ca, options.tls_cert, options.tls_key)
        )
    except OSError as error:
        raise ConfigError(f"TLS file can't be read ({error}); check --tls-ca, --tls-cert and --tls-key") from None
    return None if roots is None else grpc.ssl_channel_credentials(roots, key, cert)


class _Messages:
    """Requests from domain types; shared by both clients."""

    def __init__(self, address: str, options: ClientOptions | None) -> None:
        self.address = address
        self.options = ClientOptions() if options is None else options

    def study(self, study: Study) -> study_pb2.Study:
        message = study_to(study)
        if self.options.scale_down_px is not None and study.image is not None:
            message.image.encoded = scaled_down(study.image, self.options.scale_down_px)
        return message

    def grade(self, studies: Iterable[Study]) -> screening_pb2.GradeRequest:
        return screening_pb2.GradeRequest(studies=[self.study(s) for s in studies])

    def embed(self, studies: Iterable[Study], kinds: Iterable[VectorKind]) -> screening_pb2.EmbedRequest:
        return screening_pb2.EmbedRequest(studies=[self.study(s) for s in studies], kinds=[KIND_TO[k] for k in kinds])


class Client:
    """A blocking client. One channel, safe to share between threads; close it, or use it as a context manager."""

    def __init__(self, address: str = DEFAULT_ADDRESS, options: ClientOptions | None = None) -> None:
        """Connects on the first call."""
        self._messages = _Messages(address, options)
        settings, credentials = _channel_options(self._messages.options), _credentials(self._messages.options)
        self._channel = (
            grpc.insecure_channel(address, settings)
            if credentials is None
            else grpc.secure_channel(address, credentials, settings)
        )
        self._screening: Any = screening_pb2_grpc.ScreeningStub(self._channel)
        self._archive: Any = archive_pb2_grpc.ArchiveStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connection."""
        self._channel.close()

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._messages.options.timeout_s)
        except grpc.RpcError as error:
            raise error_of_rpc(error, self._messages.address) from None

    def _stream(self, method: Any, requests: Iterator[Any]) -> Iterator[Any]:
        call = method(requests)
        try:
            yield from call
        except grpc.RpcError as error:
            raise error_of_rpc(error, self._messages.address) from None
        finally:
            call.cancel()

    def grade(self, studies: Sequence[Study]) -> screening_pb2.GradeResponse:
        """Grade studies; each result is a grade or an error (`status.error_of` makes an exception of it).

        Raises:
            FovealError: the request as a whole failed.
        """
        response: screening_pb2.GradeResponse = self._call(self._screening.Grade, self._messages.grade(studies))
        return response

    def embed(self, studies: Sequence[Study], kinds: Iterable[VectorKind] = ()) -> screening_pb2.EmbedResponse:
        """Embed studies; no kinds means joint."""
        response: screening_pb2.EmbedResponse = self._call(self._screening.Embed, self._messages.embed(studies, kinds))
        return response

    def grade_exam(self, request: screening_pb2.GradeExamRequest) -> screening_pb2.GradeExamResponse:
        """Grade all photographs of a visit."""
        response: screening_pb2.GradeExamResponse = self._call(self._screening.GradeExam, request)
        return response

    def grade_stream(self, studies: Iterable[Study]) -> Iterator[screening_pb2.GradeResult]:
        """Grade studies as they come; results in the order they are ready."""
        requests = (screening_pb2.GradeStreamRequest(study=self._messages.study(s)) for s in studies)
        for response in self._stream(self._screening.GradeStream, requests):
            yield response.result

    def embed_stream(self, studies: Iterable[Study], kinds: Iterable[VectorKind] = ()) -> Iterator[screening_pb2.EmbedResult]:
        """Embed studies as they come; results in the order they are ready."""
        numbers = [KIND_TO[kind] for kind in kinds]
        requests = (screening_pb2.EmbedStreamRequest(study=self._messages.study(s), kinds=numbers) for s in studies)
        for response in self._stream(self._screening.EmbedStream, requests):
            yield response.result

    def model(self) -> model_pb2.GetModelResponse:
        """What is being served."""
        response: model_pb2.GetModelResponse = self._call(self._screening.GetModel, model_pb2.GetModelRequest())
        return response

    def self_test(self) -> model_pb2.SelfTestResponse:
        """Replay the golden studies on the server now."""
        response: model_pb2.SelfTestResponse = self._call(self._screening.SelfTest, model_pb2.SelfTestRequest())
        return response

    def upsert(self, request: archive_pb2.UpsertRequest) -> archive_pb2.UpsertResponse:
        """Store entries."""
        response: archive_pb2.UpsertResponse = self._call(self._archive.Upsert, request)
        return response

    def upsert_stream(self, requests: Iterable[archive_pb2.UpsertStreamRequest]) -> Iterator[archive_pb2.UpsertResult]:
        """Store entries as they come; outcomes in the order they are durable."""
        for response in self._stream(self._archive.UpsertStream, iter(requests)):
            yield response.result

    def delete(self, request: archive_pb2.DeleteRequest) -> archive_pb2.DeleteResponse:
        """Remove entries."""
        response: archive_pb2.DeleteResponse = self._call(self._archive.Delete, request)
        return response

    def get(self, request: archive_pb2.GetRequest) -> archive_pb2.GetResponse:
        """Entries by id."""
        response: archive_pb2.GetResponse = self._call(self._archive.Get, request)
        return response

    def search(self, request: archive_pb2.SearchRequest) -> archive_pb2.SearchResponse:
        """The nearest entries."""
        response: archive_pb2.SearchResponse = self._call(self._archive.Search, request)
        return response

    def stats(self) -> archive_pb2.StatsResponse:
        """How much is stored."""
        response: archive_pb2.StatsResponse = self._call(self._archive.Stats, archive_pb2.StatsRequest())
        return response


class AsyncClient:
    """The same on an event loop, for the calls of screening software."""

    def __init__(self, address: str = DEFAULT_ADDRESS, options: ClientOptions | None = None) -> None:
        """Connects on the first call; make it inside a running event loop."""
        self._messages = _Messages(address, options)
        settings, credentials = _channel_options(self._messages.options), _credentials(self._messages.options)
        self._channel = (
            grpc.aio.insecure_channel(address, settings)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, settings)
        )
        self._screening: Any = screening_pb2_grpc.ScreeningStub(self._channel)
        self._archive: Any = archive_pb2_grpc.ArchiveStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give back the connection."""
        await self._channel.close()

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=self._messages.options.timeout_s)
        except grpc.RpcError as error:
            raise error_of_rpc(error, self._messages.address) from None

    async def _stream(self, method: Any, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        call = method(requests)
        try:
            async for response in call:
                yield response
        except grpc.RpcError as error:
            raise error_of_rpc(error, self._messages.address) from None
        finally:
            call.cancel()

    async def grade(self, studies: Sequence[Study]) -> screening_pb2.GradeResponse:
        """Grade studies; each result is a grade or an error.

        Raises:
            FovealError: the request as a whole failed.
        """
        response: screening_pb2.GradeResponse = await self._call(self._screening.Grade, self._messages.grade(studies))
        return response

    async def embed(self, studies: Sequence[Study], kinds: Iterable[VectorKind] = ()) -> screening_pb2.EmbedResponse:
        """Embed studies; no kinds means joint."""
        response: screening_pb2.EmbedResponse = await self._call(self._screening.Embed, self._messages.embed(studies, kinds))
        return response

    async def grade_stream(self, studies: AsyncIterator[Study]) -> AsyncIterator[screening_pb2.GradeResult]:
        """Grade studies as they come; results in the order they are ready."""

        async def requests() -> AsyncIterator[Any]:
            async for study in studies:
                yield screening_pb2.GradeStreamRequest(study=self._messages.study(study))

        async for response in self._stream(self._screening.GradeStream, requests()):
            yield response.result

    async def embed_stream(
        self, studies: AsyncIterator[Study], kinds: Iterable[VectorKind] = ()
    ) -> AsyncIterator[screening_pb2.EmbedResult]:
        """Embed studies as they come; results in the order they are ready."""
        numbers = [KIND_TO[kind] for kind in kinds]

        async def requests() -> AsyncIterator[Any]:
            async for study in studies:
                yield screening_pb2.EmbedStreamRequest(study=self._messages.study(study), kinds=numbers)

        async for response in self._stream(self._screening.EmbedStream, requests()):
            yield response.result

    async def grade_exam(self, request: screening_pb2.GradeExamRequest) -> screening_pb2.GradeExamResponse:
        """Grade all photographs of a visit."""
        response: screening_pb2.GradeExamResponse = await self._call(self._screening.GradeExam, request)
        return response

    async def self_test(self) -> model_pb2.SelfTestResponse:
        """Replay the golden studies on the server now."""
        response: model_pb2.SelfTestResponse = await self._call(self._screening.SelfTest, model_pb2.SelfTestRequest())
        return response

    async def model(self) -> model_pb2.GetModelResponse:
        """What is being served."""
        response: model_pb2.GetModelResponse = await self._call(self._screening.GetModel, model_pb2.GetModelRequest())
        return response

    async def search(self, request: archive_pb2.SearchRequest) -> archive_pb2.SearchResponse:
        """The nearest entries."""
        response: archive_pb2.SearchResponse = await self._call(self._archive.Search, request)
        return response

    async def upsert(self, request: archive_pb2.UpsertRequest) -> archive_pb2.UpsertResponse:
        """Store entries."""
        response: archive_pb2.UpsertResponse = await self._call(self._archive.Upsert, request)
        return response

    async def upsert_stream(
        self, requests: AsyncIterator[archive_pb2.UpsertStreamRequest]
    ) -> AsyncIterator[archive_pb2.UpsertResult]:
        """Store entries as they come; outcomes in the order they are durable."""
        async for response in self._stream(self._archive.UpsertStream, requests):
            yield response.result

    async def delete(self, request: archive_pb2.DeleteRequest) -> archive_pb2.DeleteResponse:
        """Remove entries."""
        response: archive_pb2.DeleteResponse = await self._call(self._archive.Delete, request)
        return response

    async def get(self, request: archive_pb2.GetRequest) -> archive_pb2.GetResponse:
        """Entries by id."""
        response: archive_pb2.GetResponse = await self._call(self._archive.Get, request)
        return response

    async def stats(self) -> archive_pb2.StatsResponse:
        """How much is stored."""
        response: archive_pb2.StatsResponse = await self._call(self._archive.Stats, archive_pb2.StatsRequest())
        return response
