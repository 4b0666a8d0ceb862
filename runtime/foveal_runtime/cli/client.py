"""`foveal grade` and `foveal embed`: files to a running server, answers to a table or JSON. Grades nothing itself."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.study_file import SUFFIX, read_photograph, read_study
from foveal_runtime.errors import FovealError, InputError

if TYPE_CHECKING:
    from foveal_runtime.client import Client
    from foveal_runtime.study.study import Record, Study

_REQUEST_BYTES = 24 << 20
_REQUEST_STUDIES = 16

Flag = Annotated[bool | None, Parameter(negative=())]
Kind = Literal["joint", "image", "text", "structured"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach the server."""

    address: str = "127.0.0.1:50051"
    "HOST:PORT of the server."
    timeout: float = 60.0
    "Seconds to wait for an answer."
    tls_ca: Path | None = None
    "PEM certificates that the server's must be signed by; without it the connection is plain text."
    tls_cert: Path | None = None
    "PEM certificate of this client."
    tls_key: Path | None = None
    "PEM private key of this client."
    scale_down: int | None = None
    "Scale photographs down to this many pixels a side before sending."

    def open(self) -> Client:
        """A client."""
        from foveal_runtime.client import Client, ClientOptions

        options = ClientOptions(
            timeout_s=self.timeout,
            tls_ca=self.tls_ca,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
            scale_down_px=self.scale_down,
        )
        return Client(self.address, options)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Patient:
    """What is known of the patient, for every file of the call."""

    note: str | None = None
    "The clinical note."
    age: float | None = None
    "Years."
    sex: Literal["male", "female"] | None = None
    "Sex as recorded."
    eye: Literal["right", "left"] | None = None
    "Which eye the photograph shows."
    diabetes_years: float | None = None
    "Years since diabetes was diagnosed."
    insulin: Flag = None
    "Takes insulin."
    no_insulin: Flag = None
    "Takes none."
    diabetes: Flag = None
    "Has diabetes."
    no_diabetes: Flag = None
    "Has none."

    def record(self) -> Record | None:
        """The record; None when nothing is known."""
        from foveal_runtime.study.study import Eye, Record, Sex

        record = Record(
            age_years=self.age,
            sex=None if self.sex is None else Sex(self.sex),
            eye=None if self.eye is None else Eye(self.eye),
            diabetes_years=self.diabetes_years,
            insulin=_answer("insulin", self.insulin, self.no_insulin),
            diabetes=_answer("diabetes", self.diabetes, self.no_diabetes),
        )
        return None if record.is_blank else record


def _answer(name: str, yes: bool | None, no: bool | None) -> bool | None:
    if yes and no:
        raise InputError(f"--{name} and --no-{name} were both given; give one")
    return True if yes else False if no else None


def grade(
    files: list[Path],
    /,
    *,
    patient: Patient | None = None,
    operating_point: str = "",
    connection: Connection | None = None,
    json: Json = False,
) -> int:
    """Grade photographs with a running server.

    Prints a line per photograph, or with --json a list with an object per photograph: file, status ("OK", or a gRPC code with
    message), quality, icdr, sdrg, referable, what was imputed or cut, timings. A photograph that can't be graded has status OK,
    quality.gradable false, and null grades. Exit code 2 when any file failed.

    For example:

        foveal grade left.jpg right.jpg
        foveal grade left.jpg --age 61 --sex female --eye left --diabetes-years 12 --insulin --json

    Args:
        files: photographs (JPEG, PNG, TIFF, WebP or DICOM), or study files (.json: image, note and record; docs/api.md).
        patient: what is known of the patient, where a study file does not say it.
        operating_point: which of the bundle's operating points decides on referrals; default: the server's.
        connection: how to reach the server.
        json: print one JSON document.
    """
    from foveal_runtime.cli.output import grade_document, grade_table

    rows: list[tuple[Path, Any]] = []
    model: Any = None
    with (connection or Connection()).open() as client:
        for part in _parts(_studies(files, patient or Patient())):
            model = _ask(part, rows, lambda studies: client.grade(studies, operating_point), model)
    rows.sort(key=lambda row: files.index(row[0]))
    if json:
        print_json([grade_document(file, answer, model) for file, answer in rows])
    else:
        grade_table(rows)
    return _report_failures(rows, len(files), json)


def embed(
    files: list[Path] | None = None,
    /,
    *,
    kind: Annotated[list[Kind] | None, Parameter(negative=())] = None,
    patient: Patient | None = None,
    connection: Connection | None = None,
    json: Json = False,
) -> int:
    """Embed photographs, or a note or record without one, with a running server.

    Prints the unit vectors as JSON lines, or with --json as one list with an object per file: file, status, vectors by kind.
    Exit code 2 when any file failed.

    For example:

        foveal embed left.jpg --kind image
        foveal embed --note "diabetic macular edema" --kind text --json

    Args:
        files: photographs or study files (.json); none embeds the note or record alone.
        kind: which vectors; may be repeated. Default joint.
        patient: note and record.
        connection: how to reach the server.
        json: print one JSON document.
    """
    from foveal_runtime.cli.output import embed_document
    from foveal_runtime.engine.answers import VectorKind
    from foveal_runtime.study.study import Study

    kinds = [VectorKind(name) for name in kind or ["joint"]]
    known = patient or Patient()
    rows: list[tuple[Path, Any]] = []
    model: Any = None
    studies: Iterator[tuple[Path, Study | FovealError]]
    if files:
        studies = _studies(files, known)
    else:
        studies = iter([(Path("-"), Study(note=known.note, record=known.record()))])
    with (connection or Connection()).open() as client:
        for part in _parts(studies):
            model = _ask(part, rows, lambda those: client.embed(those, kinds), model)
    documents = [embed_document(file, answer, model) for file, answer in rows]
    if json:
        print_json(documents)
    else:
        for document in documents:
            sys.stdout.write(json_module.dumps(document) + "\n")
    return _report_failures(rows, len(rows), json)


def _studies(files: Sequence[Path], patient: Patient) -> Iterator[tuple[Path, Study | FovealError]]:
    from foveal_runtime.study.study import Study

    record = patient.record()
    for i, file in enumerate(files):
        try:
            if file.suffix.lower() == SUFFIX:
                study = read_study(file)
                yield file, replace(study, id=str(i), note=study.note or patient.note, record=study.record or record)
            else:
                yield file, Study(id=str(i), image=read_photograph(file), note=patient.note, record=record)
        except InputError as error:
            yield file, error


def _parts(studies: Iterator[tuple[Path, Any]]) -> Iterator[list[tuple[Path, Any]]]:
    """Requests of a size that any server takes."""
    part: list[tuple[Path, Any]] = []
    size = 0
    for file, study in studies:
        weight = 0 if isinstance(study, FovealError) else len(study.image or b"")
        if part and (size + weight > _REQUEST_BYTES or len(part) >= _REQUEST_STUDIES):
            yield part
            part, size = [], 0
        part.append((file, study))
        size += weight
    if part:
        yield part


def _ask(part: list[tuple[Path, Any]], rows: list[tuple[Path, Any]], call: Any, model: Any) -> Any:
    """Add a result message or an error for each file of a part; returns what answered."""
    from foveal_runtime.rpc.status import error_of

    sent = [(file, study) for file, study in part if not isinstance(study, FovealError)]
    rows.extend((file, study) for file, study in part if isinstance(study, FovealError))
    if not sent:
        return model
    response = call([study for _, study in sent])
    for (file, _), result in zip(sent, response.results, strict=True):
        rows.append((file, error_of(result.error) if result.WhichOneof("outcome") == "error" else result))
    return response.model


def _report_failures(rows: Sequence[tuple[Path, Any]], count: int, json: bool) -> int:
    failed = [(file, answer) for file, answer in rows if isinstance(answer, FovealError)]
    for file, error in failed:
        sys.stderr.write(f"error: {file}: {error}\n")
    return max((2 if isinstance(error, InputError) else error.exit_code for _, error in failed), default=0)
