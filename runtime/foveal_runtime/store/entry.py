"""What the archive keeps of one study, and what a search gives back. Knows nothing of SQL.

Legend: `vector_D` is one unit-length float32 vector of D = 256 components.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date

import numpy as np
import numpy.typing as npt

from foveal_runtime.errors import InputError
from foveal_runtime.study.study import Eye, Modality

Float32 = npt.NDArray[np.float32]

KINDS: tuple[str, ...] = (*(m.value for m in Modality), "joint")
"""Vector kinds (DESIGN, section 4): the CLS vector of one modality alone, or the joint vector of one pass."""

MAX_IDS = 10_000
"""Most ids in one get or delete."""
MAX_ID_CHARS = 256
MAX_TEXT_CHARS = 1024
"""Of patient, camera, site and precision."""
MAX_SOURCE_CHARS = 4096
MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_BYTES = 16 * 1024
"""Of all attribute keys and values of one entry together, in UTF-8."""
UNIT_TOLERANCE = 1e-3
"""A vector's length may differ from 1 by this much; it is made exactly 1 before it is stored."""
_EYES = frozenset(eye.value for eye in Eye)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Everything the archive knows of a study apart from its vectors.

    Patient, source and attribute values are left out of `repr`: they must not reach a log.
    """

    id: str
    """The caller's identifier, or the hex SHA-256 of the content when the caller gave none. Unique in a collection."""
    content_sha256: bytes | None = None
    """Identity of the source bytes, 32 bytes."""
    source: str = field(default="", repr=False)
    """Path or URI of the source, to embed it again and to show it."""
    patient: str = field(default="", repr=False)
    """Opaque patient reference."""
    eye: str = ""
    """`right`, `left` or empty."""
    camera: str = ""
    site: str = ""
    acquired: date | None = None
    icdr: int | None = None
    """ICDR grade 0 to 4."""
    referable: bool | None = None
    precision: str = ""
    """Precision of the bundle that made the vectors; precisions of one space may mix. Empty for vectors made elsewhere."""
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)


FACTS: tuple[str, ...] = tuple(each.name for each in fields(Facts))
"""Names of the facts."""
CHANGEABLE: tuple[str, ...] = tuple(name for name in FACTS if name not in ("id", "content_sha256", "precision"))
"""Facts that may change while the vectors stay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry(Facts):
    """One stored study: its facts once, and a vector of each kind that was made of it. Equality compares the facts alone."""

    vectors: Mapping[str, Float32 | None] = field(repr=False, compare=False)
    """By kind: unit length, float32 [D]. Kept as float16: components come back within 2^-11 of their value. None where an entry
    was read without its vectors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit(Facts):
    """One search result."""

    kind: str
    """Of the vector that was compared."""
    score: float
    """Cosine similarity, -1 to 1."""
    vector: Float32 | None = field(default=None, repr=False, compare=False)
    """The stored vector when the search asked for it."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What a deletion took away."""

    entries: int
    """Of which nothing is left."""
    vectors: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """The nearest entries, best first, ties by id."""

    hits: tuple[Hit, ...]
    exact: bool
    """True when every entry that passes the filter was compared; False when an approximate index answered."""


def check_vector(vector: npt.ArrayLike, dim: int, *, what: str = "vector") -> Float32:
    """A float32 copy of unit length.

    Raises:
        InputError: wrong dimension, a component that is not finite, or a length that is not 1 (zero included).
    """
    try:
        vector_D = np.asarray(vector, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is not a list of numbers; send {dim} floats") from error
    if vector_D.ndim != 1 or vector_D.shape[0] != dim:
        shape = "x".join(map(str, vector_D.shape)) or "a single number"
        raise InputError(f"{what} has dimension {shape}, this collection has {dim}; send {dim} floats of the same space")
    norm = float(np.sqrt(np.sum(np.square(vector_D, dtype=np.float64))))
    if not math.isfinite(norm):
        raise InputError(f"{what} has a component that is not finite (NaN or infinity); send finite numbers")
    if abs(norm - 1.0) > UNIT_TOLERANCE:
        raise InputError(
            f"{what} has length {norm:.4g}, unit length is wanted; divide it by its length (a zero vector has none)"
        )
    return np.asarray(vector_D / np.float32(norm), dtype=np.float32)


def check_entries(entries: Sequence[Entry], dim: int) -> dict[str, dict[str, Float32]]:
    """The entries' vectors as they will be stored, by kind and id, once everything else is found legal.

    Returns:
        Unit-length float32 [dim], in the order of the entries; of several entries with one id the last one's.

    Raises:
        InputError: naming the field and never its value.
    """
    for entry in entries:
        check_facts(entry)
        if not entry.vectors:
            raise InputError("entry has no vector; give at least one")
    last = {entry.id: entry for entry in entries}
    made: dict[str, dict[str, Float32]] = {}
    for kind in dict.fromkeys(check_kind(kind) for entry in last.values() for kind in entry.vectors):
        vectors = {entry.id: entry.vectors[kind] for entry in last.values() if kind in entry.vectors}
        made[kind] = dict(zip(vectors, _unit(list(vectors.values()), dim), strict=True))
    return made


def _unit(vectors: Sequence[Float32 | None], dim: int) -> Float32:
    """The vectors with a length of exactly 1, float32 [N, dim]."""
    try:
        vectors_ND = np.array(vectors, dtype=np.float32)
        norms_N = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND))
        if vectors_ND.shape == (len(vectors), dim) and bool(np.all(np.abs(norms_N - 1.0) <= UNIT_TOLERANCE)):
            return np.asarray(vectors_ND / norms_N[:, None], dtype=np.float32)
    except (TypeError, ValueError):
        pass
    # One of them is wrong, and the check of a single vector says how.
    return np.stack([check_vector(() if each is None else each, dim, what="entry's vector") for each in vectors])


def check_kind(kind: str) -> str:
    """`kind` itself.

    Raises:
        InputError: it is none of `KINDS`.
    """
    if kind not in KINDS:
        raise InputError(f"vector kind is {_short(kind)}, one of {', '.join(KINDS)} is wanted")
    return kind


def check_id(item_id: str) -> str:
    """`item_id` itself.

    Raises:
        InputError: empty, too long, or with control characters.
    """
    if not item_id:
        raise InputError("entry id is empty; give one, or use the content hash")
    if len(item_id) > MAX_ID_CHARS:
        raise InputError(f"entry id has {len(item_id)} characters, at most {MAX_ID_CHARS} are allowed")
    _check_text("entry id", item_id, MAX_ID_CHARS)
    return item_id


def check_facts(facts: Facts) -> None:
    """Check everything but the vectors.

    Raises:
        InputError: naming the field and never its value.
    """
    check_id(facts.id)
    if facts.content_sha256 is not None and len(facts.content_sha256) != 32:
        raise InputError(f"content_sha256 has {len(facts.content_sha256)} bytes, 32 are wanted")
    for name in ("patient", "camera", "site", "precision"):
        _check_text(name, getattr(facts, name), MAX_TEXT_CHARS)
    _check_text("source", facts.source, MAX_SOURCE_CHARS)
    if facts.eye and facts.eye not in _EYES:
        raise InputError(f"eye is none of {', '.join(Eye)}; leave it empty when unknown")
    if facts.icdr is not None and not (isinstance(facts.icdr, int) and 0 <= facts.icdr <= 4):
        raise InputError("icdr is not a grade from 0 to 4; leave it out when unknown")
    if facts.attributes:
        _check_attributes(facts.attributes)


def _check_attributes(attributes: Mapping[str, str]) -> None:
    if len(attributes) > MAX_ATTRIBUTES:
        raise InputError(f"attributes has {len(attributes)} entries, at most {MAX_ATTRIBUTES} are allowed")
    size = 0
    for key, value in attributes.items():
        if not isinstance(value, str):
            raise InputError("an attribute's value is not text; send it as text")
        # Characters first: a 100 MB value must not be encoded just to be refused.
        size += len(key) + len(value)
        if size > MAX_ATTRIBUTE_BYTES:
            break
        _check_text("an attribute's name", key, MAX_TEXT_CHARS)
        if not key:
            raise InputError("an attribute's name is empty")
        _check_text("an attribute's value", value, MAX_ATTRIBUTE_BYTES)
        size += len(key.encode()) + len(value.encode()) - len(key) - len(value)
    if size > MAX_ATTRIBUTE_BYTES:
        raise InputError(
            f"attributes hold more than {MAX_ATTRIBUTE_BYTES} bytes; keep documents elsewhere and store a reference"
        )


def _check_text(name: str, value: str, limit: int) -> None:
    if not value:
        return
    if len(value) > limit:
        raise InputError(f"{name} has {len(value)} characters, at most {limit} are allowed")
    if value.isascii() and value.isprintable():
        return  # nearly always: a million entries make this check matter
    if _CONTROL.search(value):
        raise InputError(f"{name} holds a control character; send printable text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name} holds a lone surrogate; send valid Unicode") from error


def _short(value: str) -> str:
    return repr(value) if len(value) <= 32 and value.isprintable() else "something else"


def check_ids(ids: Iterable[str]) -> list[str]:
    """Ids without repetition.

    Raises:
        InputError: too many, or one that can't be an id.
    """
    if isinstance(ids, str):
        raise InputError("ids is one string; give a list of ids")
    wanted = list(dict.fromkeys(check_id(item_id) for item_id in ids))
    if len(wanted) > MAX_IDS:
        raise InputError(f"{len(wanted)} ids in one call, at most {MAX_IDS} are allowed; send them in parts")
    return wanted


def kinds_of(kind: str | None) -> tuple[str, ...]:
    """The kind, or every kind where none is named."""
    return KINDS if kind is None else (check_kind(kind),)
