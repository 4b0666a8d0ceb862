"""The blocking client. Made from `aio.py` by scripts/client.py: change that one, then run it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from foveal_runtime._proto import (
    admin_pb2,
    admin_pb2_grpc,
    archive_pb2,
    archive_pb2_grpc,
    model_pb2,
    screening_pb2,
    screening_pb2_grpc,
)
from foveal_runtime.client.channel import open_channel
from foveal_runtime.client.diagnosis import diagnose
from foveal_runtime.client.options import DEFAULT_ADDRESS, ClientOptions
from foveal_runtime.client.requests import Messages
from foveal_runtime.client.retries import Retries
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.errors import FovealError
from foveal_runtime.rpc.messages import KIND_TO
from foveal_runtime.rpc.status import error_of_rpc
from foveal_runtime.study.study import Study


class Client:
    """One channel, safe to share; close it, or use it as a context manager."""

    def __init__(self, address: str = DEFAULT_ADDRESS, options: ClientOptions | None = None) -> None:
        """Connects on the first call."""
        self._messages = Messages(address, options)
        self._retries = Retries(self._messages.options)
        self._channel = open_channel(address, self._messages.options)
        self._screening: Any = screening_pb2_grpc.ScreeningStub(self._channel)
        self._archive: Any = archive_pb2_grpc.ArchiveStub(self._channel)
        self._admin: Any = admin_pb2_grpc.AdminStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connection."""
        self._channel.close()

    def _call(self, method: Any, request: Any) -> Any:
        attempts = self._retries.begin()
        while True:
            try:
                answer = method(request, timeout=attempts.left_s(), metadata=self._messages.metadata())
            except grpc.RpcError as error:
                failure = self._failure(error)
            else:
                self._retries.reached = True
                return answer
            pause_s = attempts.pause_s(failure)
            if pause_s is None:
                raise failure
            time.sleep(pause_s)

    def _stream(self, method: Any, requests: Iterable[Any]) -> Iterator[Any]:
        call = method(iter(requests), metadata=self._messages.metadata())
        try:
            for response in call:
                yield response
        except grpc.RpcError as error:
            raise self._failure(error) from None
        finally:
            call.cancel()

    def _failure(self, error: grpc.RpcError) -> FovealError:
        address = self._messages.address
        return diagnose(error_of_rpc(error, address), address, self._messages.options)

    def grade(
        self, studies: Sequence[Study], operating_point: str = "", *, evidence_map: bool = False
    ) -> screening_pb2.GradeResponse:
        """Grade studies; each result is a grade or an error (`status.error_of` makes an exception of it).

        Args:
            studies: to grade.
            operating_point: name of the bundle's point that decides on referrals; empty is the server's own.
            evidence_map: also tell where in each graded photograph the evidence lies; takes some fifty times as long.

        Raises:
            FovealError: the request as a whole failed.
        """
        request = self._messages.grade(studies, operating_point, evidence_map)
        response: screening_pb2.GradeResponse = self._call(self._screening.Grade, request)
        return response

    def embed(self, studies: Sequence[Study], kinds: Iterable[VectorKind] = ()) -> screening_pb2.EmbedResponse:
        """Embed studies; no kinds means joint."""
        response: screening_pb2.EmbedResponse = self._call(self._screening.Embed, self._messages.embed(studies, kinds))
        return response

    def grade_stream(self, studies: Iterable[Study]) -> Iterator[screening_pb2.GradeResult]:
        """Grade studies as they come; results in the order they are ready."""
        requests = (screening_pb2.GradeStreamRequest(study=self._messages.study(study)) for study in studies)
        for response in self._stream(self._screening.GradeStream, requests):
            yield response.result

    def embed_stream(self, studies: Iterable[Study], kinds: Iterable[VectorKind] = ()) -> Iterator[screening_pb2.EmbedResult]:
        """Embed studies as they come; results in the order they are ready."""
        numbers = [KIND_TO[kind] for kind in kinds]
        requests = (screening_pb2.EmbedStreamRequest(study=self._messages.study(study), kinds=numbers) for study in studies)
        for response in self._stream(self._screening.EmbedStream, requests):
            yield response.result

    def grade_exam(self, request: screening_pb2.GradeExamRequest) -> screening_pb2.GradeExamResponse:
        """Grade all photographs of a visit."""
        response: screening_pb2.GradeExamResponse = self._call(self._screening.GradeExam, request)
        return response

    def self_test(self) -> admin_pb2.SelfTestResponse:
        """Replay the golden studies on the server now."""
        response: admin_pb2.SelfTestResponse = self._call(self._admin.SelfTest, admin_pb2.SelfTestRequest())
        return response

    def reload(self) -> admin_pb2.ReloadResponse:
        """Load the bundle again from the path that was served at the start.

        Raises:
            FovealError: it can't be served; the current one goes on.
        """
        response: admin_pb2.ReloadResponse = self._call(self._admin.Reload, admin_pb2.ReloadRequest())
        return response

    def status(self) -> admin_pb2.GetStatusResponse:
        """How the server is; answered also while it loads."""
        response: admin_pb2.GetStatusResponse = self._call(self._admin.GetStatus, admin_pb2.GetStatusRequest())
        return response

    def drift(self, *, weeks: int = 0) -> admin_pb2.GetDriftResponse:
        """What was counted of each camera's photographs.

        Args:
            weeks: of each camera, the latest; 0 is all that are kept.
        """
        request = admin_pb2.GetDriftRequest(weeks=weeks)
        response: admin_pb2.GetDriftResponse = self._call(self._admin.GetDrift, request)
        return response

    def model(self) -> model_pb2.GetModelResponse:
        """What is being served."""
        response: model_pb2.GetModelResponse = self._call(self._screening.GetModel, model_pb2.GetModelRequest())
        return response

    def search(self, request: archive_pb2.SearchRequest) -> archive_pb2.SearchResponse:
        """The nearest entries."""
        response: archive_pb2.SearchResponse = self._call(self._archive.Search, request)
        return response

    def upsert(self, request: archive_pb2.UpsertRequest) -> archive_pb2.UpsertResponse:
        """Store entries."""
        response: archive_pb2.UpsertResponse = self._call(self._archive.Upsert, request)
        return response

    def upsert_stream(self, requests: Iterable[archive_pb2.UpsertStreamRequest]) -> Iterator[archive_pb2.UpsertResult]:
        """Store entries as they come; outcomes in the order they are durable."""
        for response in self._stream(self._archive.UpsertStream, requests):
            yield response.result

    def delete(self, request: archive_pb2.DeleteRequest) -> archive_pb2.DeleteResponse:
        """Remove entries."""
        response: archive_pb2.DeleteResponse = self._call(self._archive.Delete, request)
        return response

    def delete_by_filter(self, request: archive_pb2.DeleteByFilterRequest) -> archive_pb2.DeleteByFilterResponse:
        """Remove, or count, every entry that passes a filter."""
        response: archive_pb2.DeleteByFilterResponse = self._call(self._archive.DeleteByFilter, request)
        return response

    def update_facts(self, request: archive_pb2.UpdateFactsRequest) -> archive_pb2.UpdateFactsResponse:
        """Change some facts of a stored entry."""
        response: archive_pb2.UpdateFactsResponse = self._call(self._archive.UpdateFacts, request)
        return response

    def get(self, request: archive_pb2.GetRequest) -> archive_pb2.GetResponse:
        """A page of entries by id."""
        response: archive_pb2.GetResponse = self._call(self._archive.Get, request)
        return response

    def get_all(self, request: archive_pb2.GetRequest) -> Iterator[archive_pb2.StoredEntry]:
        """Every entry of the request's ids that is stored, page by page."""
        for entry in _paged(self.get, request):
            yield entry

    def list_page(self, request: archive_pb2.ListRequest) -> archive_pb2.ListResponse:
        """A page of entries in the order of their ids."""
        response: archive_pb2.ListResponse = self._call(self._archive.List, request)
        return response

    def list(self, request: archive_pb2.ListRequest) -> Iterator[archive_pb2.StoredEntry]:
        """Every entry that passes the request's filter, in the order of their ids, page by page."""
        for entry in _paged(self.list_page, request):
            yield entry

    def stats(self) -> archive_pb2.StatsResponse:
        """How much is stored."""
        response: archive_pb2.StatsResponse = self._call(self._archive.Stats, archive_pb2.StatsRequest())
        return response


def _paged(page_of: Any, request: Any) -> Iterator[archive_pb2.StoredEntry]:
    """The entries of all pages from the request's on.

    Args:
        page_of: a call of one page.
        request: of the first page; it is not changed.
    """
    wanted = type(request)()
    wanted.CopyFrom(request)
    while True:
        page = page_of(wanted)
        for entry in page.entries:
            yield entry
        if not page.next_page_token:
            return
        wanted.page_token = page.next_page_token
