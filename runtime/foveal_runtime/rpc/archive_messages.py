"""Archive messages to the store's entries and back, and which vector kinds may be compared. Stores and embeds nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal_runtime._proto import archive_pb2, screening_pb2
from foveal_runtime.bundle.manifest import Manifest, Precision
from foveal_runtime.engine.answers import Ask, VectorKind, trained_kinds
from foveal_runtime.errors import FovealError, InputError, StudyError, UntrainedError
from foveal_runtime.photo.quality import Quality
from foveal_runtime.rpc.filters import date_from
from foveal_runtime.rpc.grade_messages import ICDR_OF, ICDR_TO, REFERRAL_OF, REFERRAL_TO
from foveal_runtime.rpc.messages import EYE_OF, EYE_TO, KIND_OF, KIND_TO, PRECISION_TO, kinds_from, known
from foveal_runtime.rpc.streams import repeated
from foveal_runtime.store.entry import CHANGEABLE, Entry, Facts, Float32, check_entries
from foveal_runtime.store.stats import Stats
from foveal_runtime.study.study import Eye, Modality, Study, subset_name


@dataclass(frozen=True, slots=True)
class Made:
    """What a message of an upsert became."""

    entry: Entry
    quality: Quality | None = None
    """Of its photograph; None without one, and for vectors made elsewhere."""


def given(message: Any, dim: int) -> Entry:
    """An entry whose vectors were made elsewhere.

    Raises:
        StudyError: no id, no vector, two of one kind, an unknown kind, or illegal facts.
        InputError: a vector that is none of the collection.
    """
    if not message.facts.id:
        raise StudyError("an entry that brings vectors needs an id", field="facts.id")
    if not message.vectors.vectors:
        raise StudyError("entry brings no vector; send at least one", field="vectors")
    vectors: dict[str, Float32] = {}
    for i, vector in enumerate(message.vectors.vectors):
        path = f"vectors.vectors[{i}].kind"
        kind = known(KIND_OF, vector.kind, path)
        if kind.value in vectors:
            raise StudyError(f"{path} is that of an earlier vector of the entry; send one of each kind", field=path)
        vectors[kind.value] = np.asarray(vector.values, np.float32)
    entry = Entry(id=message.facts.id, vectors=vectors, **facts_from(message.facts))
    check_entries([entry], dim)
    return entry


def refuse_shared_ids(messages: Sequence[Any], made: list[Made | FovealError]) -> None:
    """Refuse every entry of one request that shares its id with another: an id has the facts of one visit.

    The same study twice without an id is one entry, and no fault.

    Args:
        messages: of the request.
        made: what they became; changed in place.
    """
    told = Counter(message.facts.id for message in messages if message.facts.id)
    first: dict[str, Entry] = {}
    shared = {entry_id for entry_id, count in told.items() if count > 1}
    for each in made:
        if isinstance(each, Made) and first.setdefault(each.entry.id, each.entry) != each.entry:
            shared.add(each.entry.id)
    for i, each in enumerate(made):
        own_id = each.entry.id if isinstance(each, Made) else messages[i].facts.id
        if own_id in shared:
            made[i] = repeated("facts.id")


def facts_from(facts: Any) -> dict[str, Any]:
    """The facts of a message that a caller may set, by name.

    Raises:
        StudyError: a date that is none, or an enum value that this server does not know, by its path.
    """
    eye = known(EYE_OF, facts.eye, "facts.eye")
    return {
        "source": facts.source,
        "patient": facts.patient,
        "eye": eye.value if eye is not None else "",
        "camera": facts.camera,
        "site": facts.site,
        "acquired": date_from(facts.acquired, "facts.acquired"),
        "icdr": known(ICDR_OF, facts.icdr, "facts.icdr") if facts.icdr else None,
        "referable": known(REFERRAL_OF, facts.referral, "facts.referral") if facts.referral else None,
        "attributes": dict(facts.attributes),
    }


_NAMES = {"referral": "referable"}
"""Fields of the message whose name in the store is another."""


def changes_from(request: Any) -> dict[str, Any]:
    """The facts that an update changes, by name.

    Raises:
        StudyError: no field is named, one that can't be changed, or an illegal value.
    """
    values = facts_from(request.facts)
    paths = list(request.update_mask.paths)
    if not paths:
        raise StudyError(f"update_mask names no field; name some of {', '.join(_paths())}", field="update_mask")
    for path in paths:
        if path not in _paths():
            what = "the id, which can't be changed" if path == "id" else "no field of facts"
            raise StudyError(f"update_mask names {what}; name some of {', '.join(_paths())}", field="update_mask")
    return {name: values[name] for path in paths for name in (_NAMES.get(path, path),)}


def _paths() -> tuple[str, ...]:
    back = {name: path for path, name in _NAMES.items()}
    return tuple(back.get(name, name) for name in CHANGEABLE)


def facts_to(facts: Facts) -> archive_pb2.Facts:
    """The message for facts."""
    return archive_pb2.Facts(
        id=facts.id,
        patient=facts.patient,
        eye=EYE_TO[Eye(facts.eye)] if facts.eye else None,
        camera=facts.camera,
        site=facts.site,
        acquired=facts.acquired.isoformat() if facts.acquired is not None else "",
        icdr=ICDR_TO[facts.icdr] if facts.icdr is not None else None,
        referral=REFERRAL_TO[facts.referable],
        source=facts.source,
        attributes=dict(facts.attributes),
    )


def entry_to(facts: Facts, vectors: Mapping[str, Float32 | None]) -> archive_pb2.StoredEntry:
    """The message for a stored entry or a hit.

    Args:
        facts: of it.
        vectors: by kind; None where the vector was not asked for.
    """
    return archive_pb2.StoredEntry(
        facts=facts_to(facts),
        kinds=[KIND_TO[VectorKind(kind)] for kind in vectors],
        vectors=[
            screening_pb2.Vector(kind=KIND_TO[VectorKind(kind)], values=vector_D.tolist())
            for kind, vector_D in vectors.items()
            if vector_D is not None
        ],
        precision=PRECISION_TO[Precision(facts.precision)] if facts.precision else None,
        content_sha256=facts.content_sha256 or b"",
    )


def stats_to(stats: Stats) -> archive_pb2.StatsResponse:
    """The message for what a collection holds."""
    return archive_pb2.StatsResponse(
        space_id=stats.space_id,
        entries=stats.entries,
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
        StudyError: a number that is no kind.
    """
    return known(KIND_OF, number, "kind").value if number else None


def kinds_of_entry(study: Study, numbers: Sequence[int], manifest: Manifest) -> Ask:
    """The kinds to store of a study: those asked for, or all that were trained; of either what the study allows.

    Raises:
        StudyError: a number that is no kind, or a study without a modality.
    """
    if numbers:
        wanted = kinds_from(numbers)
    else:
        study.validate()
        wanted = trained_kinds(manifest)
        if subset_name(study.modalities) not in manifest.trained_subsets:
            wanted -= {VectorKind.JOINT}
    return Ask(frozenset(kind for kind in wanted if _allows(study, kind)), grade=False)


def _allows(study: Study, kind: VectorKind) -> bool:
    return kind is VectorKind.JOINT or Modality(kind.value) in study.modalities


def query_kind_of(study: Study, number: int) -> VectorKind:
    """The vector a query study is asked by: the one asked for, or its only modality's, or joint.

    Raises:
        StudyError: a number that is no kind, or a study without a modality.
    """
    if number:
        return known(KIND_OF, number, "query_kind")
    study.validate()
    return VectorKind(next(iter(study.modalities)).value) if len(study.modalities) == 1 else VectorKind.JOINT


def target_kind_of(query_kind: VectorKind, number: int, manifest: Manifest) -> VectorKind:
    """Joint vectors are compared with joint vectors, single ones with single ones that training aligned (DESIGN, section 4).

    Raises:
        StudyError: a number that is no kind.
        InputError: a joint kind against a single one.
        UntrainedError: two different modalities whose vectors training never compared.
    """
    if number:
        target = known(KIND_OF, number, "target_kind")
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
