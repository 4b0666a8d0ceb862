"""Retrieval measured through a running server and its archive, as a clinic's query goes. Stores nothing, runs no model.

The archive must hold the photographs of the data set and no others: a hit that nobody labelled can't be judged. Every distinct
note is asked for once, since equal notes have one and the same vector. What the server's list leaves out is one tie behind it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime._proto import archive_pb2, model_pb2, screening_pb2, study_pb2
from foveal_runtime.client import Client
from foveal_runtime.errors import DataError
from foveal_runtime.study.labels import MISSING
from foveal_train.data.sample import Sample
from foveal_train.evaluation.intervals import Resamples, resample
from foveal_train.evaluation.protocols import DESCRIPTIONS, label_sets
from foveal_train.evaluation.retrieval import scored_figures
from foveal_train.evaluation.warn import retrieval_warnings

MAX_K = 10_000
_UNSEEN = -2.0
"""Score of what the server did not name: below every cosine."""
_IDS_AT_ONCE = 500
SCHEMA_VERSION = 1
Progress = Callable[[int, int], None]
Ids = dict[str, int]
"""Id in the archive to the row of its study."""


def evaluate_served(
    client: Client,
    samples: Sequence[Sample],
    *,
    k: int | None = None,
    seed: int = 0,
    bootstrap: int = 1000,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Ask a server for every note's photographs, and for every photograph's notes where text vectors are stored.

    Args:
        client: of the server.
        samples: the data set that was indexed.
        k: length of the server's lists; None takes as many as there are photographs, up to 10,000.
        seed: of the bootstrap.
        bootstrap: replicates; 0 gives figures without intervals.
        progress: called with (done, total) queries.

    Returns:
        A JSON document. `retrieval` has `independent`, as the server searches by itself, `independent_exact`, the same with
        every entry compared (figures as `evaluate_arrays` documents them), and `joint`, None: no server is asked so. `of_exact`
        is the share of the exact search's label-level mAP that the server reaches, `answered_exactly` the share of its answers
        that compared every entry.

    Raises:
        DataError: the archive lacks some of the photographs, or holds others.
        FovealError: the server is away, keeps no archive, or refuses.
    """
    model = client.model()
    space_id = model.model.space_id
    kept, row_of = _photographs(samples)
    counts = {count.kind: count.count for count in client.stats().counts}
    _check_gallery(client, row_of, counts.get(study_pb2.VECTOR_KIND_IMAGE, 0))
    drawn = resample([sample.patient_id for sample in kept], count=bootstrap, seed=seed)
    _, groups_N = np.unique(np.asarray([sample.note for sample in kept], dtype=object).astype(str), return_inverse=True)
    groups_N = groups_N.reshape(-1).astype(np.int64)
    queries = np.flatnonzero([bool(sample.note.strip()) for sample in kept])
    if np.unique(groups_N[queries]).size < 2:
        raise DataError("fewer than two different notes belong to photographs; retrieval can't be measured on this data")
    asked = _Asked(client, kept, row_of, groups_N, queries, drawn, min(k or len(kept), len(kept), MAX_K), space_id)
    vectors = _image_vectors(client, row_of) if counts.get(study_pb2.VECTOR_KIND_TEXT, 0) else {}
    total = 2 * (int(np.unique(groups_N[queries]).size) + (len(queries) if vectors else 0))
    done = [0]

    def step() -> None:
        done[0] += 1
        progress(done[0], total)

    served = asked.protocol(vectors, exact=False, step=step)
    exact = asked.protocol(vectors, exact=True, step=step)
    retrieval, left_out = _retrieval(model, served, exact, with_vectors=bool(vectors))
    dropped = sum(sample.image_path is not None for sample in samples) - len(kept)
    twice = [f"{dropped} rows are copies of another row's photograph; the first of each is judged."] if dropped else []
    return {
        "schema_version": SCHEMA_VERSION,
        "seed": seed,
        "bootstrap": bootstrap,
        "model": {
            "bundle_sha256": model.model.bundle_sha256,
            "space_id": space_id,
            "precision": model.model.precision,
        },
        "studies": len(kept),
        "patients": drawn.patients,
        "k": asked.k,
        "answered_exactly": served.exact_share,
        "of_exact": {name: _of_exact(served.directions[name], exact.directions[name]) for name in served.directions},
        "heads": [],
        "grading": {},
        "retrieval": retrieval,
        "left_out": left_out,
        "warnings": [*twice, *retrieval_warnings(retrieval)],
    }


@dataclass(frozen=True, slots=True)
class _Protocol:
    """What one way of searching found."""

    directions: dict[str, Any]
    exact_share: float


def _retrieval(
    model: model_pb2.GetModelResponse, served: _Protocol, exact: _Protocol, *, with_vectors: bool
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The protocols' figures as the document has them, and what was left out with the reason."""
    aligned = {study_pb2.MODALITY_IMAGE, study_pb2.MODALITY_TEXT} <= set(model.aligned_modalities)
    retrieval: dict[str, Any] = {
        "independent": {"description": DESCRIPTIONS["independent"], "aligned": aligned, **served.directions},
        "independent_exact": {"description": "The same, every entry compared.", "aligned": aligned, **exact.directions},
        "joint": None,
    }
    left_out = [
        {
            "what": "retrieval joint",
            "reason": "it compares two vectors of one pass, which no server gives and no clinic asks for",
        }
    ]
    if not with_vectors:
        reason = "the archive holds no text vectors; index with --kind image --kind text"
        left_out.append({"what": "retrieval independent image_to_text", "reason": reason})
    return retrieval, left_out


@dataclass(frozen=True, slots=True)
class _Asked:
    """The data set as it is asked for."""

    client: Client
    samples: list[Sample]
    row_of: Ids
    groups_N: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]
    drawn: Resamples
    k: int
    space_id: str

    def protocol(self, vectors: dict[int, list[float]], *, exact: bool, step: Callable[[], None]) -> _Protocol:
        """Figures of both directions; photograph to note is None without vectors of the photographs."""
        answers: list[bool] = []
        by_note: dict[int, npt.NDArray[np.float64]] = {}

        def note_scores(part: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
            for row in part:
                group = int(self.groups_N[row])
                if group not in by_note:
                    query = study_pb2.Study(note=self.samples[row].note)
                    by_note[group] = self._ask(archive_pb2.SearchRequest(study=query), "IMAGE", exact, answers)
                    step()
            return np.stack([by_note[int(self.groups_N[row])] for row in part])

        def image_scores(part: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
            found = []
            for row in part:
                query = screening_pb2.Vector(kind="VECTOR_KIND_IMAGE", values=vectors[int(row)])
                request = archive_pb2.SearchRequest(vector=query, space_id=self.space_id)
                found.append(self._ask(request, "TEXT", exact, answers)[self.queries])
                step()
            return np.stack(found)

        everyone = np.arange(len(self.samples))
        directions = {
            "text_to_image": self._figures(note_scores, everyone),
            "image_to_text": self._figures(image_scores, self.queries) if vectors else None,
        }
        return _Protocol(directions, float(np.mean(answers)))

    def _ask(self, request: Any, target: str, exact: bool, answers: list[bool]) -> npt.NDArray[np.float64]:
        """A score for every study."""
        request.k, request.exact = self.k, exact
        request.target_kind = f"VECTOR_KIND_{target}"
        response = self.client.search(request)
        answers.append(response.exact)
        scores_N = np.full(len(self.samples), _UNSEEN)
        for hit in response.hits:
            row = self.row_of.get(hit.entry.facts.id)
            if row is None:
                raise DataError("the archive was written to meanwhile; evaluate again when nobody writes to it")
            scores_N[row] = hit.score
        return scores_N

    def _figures(self, score: Callable[[Any], Any], gallery: npt.NDArray[np.int64]) -> dict[str, Any]:
        grades_N = np.asarray([MISSING if s.labels.icdr is None else s.labels.icdr for s in self.samples], np.int64)
        labels = label_sets(self.samples, self.queries, note_groups_N=self.groups_N, grades_N=grades_N)
        return scored_figures(
            score, queries=self.queries, gallery=gallery, note_groups_N=self.groups_N, labels=labels, resamples=self.drawn
        )


def _photographs(samples: Sequence[Sample]) -> tuple[list[Sample], Ids]:
    """Samples with a photograph, the first of each, and their ids: `foveal index` names an entry by its content."""
    kept: list[Sample] = []
    row_of: Ids = {}
    for sample in samples:
        data = sample.image_bytes()
        if data is None:
            continue
        digest = hashlib.sha256(data).hexdigest()
        if digest not in row_of:
            row_of[digest] = len(kept)
            kept.append(sample)
    if not kept:
        raise DataError("the data set has no photograph, and an archive is searched for photographs")
    return kept, row_of


def _check_gallery(client: Client, row_of: Ids, stored: int) -> None:
    known = set()
    for entry in _entries(client, row_of, with_vectors=False):
        known.add(entry.facts.id)
    if missing := len(row_of) - len(known):
        raise DataError(
            f"{missing} of the data set's {len(row_of)} photographs are not in the server's archive; `foveal index` it first"
        )
    if stored > len(row_of):
        raise DataError(
            f"the archive holds {stored - len(row_of)} photographs that are not in the data set, and nobody knows their labels;"
            " serve an archive of its own (`foveal serve --collection NAME`), and index the data set into it"
        )


def _image_vectors(client: Client, row_of: Ids) -> dict[int, list[float]]:
    return {row_of[entry.facts.id]: list(entry.vectors[0].values) for entry in _entries(client, row_of, with_vectors=True)}


def _entries(client: Client, row_of: Ids, *, with_vectors: bool) -> list[Any]:
    ids = list(row_of)
    found: list[Any] = []
    for start in range(0, len(ids), _IDS_AT_ONCE):
        request = archive_pb2.GetRequest(ids=ids[start : start + _IDS_AT_ONCE], kind="VECTOR_KIND_IMAGE")
        request.with_vectors = with_vectors
        found += client.get_all(request)
    return found


def _of_exact(served: dict[str, Any] | None, exact: dict[str, Any] | None) -> dict[str, float] | None:
    """By label, the served mAP as a share of the exact one."""
    if served is None or exact is None:
        return None
    shares = {}
    for label, figures in exact["labels"].items():
        best, got = figures["map"]["value"], served["labels"][label]["map"]["value"]
        if best:
            shares[label] = got / best
    return shares
