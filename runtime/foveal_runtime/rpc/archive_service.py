"""The `Archive` service: messages in, messages out. Embedding is `service`'s, storing and searching are `store`'s."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal_runtime._proto import archive_pb2, archive_pb2_grpc
from foveal_runtime.engine.answers import Ask, VectorKind
from foveal_runtime.errors import FovealError, InputError, NotFoundError, PreconditionError, SpaceMismatchError, StudyError
from foveal_runtime.rpc.archive_messages import (
    Made,
    changes_from,
    entry_to,
    facts_from,
    given,
    kinds_of_entry,
    optional_kind,
    query_kind_of,
    refuse_shared_ids,
    stats_to,
    target_kind_of,
)
from foveal_runtime.rpc.filters import conditions, filter_from
from foveal_runtime.rpc.limits import LIST_PAGE_ENTRIES, MAX_PAGE_ENTRIES
from foveal_runtime.rpc.messages import KIND_OF, KIND_TO, known, model_ref_to, quality_to
from foveal_runtime.rpc.pages import filled, page_size, place_of, token_of
from foveal_runtime.rpc.reading import ReadStudy
from foveal_runtime.rpc.status import status_of
from foveal_runtime.rpc.streams import Requests, patiently, windowed
from foveal_runtime.store.entry import Entry, check_entries, check_ids
from foveal_runtime.store.filter import AllOf, Column, Equals, Not, conjunction

if TYPE_CHECKING:
    from foveal_runtime.rpc.admission import Admission
    from foveal_runtime.rpc.service import ScreeningService
    from foveal_runtime.serving.host import Model, ModelHost
    from foveal_runtime.serving.request import Answer
    from foveal_runtime.store import Archive

_DEFAULT_K = 10
_READ_AT_ONCE = 100
"""Entries of one read while a page fills."""


def _admitted(call: Callable[[Any, Any, Any], Awaitable[Any]]) -> Callable[[Any, Any, Any], Awaitable[Any]]:
    """A call that counts while it is in work."""

    @functools.wraps(call)
    async def counted(service: Any, request: Any, context: Any) -> Any:
        with service._admission():
            return await call(service, request, context)

    return counted


class ArchiveService(archive_pb2_grpc.ArchiveServicer):
    """Serves an archive, where one is open."""

    def __init__(
        self, screening: ScreeningService, host: ModelHost, archive: Callable[[], Archive | None], admission: Admission
    ) -> None:
        """Args:
        screening: embeds what is stored or asked.
        host: of the model.
        archive: what is open; None where the server keeps none.
        admission: bounds the calls in work.
        """
        self._screening = screening
        self._host = host
        self._open_archive = archive
        self._admission = admission

    @property
    def _archive(self) -> Archive:
        archive = self._open_archive()
        if archive is None:
            raise PreconditionError("this server keeps no archive; start it with --store DIR or --store postgresql://…")
        return archive

    @_admitted
    async def Upsert(self, request: Any, context: Any) -> Any:
        model = self._host.model
        results = await self._upsert(model, request.entries, request.kinds, request.space_id, context)
        return archive_pb2.UpsertResponse(results=results, model=model_ref_to(model.bundle))

    async def UpsertStream(self, requests: Requests, context: Any) -> AsyncIterator[Any]:
        async def one(request: Any) -> Any:
            async def attempt() -> Any:
                with self._admission():
                    return await self._upsert(
                        self._host.model, [request.entry], request.kinds, request.space_id, context, path="entry"
                    )

            (result,) = await patiently(attempt)
            return archive_pb2.UpsertStreamResponse(result=result, sequence=request.sequence)

        def failed(request: Any, error: FovealError) -> Any:
            result = archive_pb2.UpsertResult(id=request.entry.facts.id, error=status_of(error, path="entry"))
            return archive_pb2.UpsertStreamResponse(result=result, sequence=request.sequence)

        window = self._screening.stream_window
        async for response in windowed(
            requests, one, failed, id_of=lambda r: str(r.entry.facts.id), field="facts.id", window=window
        ):
            yield response

    async def _upsert(
        self, model: Model, messages: Sequence[Any], kinds: Sequence[int], space_id: str, context: Any, path: str = ""
    ) -> list[archive_pb2.UpsertResult]:
        """Store each message by itself.

        Args:
            model: that embeds.
            messages: of a request.
            kinds: to embed; none means all.
            space_id: of vectors made elsewhere.
            context: of the call.
            path: where the one message stands in its request; empty for messages of `entries`.
        """
        archive = self._archive
        limit = self._screening.max_studies
        if not 1 <= len(messages) <= limit:
            raise InputError(f"request has {len(messages)} entries, 1 to {limit} are allowed; send them in parts")
        made = await self._entries(model, messages, kinds, space_id, context)
        refuse_shared_ids(messages, made)
        await archive.upsert([each.entry for each in made if isinstance(each, Made)])
        results = []
        for i, (message, each) in enumerate(zip(messages, made, strict=True)):
            if isinstance(each, Made):
                stored = archive_pb2.Stored(
                    kinds=[KIND_TO[VectorKind(kind)] for kind in each.entry.vectors], quality=quality_to(each.quality)
                )
                results.append(archive_pb2.UpsertResult(id=each.entry.id, stored=stored))
            else:
                status = status_of(each, path=path or f"entries[{i}]")
                results.append(archive_pb2.UpsertResult(id=message.facts.id, error=status))
        return results

    async def _entries(
        self, model: Model, messages: Sequence[Any], kinds: Sequence[int], space_id: str, context: Any
    ) -> list[Made | FovealError]:
        """What each message becomes; studies are embedded together."""
        made: list[Made | FovealError | None] = [None] * len(messages)
        facts: dict[int, dict[str, Any]] = {}  # of the studies, by where they stand: refused before anything is embedded
        for i, message in enumerate(messages):
            try:
                if message.WhichOneof("content") == "vectors":
                    _check_space(model, space_id)
                    made[i] = Made(given(message, model.bundle.manifest.embedding_dim))
                else:
                    facts[i] = facts_from(message.facts)
            except FovealError as error:
                made[i] = error
        to_embed: list[tuple[int, ReadStudy, Ask]] = []
        for i, read in zip(facts, await self._screening.read(model, [messages[i].study for i in facts], context), strict=True):
            try:
                if isinstance(read, FovealError):
                    raise read
                to_embed.append((i, read, kinds_of_entry(read.study, kinds, model.bundle.manifest)))
            except FovealError as error:
                made[i] = error
        answers = await self._screening.answer_read(model, [(read, ask) for _, read, ask in to_embed], context)
        for (i, read, _), answer in zip(to_embed, answers, strict=True):
            try:
                own_id = messages[i].facts.id
                made[i] = answer if isinstance(answer, FovealError) else _embedded(model, own_id, facts[i], read, answer)
            except FovealError as error:
                made[i] = error
        return [each for each in made if each is not None]

    @_admitted
    async def UpdateFacts(self, request: Any, context: Any) -> Any:
        entry = await self._archive.update(request.facts.id, changes_from(request))
        return archive_pb2.UpdateFactsResponse(entry=entry_to(entry, entry.vectors))

    @_admitted
    async def Delete(self, request: Any, context: Any) -> Any:
        removed = await self._archive.delete(request.ids, kind=optional_kind(request.kind))
        return archive_pb2.DeleteResponse(removed=removed.vectors, removed_entries=removed.entries)

    @_admitted
    async def DeleteByFilter(self, request: Any, context: Any) -> Any:
        wanted = filter_from(request.filter) if request.HasField("filter") else AllOf()
        if not conditions(wanted):
            raise StudyError(
                "filter has no condition, and would remove every entry; name which ones, for example a patient", field="filter"
            )
        removed = await self._archive.delete_where(wanted, dry_run=request.dry_run)
        return archive_pb2.DeleteByFilterResponse(entries=removed.entries, vectors=removed.vectors, dry_run=request.dry_run)

    @_admitted
    async def Get(self, request: Any, context: Any) -> Any:
        archive, kind = self._archive, optional_kind(request.kind)
        ids = check_ids(request.ids)
        begin = place_of(request, int) or 0
        most = page_size(request.page_size, MAX_PAGE_ENTRIES)

        async def entries() -> AsyncIterator[Any]:
            for i in range(begin, len(ids), _READ_AT_ONCE):
                for entry in await archive.get(ids[i : i + _READ_AT_ONCE], kind=kind, with_vectors=request.with_vectors):
                    yield entry_to(entry, entry.vectors)

        page, more = await filled(entries(), most)
        token = token_of(ids.index(page[-1].facts.id) + 1, request) if more else ""
        return archive_pb2.GetResponse(entries=page, next_page_token=token)

    @_admitted
    async def List(self, request: Any, context: Any) -> Any:
        archive = self._archive
        chosen = filter_from(request.filter) if request.HasField("filter") else None
        begin = place_of(request, str) or ""
        most = page_size(request.page_size, LIST_PAGE_ENTRIES)

        async def entries() -> AsyncIterator[Any]:
            after = begin
            while found := await archive.page(
                after=after, count=_READ_AT_ONCE, filter=chosen, with_vectors=request.with_vectors
            ):
                for entry in found:
                    yield entry_to(entry, entry.vectors)
                after = found[-1].id

        page, more = await filled(entries(), most)
        return archive_pb2.ListResponse(entries=page, next_page_token=token_of(page[-1].facts.id, request) if more else "")

    @_admitted
    async def Search(self, request: Any, context: Any) -> Any:
        archive = self._archive
        model = self._host.model
        which = request.WhichOneof("query")
        own_id = ""
        if which == "study":
            (read,) = await self._screening.read(model, [request.study], context)
            if isinstance(read, FovealError):
                raise read
            query_kind = query_kind_of(read.study, request.query_kind)
            target_kind = target_kind_of(query_kind, request.target_kind, model.bundle.manifest)
            ask = Ask(frozenset({query_kind}), grade=False)
            (answer,) = await self._screening.answer_read(model, [(read, ask)], context)
            if isinstance(answer, FovealError):
                raise answer
            if query_kind not in answer.outcome.vectors:
                raise InputError(f"the query has no {query_kind.value}, so there is no vector of that kind; set query_kind")
            vector_D = answer.outcome.vectors[query_kind]
        elif which == "vector":
            _check_space(model, request.space_id)
            query_kind = known(KIND_OF, request.vector.kind, "vector.kind")
            target_kind = target_kind_of(query_kind, request.target_kind, model.bundle.manifest)
            vector_D = np.asarray(request.vector.values, np.float32)
        elif which == "id":
            own_id = request.id
            query_kind = known(KIND_OF, request.query_kind, "query_kind") if request.query_kind else VectorKind.IMAGE
            target_kind = target_kind_of(query_kind, request.target_kind, model.bundle.manifest)
            found = await archive.get([own_id], kind=query_kind.value)
            if not found:
                raise NotFoundError(f"no stored entry of kind {query_kind.value!r} has that id")
            own_D = found[0].vectors[query_kind.value]
            assert own_D is not None
            vector_D = own_D
        else:
            raise InputError("search has no query; give a study, a vector or an id")
        filters = [filter_from(request.filter)] if request.HasField("filter") else []
        if own_id:
            filters.append(Not(Equals(Column.ID, own_id)))
        result = await archive.search(
            vector_D,
            kind=target_kind.value,
            k=request.k or _DEFAULT_K,
            filter=conjunction(filters),
            exact=request.exact,
            with_vectors=request.with_vectors,
        )
        return archive_pb2.SearchResponse(
            hits=[archive_pb2.Hit(score=hit.score, entry=entry_to(hit, {hit.kind: hit.vector})) for hit in result.hits],
            exact=result.exact,
            query_kind=KIND_TO[query_kind],
            target_kind=KIND_TO[target_kind],
        )

    @_admitted
    async def Stats(self, request: Any, context: Any) -> Any:
        return stats_to(await self._archive.stats())


def _embedded(model: Model, own_id: str, facts: dict[str, Any], read: ReadStudy, answer: Answer) -> Made:
    """An entry of a study that was embedded.

    Args:
        model: that embedded it.
        own_id: the caller's; empty where the content names it.
        facts: as the store names them.
        read: the study.
        answer: its vectors.

    Raises:
        StudyError: it allows none of the kinds, or its facts are illegal.
    """
    vectors = answer.outcome.vectors
    if not vectors:
        raise StudyError("the study allows none of the kinds that were asked for; ask for others", field="kinds")
    content = read.content_sha256
    of_kind = {kind.value: vectors[kind] for kind in VectorKind if kind in vectors}
    precision = model.bundle.manifest.precision.value
    entry = Entry(id=own_id or content.hex(), vectors=of_kind, content_sha256=content, precision=precision, **facts)
    check_entries([entry], model.bundle.manifest.embedding_dim)
    return Made(entry, answer.outcome.quality)


def _check_space(model: Model, space_id: str) -> None:
    served = model.bundle.manifest.space_id
    if space_id != served:
        raise SpaceMismatchError(
            f"vectors are of space {space_id[:128] or '(unnamed)'}, this server's is {served}; embed with the same bundle"
        )
