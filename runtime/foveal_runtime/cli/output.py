"""Answers of a server as JSON documents and tables. Calls nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foveal_runtime._proto import model_pb2, screening_pb2, study_pb2
from foveal_runtime.cli.layout import printable, shortened
from foveal_runtime.errors import FovealError
from foveal_runtime.rpc.grade_messages import REFERRAL_OF, icdr_from
from foveal_runtime.study.labels import SCHEMES


def model_document(model: Any) -> dict[str, Any] | None:
    """What answered."""
    if model is None:
        return None
    return {
        "bundle_sha256": model.bundle_sha256,
        "space_id": model.space_id,
        "precision": model_pb2.Precision.Name(model.precision).removeprefix("PRECISION_").lower(),
        "foveal_version": model.foveal_version,
    }


def _failed(file: Path, error: FovealError) -> dict[str, Any]:
    return {"file": str(file), "status": error.grpc_code, "reason": error.reason, "message": str(error)}


def grade_document(file: Path, answer: Any, model: Any) -> dict[str, Any]:
    """One graded file."""
    empty: dict[str, Any] = {"verdict": None, "quality": None, "icdr": None, "sdrg": None, "heads": {}, "referable": None}
    if isinstance(answer, FovealError):
        return {**_failed(file, answer), **empty}
    grade = answer.grade
    document: dict[str, Any] = {"file": str(file), "status": "OK", **empty, "verdict": verdict(grade)}
    document["quality"] = quality_document(grade)
    if grade.HasField("abstained"):
        document["abstained"] = {"reason": grade.abstained.reason, "message": grade.abstained.message}
    for result in grade.graded.heads:
        if result.head not in SCHEMES:
            probabilities = {each.name: each.probability for each in result.classes}
            document["heads"][result.head] = {"likeliest": result.likeliest, "probabilities": probabilities}
            continue
        names = [each.name for each in result.classes]
        document[result.head] = {
            "grade": names.index(result.likeliest),
            "name": result.likeliest,
            "probabilities": [each.probability for each in result.classes],
        }
    if grade.graded.icdr_set.grades:
        found = grade.graded.icdr_set
        document["icdr"]["set"] = {"grades": [icdr_from(number) for number in found.grades], "coverage": found.coverage}
    if grade.HasField("novelty"):
        document["novelty"] = {"distance": grade.novelty.distance, "unlike_training": grade.novelty.unlike_training}
    if grade.HasField("evidence_map"):
        document["evidence_map"] = evidence_document(grade.evidence_map)
    if grade.graded.referral:
        basis = grade.graded.referral_basis
        document["referable"] = {
            "decision": grade.graded.referral == screening_pb2.REFERRAL_REFER,
            "probability": basis.probability,
            "by_grade_alone": basis.by_grade_alone,
            "operating_point": {"name": basis.operating_point.name, "threshold": basis.operating_point.threshold},
        }
    document["modalities"] = [study_pb2.Modality.Name(m).removeprefix("MODALITY_").lower() for m in grade.modalities]
    document["imputed"] = list(grade.imputed_fields)
    document["filled"] = filled_document(grade.filled_fields)
    document["truncated"] = list(grade.truncated_fields)
    document["unverified"] = list(grade.unverified_heads)
    document["timing"] = timing_document(grade.timing)
    document["model"] = model_document(model)
    return document


def evidence_document(found: Any) -> dict[str, Any]:
    """A map as rows of cells, and what of the photograph they cover."""
    cells, columns = list(found.cells), found.columns
    return {
        "cells": [cells[i * columns : (i + 1) * columns] for i in range(found.rows)],
        "frame": {name: getattr(found.frame, name) for name in ("left", "top", "right", "bottom")},
        "largest_log_odds": found.largest_log_odds,
    }


def verdict(grade: Any) -> str:
    """`graded`, `ungradable` or `abstained`; `unknown` for one of a newer server, which is none of them."""
    return grade.WhichOneof("verdict") or "unknown"


def filled_document(fields: Any) -> dict[str, str]:
    """Fields that were left out and found elsewhere, and where."""
    name = screening_pb2.FactSource.Name
    return {each.field: name(each.source).removeprefix("FACT_SOURCE_").lower() for each in fields}


def embed_document(file: Path, answer: Any, model: Any) -> dict[str, Any]:
    """One embedded file."""
    if isinstance(answer, FovealError):
        return {**_failed(file, answer), "vectors": None}
    embedding = answer.embedding
    return {
        "file": str(file),
        "status": "OK",
        "quality": quality_document(embedding),
        "vectors": {kind_name(v.kind): list(v.values) for v in embedding.vectors},
        "imputed": list(embedding.imputed_fields),
        "filled": filled_document(embedding.filled_fields),
        "truncated": list(embedding.truncated_fields),
        "timing": timing_document(embedding.timing),
        "model": model_document(model),
    }


def kind_name(number: Any) -> str:
    """`joint`, `image`, `text` or `structured`."""
    return str(study_pb2.VectorKind.Name(number)).removeprefix("VECTOR_KIND_").lower()


def quality_document(message: Any) -> dict[str, Any] | None:
    """The verdict on a photograph; None without one."""
    if not message.HasField("quality"):
        return None
    quality = message.quality
    name = screening_pb2.QualityStatus.Name(quality.status).removeprefix("QUALITY_STATUS_")
    gradable = quality.status == screening_pb2.QUALITY_STATUS_GRADABLE
    return {"gradable": gradable, "status": name, "message": quality.message}


def timing_document(timing: Any) -> dict[str, Any]:
    """Where the time went."""
    return {
        "queue_ms": timing.queue_ms,
        "decode_ms": timing.decode_ms,
        "compute_ms": timing.compute_ms,
        "batch_size": timing.batch_size,
        "cached": timing.cached,
    }


def eye_name(number: int) -> str:
    """`right`, `left` or `unspecified`."""
    return str(study_pb2.Eye.Name(number)).removeprefix("EYE_").lower()


def hit_document(hit: Any) -> dict[str, Any]:
    """One search result."""
    facts = hit.entry.facts
    return {
        "id": facts.id,
        "score": hit.score,
        "source": facts.source,
        "patient": facts.patient,
        "eye": eye_name(facts.eye) if facts.eye else None,
        "camera": facts.camera,
        "site": facts.site,
        "acquired": facts.acquired or None,
        "icdr": icdr_from(facts.icdr),
        "referable": REFERRAL_OF.get(facts.referral),
        "attributes": dict(facts.attributes),
    }


def found_how(response: Any) -> str:
    """Which vectors were compared, and whether all of them."""
    how = "every entry that fits was compared" if response.exact else "by the index; --exact compares every entry"
    return f"{kind_name(response.query_kind)} query against {kind_name(response.target_kind)} vectors, {how}"


def hit_text(response: Any, width: int) -> str:
    """A line a hit; long names lose their middle where the screen has `width` columns, and 0 shows them whole."""
    if not response.hits:
        return "nothing stored fits\n"
    lines = []
    for place, hit in enumerate(response.hits, 1):
        facts = hit.entry.facts
        icdr = icdr_from(facts.icdr)
        grade = "" if icdr is None else f"  ICDR {icdr}"
        start, name = f"{place:4d}  {hit.score:.4f}  ", printable(facts.source or facts.id)
        lines.append(f"{start}{shortened(name, width - len(start) - len(grade)) if width else name}{grade}\n")
    return "".join(lines)
