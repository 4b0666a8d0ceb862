"""Archive messages to the store's items and back, and which vector kinds may be compared. Stores and embeds nothing."""

from __future__ import annotations

from typing import Any

from foveal_runtime._proto import archive_pb2
from foveal_runtime.bundle.manifest import Manifest
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.errors import InputError, UntrainedError
from foveal_runtime.rpc.filters import date_from
from foveal_runtime.rpc.messages import EYE_OF, EYE_TO, KIND_OF, KIND_TO, known
from foveal_runtime.store.item import Facts, Item
from foveal_runtime.store.stats import Stats
from foveal_runtime.study.study import Eye, Study


def item_from(facts: Any, item_id: str, kind: VectorKind, vector_D: Any, content: bytes | None, precision: str) -> Item:
    """An item of an entry's facts.

    Raises:
        InputError: the date is none.
        StudyError: an eye that this server does not know.
    """
    eye = known(EYE_OF, facts.eye, "facts.eye")
    return Item(
        id=item_id,
        kind=kind.value,
        vector=vector_D,
        content_sha256=content,
        source=facts.source,
        patient=facts.patient,
        eye=eye.value if eye is not None else "",
        camera=facts.camera,
        site=facts.site,
        acquired=date_from(facts.acquired),
        icdr=facts.icdr if facts.HasField("icdr") else None,
        referable=facts.referable if facts.HasField("referable") else None,
        precision=precision,
        attributes=dict(facts.attributes),
    )


def entry_to(facts: Facts, vector_D: Any) -> archive_pb2.StoredEntry:
    """The message for a stored item or a hit; None for the vector leaves it out."""
    return archive_pb2.StoredEntry(
        facts=archive_pb2.Facts(
            id=facts.id,
            patient=facts.patient,
            eye=EYE_TO[Eye(facts.eye)] if facts.eye else None,
            camera=facts.camera,
            site=facts.site,
            acquired=facts.acquired.isoformat() if facts.acquired is not None else "",
            icdr=facts.icdr,
            referable=facts.referable,
            source=facts.source,
            attributes=dict(facts.attributes),
        ),
        kind=KIND_TO[VectorKind(facts.kind)],
        values=vector_D.tolist() if vector_D is not None else None,
        precision=facts.precision,
        content_sha256=facts.content_sha256 or b"",
    )


def stats_to(stats: Stats) -> archive_pb2.StatsResponse:
    """The message for what a collection holds."""
    return archive_pb2.StatsResponse(
        space_id=stats.space_id,
        counts=[
            archive_pb2.KindCount(
                kind=KIND_TO[VectorKind(kind)], count=count, indexed=stats.indexed[kind], recall=stats.recall.get(kind)
            )
            for kind, count in stats.counts.items()
        ],
        bytes_on_disk=stats.bytes_on_disk,
        server_version=stats.server_version,
        collection=stats.collection,
    )


def optional_kind(number: int) -> str | None:
    """The kind a request restricts itself to; None for all.

    Raises:
        InputError: a number that is no kind.
    """
    if number and number not in KIND_OF:
        raise InputError(f"kind is {number}, which this server does not know; leave it out for all kinds")
    return KIND_OF[number].value if number else None


def query_kind_of(study: Study, number: int) -> VectorKind:
    """The vector a query study is asked by: the one asked for, or its only modality's, or joint.

    Raises:
        InputError: a number that is no kind, or a study without a modality.
    """
    if number:
        if number not in KIND_OF:
            raise InputError(f"query_kind is {number}, which this server does not know; leave it out")
        return KIND_OF[number]
    study.validate()
    return VectorKind(next(iter(study.modalities)).value) if len(study.modalities) == 1 else VectorKind.JOINT


def target_kind_of(query_kind: VectorKind, number: int, manifest: Manifest) -> VectorKind:
    """Joint vectors are compared with joint vectors, single ones with single ones that training aligned (DESIGN, section 4).

    Raises:
        InputError: a number that is no kind, or a joint kind against a single one.
        UntrainedError: two different modalities whose vectors training never compared.
    """
    if number and number not in KIND_OF:
        raise InputError(f"target_kind is {number}, which this server does not know; leave it out")
    if number:
        target = KIND_OF[number]
    else:
        target = VectorKind.JOINT if query_kind is VectorKind.JOINT else VectorKind.IMAGE
    if (target is VectorKind.JOINT) != (query_kind is VectorKind.JOINT):
        raise InputError(f"a {query_kind.value} vector can't be compared with {target.value} vectors; ask for kinds that can")
    if target is not query_kind and not {query_kind.value, target.value} <= set(manifest.aligned):
        raise UntrainedError(
            f"training did not align {query_kind.value} with {target.value} vectors, so their cosine means nothing;"
            " search with a photograph, or serve a model trained with independent alignment"
        )
    return target
