"""The vector that a search compares with: of a study, as the caller has it, or of a stored entry. Searches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal_runtime.engine.answers import Ask, VectorKind
from foveal_runtime.errors import FovealError, InputError, NotFoundError, SpaceMismatchError
from foveal_runtime.rpc.archive_messages import query_kind_of, target_kind_of
from foveal_runtime.rpc.messages import KIND_OF, known

if TYPE_CHECKING:
    from foveal_runtime.photo.imaging import Float32
    from foveal_runtime.rpc.service import ScreeningService
    from foveal_runtime.serving.host import Model
    from foveal_runtime.store import Archive


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What a search looks for."""

    which: str
    """`study`, `vector` or `id`."""
    vector_D: Float32
    kind: VectorKind
    target_kind: VectorKind
    own_id: str = ""
    """Of the stored entry whose vector it is: no answer to itself."""
    photograph: str | None = None
    """SHA-256 of the study's photograph."""


async def query_of(request: Any, screening: ScreeningService, model: Model, archive: Archive, context: Any) -> Query:
    """The query of a `SearchRequest`.

    Args:
        request: the message.
        screening: embeds a study.
        model: with which.
        archive: holds the entry that an id names.
        context: of the call.

    Raises:
        FovealError: there is none, or it can't be embedded or found.
    """
    manifest = model.bundle.manifest
    which = request.WhichOneof("query")
    if which == "study":
        (read,) = await screening.read(model, [request.study], context)
        if isinstance(read, FovealError):
            raise read
        kind = query_kind_of(read.study, request.query_kind)
        target_kind = target_kind_of(kind, request.target_kind, manifest)
        (answer,) = await screening.answer_read(model, [(read, Ask(frozenset({kind}), grade=False))], context)
        if isinstance(answer, FovealError):
            raise answer
        if kind not in answer.outcome.vectors:
            raise InputError(f"the query has no {kind.value}, so there is no vector of that kind; set query_kind")
        vector_D = answer.outcome.vectors[kind]
        return Query(which=which, vector_D=vector_D, kind=kind, target_kind=target_kind, photograph=read.photograph)
    if which == "vector":
        check_space(model, request.space_id)
        kind = known(KIND_OF, request.vector.kind, "vector.kind")
        target_kind = target_kind_of(kind, request.target_kind, manifest)
        return Query(which=which, vector_D=np.asarray(request.vector.values, np.float32), kind=kind, target_kind=target_kind)
    if which == "id":
        kind = known(KIND_OF, request.query_kind, "query_kind") if request.query_kind else VectorKind.IMAGE
        target_kind = target_kind_of(kind, request.target_kind, manifest)
        found = await archive.get([request.id], kind=kind.value)
        if not found:
            raise NotFoundError(f"no stored entry of kind {kind.value!r} has that id")
        own_D = found[0].vectors[kind.value]
        assert own_D is not None
        return Query(which=which, vector_D=own_D, kind=kind, target_kind=target_kind, own_id=request.id)
    raise InputError("search has no query; give a study, a vector or an id")


def check_space(model: Model, space_id: str) -> None:
    """Refuse vectors of another space than the served one.

    Raises:
        SpaceMismatchError: names both.
    """
    served = model.bundle.manifest.space_id
    if space_id != served:
        raise SpaceMismatchError(
            f"vectors are of space {space_id[:128] or '(unnamed)'}, this server's is {served}; embed with the same bundle"
        )
