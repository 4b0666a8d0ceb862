"""The `Archive` service: messages in, messages out. Embedding is `service`'s, storing and searching are `store`'s."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from foveal_runtime._proto import archive_pb2, archive_pb2_grpc
from foveal_runtime.engine.answers import Ask, VectorKind
from foveal_runtime.errors import AuditError, FovealError, InputError, PreconditionError, StudyError
from foveal_runtime.rpc.archive_messages import (
    Made,
    changes_from,
    entry_to,
    facts_from,
    given,
    kinds_of_entry,
    optional_kind,
    refuse_shared_ids,
    stats_to,
)
from foveal_runtime.rpc.audited import Audited
from foveal_runtime.rpc.filters import conditions, filter_from
from foveal_runtime.rpc.limits import LIST_PAGE_ENTRIES, MAX_PAGE_ENTRIES
from foveal_runtime.rpc.messages import KIND_TO, model_ref_to, quality_to
from foveal_runtime.rpc.pages import filled, page_size, place_of, token_of
from foveal_runtime.rpc.queries import check_space, query_of
from foveal_runtime.rpc.reading import UNREAD, ReadStudy, Sent
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
        self,
        screening: ScreeningService,
        host: ModelHost,
        archive: Callable[[], Archive | None],
        admission: Admission,
        audited: Audited | None = None,
    ) -> None:
        """Args:
        screening: embeds what is stored or asked.
        host: of the model.
        archive: what is open; None where the server keeps none.
        admission: bounds the calls in work.
        audited: records changes before they are made, and answers before they leave; None records none.
        """
        self._screening = screening
        self._audited = Audited() if audited is None else audited
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
        results = await self._upsert("Upsert", model, request.entries, request.kinds, request.space_id, context)
        return archive_pb2.UpsertResponse(results=results, model=model_ref_to(model.bundle))

    async def UpsertStream(self, requests: Requests, context: Any) -> AsyncIterator[Any]:
        async def one(request: Any) -> Any:
            async def attempt() -> Any:
                with self._admission():
                    return await self._upsert(
                        "UpsertStream",
                        self._host.model,
                        [request.entry],
                        request.kinds,
                        request.space_id,
                        context,
                        streamed=True,
                    )

            (result,) = await patiently(attempt)
            return archive_pb2.UpsertStreamResponse(result=result, sequence=request.sequence)

        async def failed(request: Any, error: FovealError) -> Any:
            result = archive_pb2.UpsertResult(id=request.entry.facts.id, error=status_of(error, path="entry"))
            if not isinstance(error, AuditError):
                await self._audited.stored("UpsertStream", None, [(UNREAD, result)])
            return archive_pb2.UpsertStreamResponse(result=result, sequence=request.sequence)

        window = self._screening.stream_window
        async for response in windowed(
            requests, one, failed, id_of=lambda r: str(r.entry.facts.id), field="facts.id", window=window
        ):
            yield response

    async def _upsert(
        self,
        call: str,
        model: Model,
        messages: Sequence[Any],
        kinds: Sequence[int],
        space_id: str,
        context: Any,
        *,
        streamed: bool = False,
    ) -> list[archive_pb2.UpsertResult]:
        """Store each message by itself.

        Args:
            call: its name.
            model: that embeds.
            messages: of a request.
            kinds: to embed; none means all.
            space_id: of vectors made elsewhere.
            context: of the call.
            streamed: the one message is a stream's `entry`, not of a request's `entries`.
        """
        archive = self._archive
        limit = self._screening.max_studies
        if not 1 <= len(messages) <= limit:
            raise InputError(f"request has {len(messages)} entries, 1 to {limit} are allowed; send them in parts")
        made, sent = await self._entries(model, messages, kinds, space_id, context)
        refuse_shared_ids(messages, made)
        await self._audited.done(call, "asked", model.bundle, entries=len(messages))
        entries = [each.entry for each in made if isinstance(each, Made)]
        if streamed:
            for entry in entries:
                await archive.upsert_one(entry)
        else:
            await archive.upsert(entries)
        results = []
        for i, (message, each) in enumerate(zip(messages, made, strict=True)):
            if isinstance(each, Made):
                stored = archive_pb2.Stored(
                    kinds=[KIND_TO[VectorKind(kind)] for kind in each.entry.vectors], quality=quality_to(each.quality)
                )
                results.append(archive_pb2.UpsertResult(id=each.entry.id, stored=stored))
            else:
                status = status_of(each, path="entry" if streamed else f"entries[{i}]")
                results.append(archive_pb2.UpsertResult(id=message.facts.id, error=status))
        await self._audited.stored(call, model.bundle, zip(sent, results, strict=True))
        return results

    async def _entries(
        self, model: Model, messages: Sequence[Any], kinds: Sequence[int], space_id: str, context: Any
    ) -> tuple[list[Made | FovealError], list[Sent]]:
        """What each message becomes, and what was sent of it; studies are embedded together."""
        sent: list[Sent] = [UNREAD] * len(messages)
        made: list[Made | FovealError | None] = [None] * len(messages)
        facts: dict[int, dict[str, Any]] = {}  # of the studies, by where they stand: refused before anything is embedded
        for i, message in enumerate(messages):
            try:
                if message.WhichOneof("content") == "vectors":
                    check_space(model, space_id)
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
                sent[i] = read.sent
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
        return [each for each in made if each is not None], sent

    @_admitted
    async def UpdateFacts(self, request: Any, context: Any) -> Any:
        archive, changes = self._archive, changes_from(request)
        await self._audited.done("UpdateFacts", "asked", entries=1)
        entry = await archive.update(request.facts.id, changes)
        await self._audited.done("UpdateFacts", "updated", entries=1)
        return archive_pb2.UpdateFactsResponse(entry=entry_to(entry, entry.vectors))

    @_admitted
    async def Delete(self, request: Any, context: Any) -> Any:
        archive, kind = self._archive, optional_kind(request.kind)
        await self._audited.done("Delete", "asked", entries=len(request.ids))
        removed = await archive.delete(request.ids, kind=kind)
        await self._audited.done("Delete", "deleted", entries=removed.entries, vectors=removed.vectors)
        return archive_pb2.DeleteResponse(removed=removed.vectors, removed_entries=removed.entries)

    @_admitted
    async def DeleteByFilter(self, request: Any, context: Any) -> Any:
        wanted = filter_from(request.filter) if request.HasField("filter") else AllOf()
        if not conditions(wanted):
            raise StudyError(
                "filter has no condition, and would remove every entry; name which ones, for example a patient", field="filter"
            )
        archive, dry_run = self._archive, request.dry_run
        await self._audited.done("DeleteByFilter", "asked", dry_run=dry_run)
        removed = await archive.delete_where(wanted, dry_run=dry_run)
        verdict = "counted" if dry_run else "deleted"
        await self._audited.done("DeleteByFilter", verdict, entries=removed.entries, vectors=removed.vectors)
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
        await self._audited.done("Get", "read", entries=len(page))
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
        await self._audited.done("List", "read", entries=len(page))
        return archive_pb2.ListResponse(entries=page, next_page_token=token_of(page[-1].facts.id, request) if more else "")

    @_admitted
    async def Search(self, request: Any, context: Any) -> Any:
        archive = self._archive
        model = self._host.model
        query = await query_of(request, self._screening, model, archive, context)
        filters = [filter_from(request.filter)] if request.HasField("filter") else []
        if query.own_id:
            filters.append(Not(Equals(Column.ID, query.own_id)))
        result = await archive.search(
            query.vector_D,
            kind=query.target_kind.value,
            k=request.k or _DEFAULT_K,
            filter=conjunction(filters),
            exact=request.exact,
            with_vectors=request.with_vectors,
        )
        await self._audited.done(
            "Search", "searched", model.bundle, photograph=query.photograph, query=query.which, hits=len(result.hits)
        )
        return archive_pb2.SearchResponse(
            hits=[archive_pb2.Hit(score=hit.score, entry=entry_to(hit, {hit.kind: hit.vector})) for hit in result.hits],
            exact=result.exact,
            query_kind=KIND_TO[query.kind],
            target_kind=KIND_TO[query.target_kind],
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
