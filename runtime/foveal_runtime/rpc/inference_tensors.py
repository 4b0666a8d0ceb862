"""Which tensors the Open Inference Protocol sends and gets of studies: inputs to `Study` messages, results to outputs.

A study that has no grades must not look like a healthy one to a program that reads numbers alone. NaN would: `argmax` of a row
of NaN is 0, and `p > threshold` is false. So a row of probabilities has one class more than the scheme, "no answer", which is
certain where there are no grades: the likeliest class is then none of the scheme's, the healthy one has 0, and what is not
healthy sums to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from foveal_runtime._proto import screening_pb2, study_pb2
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.errors import InputError
from foveal_runtime.rpc.audited import reason_of, referral_word
from foveal_runtime.rpc.messages import KIND_TO
from foveal_runtime.rpc.tensors import BYTES, FP32, FP64, Tensor
from foveal_runtime.study.labels import Head

INPUTS = {
    "image": BYTES,
    "note": BYTES,
    "id": BYTES,
    "age_years": FP64,
    "diabetes_years": FP64,
    "sex": BYTES,
    "eye": BYTES,
    "insulin": BYTES,
    "diabetes": BYTES,
}
"""By name: the datatype. Empty BYTES and NaN are absent; numbers may be of any datatype."""
NO_ANSWER = "no answer"
"""The last class of every row of probabilities."""
NO_DECISION = b"no_decision"
"""What `referral` says without one; never empty, so that nobody takes it for "not refer"."""
WORD_OUTPUTS = ("verdict", "reason", "referral")
"""That come unasked, with the probabilities of every head."""
VECTOR_OUTPUTS = {f"vector_{kind.value}": kind for kind in VectorKind}
"""That come when they are asked for."""
_WORDS: dict[str, dict[str, Any]] = {
    "sex": {"male": study_pb2.SEX_MALE, "female": study_pb2.SEX_FEMALE},
    "eye": {"right": study_pb2.EYE_RIGHT, "left": study_pb2.EYE_LEFT},
    "insulin": {"true": True, "false": False},
    "diabetes": {"true": True, "false": False},
}
_VERDICT = {"graded": b"graded", "ungradable": b"ungradable", "abstained": b"abstained"}


def studies_of(inputs: dict[str, list[Any]]) -> list[Any]:
    """`Study` messages of a request's inputs.

    Args:
        inputs: elements by name, one a study.

    Raises:
        InputError: an input that is none, or an element that does not fit; none is quoted.
    """
    unknown = inputs.keys() - INPUTS.keys()
    if unknown or not inputs:
        raise InputError(f"a request has one or more of the inputs {', '.join(INPUTS)}, and no others")
    for name, values in inputs.items():
        if any(isinstance(value, bytes) != (INPUTS[name] == BYTES) for value in values):
            raise InputError(f"input {name} has another datatype than {INPUTS[name]}")
    count = len(next(iter(inputs.values())))
    studies = [study_pb2.Study() for _ in range(count)]
    for name, values in inputs.items():
        for study, value in zip(studies, values, strict=True):
            _set(study, name, value)
    return studies


def _set(study: Any, name: str, value: Any) -> None:
    if name in ("age_years", "diabetes_years"):
        if not math.isnan(value):
            setattr(study.record, name, float(value))
    elif not value:
        return
    elif name == "image":
        study.image.encoded = value
    elif name in _WORDS:
        word = value.decode(errors="replace").lower()
        if word not in _WORDS[name]:
            raise InputError(f"input {name} has an element that is none of {', '.join(_WORDS[name])}, and not empty")
        setattr(study.record, name, _WORDS[name][word])
    else:
        try:
            setattr(study, name, value.decode())
        except UnicodeDecodeError:
            raise InputError(f"input {name} has an element that is no UTF-8; send text") from None


Heads = Mapping[Head, Sequence[str]]
"""Classes by head."""


def grade_outputs(heads: Heads) -> tuple[str, ...]:
    """Names of the outputs that come unasked, of a bundle with these heads."""
    return (*WORD_OUTPUTS, *map(probabilities_of, heads))


def probabilities_of(head: Head) -> str:
    """Name of the output with a head's probabilities."""
    return f"{head}_probabilities"


def graded_tensors(results: Sequence[Any], heads: Heads) -> list[Tensor]:
    """Outputs of `GradeResult` messages, in the order of `grade_outputs`."""
    count = len(results)
    tensors = [
        Tensor("verdict", BYTES, (count,), [_verdict(each) for each in results]),
        Tensor("reason", BYTES, (count,), [_reason(each) for each in results]),
        Tensor("referral", BYTES, (count,), [_referral(each) for each in results]),
    ]
    for head, classes in heads.items():
        rows = [_probabilities(each, head, len(classes)) for each in results]
        values = [value for row in rows for value in row]
        tensors.append(Tensor(probabilities_of(head), FP64, (count, len(classes) + 1), values, (*classes, NO_ANSWER)))
    return tensors


def _verdict(result: Any) -> bytes:
    if result.HasField("error"):
        return b"error"
    return _VERDICT[result.grade.WhichOneof("verdict")]


def _reason(result: Any) -> bytes:
    """Why there are no grades; empty where there are."""
    if result.HasField("error"):
        return reason_of(result.error).encode()
    if result.grade.HasField("ungradable"):
        name = screening_pb2.QualityStatus.Name(result.grade.ungradable.reason)
        return str(name).removeprefix("QUALITY_STATUS_").encode()
    return str(result.grade.abstained.reason).encode()


def _referral(result: Any) -> bytes:
    word = referral_word(result.grade.graded.referral)
    return NO_DECISION if word is None else word.encode()


def _probabilities(result: Any, head: Head, classes: int) -> list[float]:
    given = next((each for each in result.grade.graded.heads if each.head == head), None)
    if given is None:
        return [0.0] * classes + [1.0]
    return [*(each.probability for each in given.classes), 0.0]


def vector_tensors(results: Sequence[Any], kinds: Sequence[VectorKind], size: int) -> list[Tensor]:
    """Outputs of `EmbedResult` messages; a study without such a vector has NaN in each place.

    Args:
        results: one a study.
        kinds: wanted.
        size: of a vector.
    """
    tensors = []
    for kind in kinds:
        rows = [
            next((list(v.values) for v in each.embedding.vectors if v.kind == KIND_TO[kind]), [math.nan] * size)
            for each in results
        ]
        values = [value for row in rows for value in row]
        tensors.append(Tensor(f"vector_{kind.value}", FP32, (len(results), size), values))
    return tensors
