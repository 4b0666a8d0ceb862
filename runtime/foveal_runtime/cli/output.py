"""Answers of a server as JSON documents and tables. Calls nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foveal_runtime._proto import model_pb2, screening_pb2, study_pb2
from foveal_runtime.errors import FovealError
from foveal_runtime.rpc.grade_messages import ICDR_OF, REFERRAL_OF
from foveal_runtime.study.labels import Head


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
    empty: dict[str, Any] = {"quality": None, "icdr": None, "sdrg": None, "referable": None}
    if isinstance(answer, FovealError):
        return {**_failed(file, answer), **empty}
    grade = answer.grade
    document: dict[str, Any] = {"file": str(file), "status": "OK", **empty, "quality": quality_document(grade)}
    for result in grade.graded.heads:
        names = [each.name for each in result.classes]
        document[result.head] = {
            "grade": names.index(result.likeliest),
            "name": result.likeliest,
            "probabilities": [each.probability for each in result.classes],
        }
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
    document["truncated"] = list(grade.truncated_fields)
    document["unverified"] = list(grade.unverified_heads)
    document["timing"] = timing_document(grade.timing)
    document["model"] = model_document(model)
    return document


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


def grade_table(rows: Sequence[tuple[Path, Any]]) -> None:
    """A line a file on stdout; failed ones are left to stderr."""
    for file, answer in rows:
        if isinstance(answer, FovealError):
            continue
        grade = answer.grade
        if grade.HasField("ungradable"):
            sys.stdout.write(f"{file}: not gradable: {grade.ungradable.message}\n")
            continue
        parts = [_head_text(result) for result in grade.graded.heads]
        if grade.graded.referral:
            parts.append(_referral_text(grade.graded))
        if grade.unverified_heads:
            parts.append(f"unverified: {', '.join(grade.unverified_heads)}")
        if grade.imputed_fields:
            parts.append(f"imputed: {', '.join(grade.imputed_fields)}")
        sys.stdout.write(f"{file}: {'; '.join(parts)}\n")


def _head_text(result: Any) -> str:
    """One head's grade as a person reads it."""
    if result.head == Head.SDRG:
        return f"SDRG {result.likeliest}"
    place = [each.name for each in result.classes].index(result.likeliest)
    return f"{result.head.upper()} {place} ({result.likeliest}, p {result.classes[place].probability:.2f})"


def _referral_text(graded: Any) -> str:
    """The referral and what it rests on."""
    basis = graded.referral_basis
    reached = f"p {basis.probability:.3f}, threshold {basis.operating_point.threshold:.3f}"
    if graded.referral != screening_pb2.REFERRAL_REFER:
        return f"not referable ({reached})"
    return f"referable by its grade ({reached})" if basis.by_grade_alone else f"referable ({reached})"


def hit_document(hit: Any) -> dict[str, Any]:
    """One search result."""
    facts = hit.entry.facts
    return {
        "id": facts.id,
        "score": hit.score,
        "source": facts.source,
        "patient": facts.patient,
        "eye": study_pb2.Eye.Name(facts.eye).removeprefix("EYE_").lower() if facts.eye else None,
        "camera": facts.camera,
        "site": facts.site,
        "acquired": facts.acquired or None,
        "icdr": ICDR_OF.get(facts.icdr),
        "referable": REFERRAL_OF.get(facts.referral),
        "attributes": dict(facts.attributes),
    }


def found_how(response: Any) -> str:
    """Which vectors were compared, and whether all of them."""
    how = "every entry that fits was compared" if response.exact else "by the index; --exact compares every entry"
    return f"{kind_name(response.query_kind)} query against {kind_name(response.target_kind)} vectors, {how}"


def hit_table(response: Any) -> None:
    """A line a hit on stdout, how they were found on stderr."""
    if not response.hits:
        sys.stdout.write("nothing stored fits\n")
    for place, hit in enumerate(response.hits, 1):
        facts = hit.entry.facts
        grade = f"  ICDR {ICDR_OF[facts.icdr]}" if facts.icdr in ICDR_OF else ""
        sys.stdout.write(f"{place:4d}  {hit.score:.4f}  {facts.source or facts.id}{grade}\n")
    sys.stderr.write(found_how(response) + "\n")
