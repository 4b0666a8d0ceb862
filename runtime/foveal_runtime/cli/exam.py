"""`foveal exam`: the photographs of one visit to a running server; per photograph, eye and patient. Judges nothing itself."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from foveal_runtime.cli.client import Connection, Known
from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.failures import report_failures
from foveal_runtime.cli.files import read_file
from foveal_runtime.cli.waiting import Patience
from foveal_runtime.errors import ConfigError, InputError

if TYPE_CHECKING:
    from foveal_runtime.study.study import Study

_Files = Annotated[list[Path] | None, Parameter(negative=(), consume_multiple=False)]


def exam(
    left_file: Annotated[Path | None, Parameter(name="LEFT")] = None,
    right_file: Annotated[Path | None, Parameter(name="RIGHT")] = None,
    /,
    *,
    left: _Files = None,
    right: _Files = None,
    id_: Annotated[str, Parameter(name="--id")] = "",
    patient: Known | None = None,
    operating_point: str = "",
    connection: Connection | None = None,
    json: Json = False,
) -> int:
    """Grade the photographs of one visit, and decide per eye and for the patient.

    An eye is as bad as the worst of its gradable photographs, the patient as the worse eye. Only a visit with a gradable
    photograph of each eye can clear a patient: otherwise the verdict is REFER, or UNDECIDED with the reason.

    A file that can't be read stops the exam before anything is sent. Exit code 0 when every photograph was answered, whatever
    the verdict; 2 when one failed or the input is wrong; 1 when the server is away.

    For example:

        foveal exam left.jpg right.jpg
        foveal exam --left left-macula.jpg --left left-disc.jpg --right right.jpg --id visit-7 --json

    Args:
        left_file: photograph or study file (.json) of the left eye.
        right_file: of the right eye.
        left: photograph of the left eye; may be repeated.
        right: photograph of the right eye; may be repeated.
        id_: the visit's identifier, given back in the answer.
        patient: what is known of the patient, where a study file does not say it.
        operating_point: which of the bundle's operating points decides on referrals; default: the server's.
        connection: how to reach the server.
        json: print one JSON document.
    """
    from foveal_runtime.cli.exam_text import exam_document, exam_text
    from foveal_runtime.rpc.status import error_of

    photographs = _named(left_file, right_file, left or [], right or [])
    link = connection or Connection()
    request = _request(photographs, _studies(photographs, patient or Known()), link.scale_down)
    request.id, request.operating_point = id_, operating_point
    with link.open() as client:
        response = Patience(link.timeout)(lambda: client.grade_exam(request))
    if json:
        print_json(exam_document(photographs, response))
    else:
        sys.stdout.write(exam_text(photographs, response))
    answers = zip(photographs, response.results, strict=True)
    failed = [(file, error_of(each.error)) for (_, file), each in answers if each.WhichOneof("outcome") == "error"]
    return report_failures(failed)


def _named(left_file: Path | None, right_file: Path | None, left: list[Path], right: list[Path]) -> list[tuple[str, Path]]:
    """Eye and file of every photograph, the left eye's first.

    Raises:
        ConfigError: none is named, or one file without the word which eye it shows.
    """
    if left_file is not None and right_file is None:
        raise ConfigError(
            f"{left_file} alone does not say which eye it shows; give LEFT and RIGHT, or name it with --left or --right"
        )
    lefts, rights = ([*([first] if first else []), *more] for first, more in ((left_file, left), (right_file, right)))
    if not lefts and not rights:
        raise ConfigError("an exam needs photographs: give LEFT and RIGHT, or --left FILE and --right FILE")
    return [*(("left", file) for file in lefts), *(("right", file) for file in rights)]


def _studies(photographs: list[tuple[str, Path]], known: Known) -> list[Study]:
    """What is sent, one a photograph.

    Raises:
        InputError: a file can't be used, holds no photograph, or is the same photograph as another.
    """
    record = known.record()
    studies: list[Study] = []
    seen: dict[bytes, Path] = {}
    for place, (_, file) in enumerate(photographs):
        try:
            study = read_file(file, study_id=str(place), note=known.note, record=record)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        if study.image is None:
            raise InputError(f"{file} has no photograph, and an exam is judged by photographs; name it in the study file")
        digest = hashlib.sha256(study.image).digest()
        if digest in seen:
            # One photograph named for both eyes would clear a patient of whom one eye was seen.
            raise InputError(f"{seen[digest]} and {file} are the same photograph; name each photograph once")
        seen[digest] = file
        studies.append(study)
    return studies


def _request(photographs: list[tuple[str, Path]], studies: list[Study], scale_down_px: int | None) -> Any:
    from foveal_runtime._proto import screening_pb2
    from foveal_runtime.client.requests import scaled_down
    from foveal_runtime.rpc.messages import EYE_TO, study_to
    from foveal_runtime.study.study import Eye

    request = screening_pb2.GradeExamRequest()
    for (eye, _), study in zip(photographs, studies, strict=True):
        item = request.studies.add(eye=EYE_TO[Eye(eye)])
        item.study.CopyFrom(study_to(study))
        if scale_down_px is not None and study.image is not None:
            item.study.image.encoded = scaled_down(study.image, scale_down_px)
    return request
