"""The `Archive` service: messages in, messages out. Embedding is `service`'s, storing and searching are `store`'s."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal_runtime._proto import archive_pb2, archive_pb2_grpc
from foveal_runtime.engine.answers import Ask, VectorKind, trained_kinds
from foveal_runtime.errors import FovealError, InputError, NotFoundError, PreconditionError, SpaceMismatchError, StudyError
from foveal_runtime.rpc.archive_messages import entry_to, item_from, optional_kind, query_kind_of, stats_to, target_kind_of
from foveal_runtime.rpc.filters import filter_from
from foveal_runtime.rpc.messages import KIND_OF, KIND_TO, kinds_from, known, model_ref_to, quality_to, study_from
from foveal_runtime.rpc.service import windowed
from foveal_runtime.rpc.status import status_of
from foveal_runtime.store.item import Item, check_items
from foveal_runtime.study.study import Modality, Study, subset_name

if TYPE_CHECKING:
    from foveal_runtime.photo.quality import Quality
    from foveal_runtime.rpc.service import ScreeningService
    from foveal_runtime.serving.host import Model, ModelHost
    from foveal_runtime.serving.request import Answer
    from foveal_runtime.store import Archive

_DEFAULT_K = 10


class ArchiveService(archive_pb2_grpc.ArchiveServicer):
    """Serves an archive, where one is open."""

    def __init__(self, screening: ScreeningService, host: ModelHost, archive: Callable[[], Archive | None]) -> None:
        self._screening = screening
        self._host = host
        self._open_archive = archive

    @property
    def _archive(self) -> Archive:
        archive = self._open_archive()
        if archive is None:
            raise PreconditionError("this server keeps no archive; start it with --store DIR or --store postgresql://…")
        return archive

    async def Upsert(self, request: Any, context: Any) -> Any:
        model = self._host.model
        results = await self._upsert(model, request.entries, request.kinds, request.space_id, context)
        return archive_pb2.UpsertResponse(results=results, model=model_ref_to(model.bundle))

    async def UpsertStream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async def one(request: Any) -> Any:
            (result,) = await self._upsert(self._host.model, [request.entry], request.kinds, request.space_id, context)
            return archive_pb2.UpsertStreamResponse(result=result)

        def failed(request: Any, error: FovealError) -> Any:
            result = archive_pb2.UpsertResult(id=request.entry.facts.id, error=status_of(error, path="entry"))
            return archive_pb2.UpsertStreamResponse(result=result)

        async for response in windowed(requests, one, failed, window=self._screening.stream_window):
            yield response

    async def _upsert(
        self, model: Model, entries: Sequence[Any], kinds: Sequence[int], space_id: str, context: Any
    ) -> list[archive_pb2.UpsertResult]:
        archive = self._archive
        limit = self._screening.max_studies
        if not 1 <= len(entries) <= limit:
            raise InputError(f"request has {len(entries)} entries, 1 to {limit} are allowed; send them in parts")
        results: list[archive_pb2.UpsertResult | None] = [None] * len(entries)
        items: dict[int, list[Item]] = {}
        quality: dict[int, Quality | None] = {}
        to_embed: list[tuple[int, Study, Ask]] = []
        for i, entry in enumerate(entries):
            try:
                if entry.WhichOneof("content") == "vectors":
                    items[i] = self._given(model, entry, space_id)
                else:
                    study = study_from(entry.study)
                    to_embed.append((i, study, _ask(model, study, kinds)))
            except FovealError as error:
                results[i] = _refused(entry.facts.id, error, i)
        if to_embed:
            asked = [(entries[i].study, ask) for i, _, ask in to_embed]
            answers = await self._screening.answer_each(model, asked, context)
            for (i, study, _), answer in zip(to_embed, answers, strict=True):
                try:
                    items[i] = _embedded(model, entries[i].facts, study, answer)
                    assert not isinstance(answer, FovealError)
                    quality[i] = answer.outcome.quality
                except FovealError as error:
                    results[i] = _refused(entries[i].facts.id, error, i)
        await archive.upsert([item for i in sorted(items) for item in items[i]])
        for i, stored in items.items():
            results[i] = archive_pb2.UpsertResult(
                id=stored[0].id,
                stored=archive_pb2.Stored(
                    kinds=[KIND_TO[VectorKind(item.kind)] for item in stored], quality=quality_to(quality.get(i))
                ),
            )
        return [result for result in results if result is not None]

    def _given(self, model: Model, entry: Any, space_id: str) -> list[Item]:
        """Vectors made elsewhere."""
        _check_space(model, space_id)
        if not entry.facts.id:
            raise StudyError("an entry that brings vectors needs an id", field="facts.id")
        if not entry.vectors.vectors:
            raise StudyError("entry brings no vector; send at least one", field="vectors")
        items = []
        for i, vector in enumerate(entry.vectors.vectors):
            kind = known(KIND_OF, vector.kind, f"vectors.vectors[{i}].kind")
            item = item_from(entry.facts, entry.facts.id, kind, np.asarray(vector.values, np.float32), None, "")
            check_items([item], model.bundle.manifest.embedding_dim)
            items.append(item)
        return items

    async def Delete(self, request: Any, context: Any) -> Any:
        removed = await self._archive.delete(request.ids, kind=optional_kind(request.kind))
        return archive_pb2.DeleteResponse(removed=removed)

    async def Get(self, request: Any, context: Any) -> Any:
        items = await self._archive.get(request.ids, kind=optional_kind(request.kind))
        return archive_pb2.GetResponse(
            entries=[entry_to(item, item.vector if request.with_vectors else None) for item in items]
        )

    async def Search(self, request: Any, context: Any) -> Any:
        archive = self._archive
        model = self._host.model
        which = request.WhichOneof("query")
        own_id = ""
        if which == "study":
            study = study_from(request.study)
            query_kind = query_kind_of(study, request.query_kind)
            target_kind = target_kind_of(query_kind, request.target_kind, model.bundle.manifest)
            ask = Ask(frozenset({query_kind}), grade=False)
            (answer,) = await self._screening.answer_each(model, [(request.study, ask)], context)
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
            vector_D = found[0].vector
        else:
            raise InputError("search has no query; give a study, a vector or an id")
        k = request.k or _DEFAULT_K
        result = await archive.search(
            vector_D,
            kind=target_kind.value,
            k=k + 1 if own_id else k,
            filter=filter_from(request.filter) if request.HasField("filter") else None,
            exact=request.exact,
            with_vectors=request.with_vectors,
        )
        hits = [hit for hit in result.hits if hit.id != own_id][:k]
        return archive_pb2.SearchResponse(
            hits=[archive_pb2.Hit(score=hit.score, entry=entry_to(hit, hit.vector)) for hit in hits],
            exact=result.exact,
            query_kind=KIND_TO[query_kind],
            target_kind=KIND_TO[target_kind],
        )

    async def Stats(self, request: Any, context: Any) -> Any:
        return stats_to(await self._archive.stats())


def _ask(model: Model, study: Study, kinds: Sequence[int]) -> Ask:
    """The kinds to store: those asked for, or all that were trained and that the study allows."""
    manifest = model.bundle.manifest
    if kinds:
        wanted = kinds_from(kinds)
    else:
        study.validate()
        wanted = trained_kinds(manifest)
        if subset_name(study.modalities) not in manifest.trained_subsets:
            wanted -= {VectorKind.JOINT}
    return Ask(frozenset(kind for kind in wanted if _allows(study, kind)), grade=False)


def _allows(study: Study, kind: VectorKind) -> bool:
    return kind is VectorKind.JOINT or Modality(kind.value) in study.modalities


def _embedded(model: Model, facts: Any, study: Study, answer: Answer | FovealError) -> list[Item]:
    if isinstance(answer, FovealError):
        raise answer
    vectors = answer.outcome.vectors
    if not vectors:
        raise StudyError("the study allows none of the kinds that were asked for; ask for others", field="kinds")
    content = hashlib.sha256(study.image if study.image else (study.note or "").encode()).digest()
    item_id = facts.id or content.hex()
    precision = model.bundle.manifest.precision.value
    items = [item_from(facts, item_id, kind, vectors[kind], content, precision) for kind in VectorKind if kind in vectors]
    for item in items:
        check_items([item], model.bundle.manifest.embedding_dim)
    return items


def _refused(entry_id: str, error: FovealError, index: int) -> archive_pb2.UpsertResult:
    return archive_pb2.UpsertResult(id=entry_id, error=status_of(error, path=f"entries[{index}]"))


def _check_space(model: Model, space_id: str) -> None:
    served = model.bundle.manifest.space_id
    if space_id != served:
        raise SpaceMismatchError(
            f"vectors are of space {space_id[:128] or '(unnamed)'}, this server's is {served}; embed with the same bundle"
        )
