"""`foveal search`: ask a server's archive, print a table or JSON, draw a picture sheet. Searches nothing itself."""

from __future__ import annotations

import os.path
import sys
from itertools import count
from pathlib import Path, PurePath
from typing import Annotated, Any

from cyclopts import Parameter

from foveal_runtime.cli.client import Connection, Kind, Patient
from foveal_runtime.cli.csv_rows import HIT_COLUMNS, Csv, hit_row, one_format, print_csv
from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.layout import printable, width
from foveal_runtime.cli.study_file import read_study
from foveal_runtime.cli.waiting import Patience
from foveal_runtime.errors import ConfigError, ImageError, InputError
from foveal_runtime.study.photographs import read_photograph
from foveal_runtime.study.study import Study


def search(
    text: str | None = None,
    /,
    *,
    image: Path | None = None,
    study: Path | None = None,
    like: str | None = None,
    k: int = 10,
    filter_: Annotated[list[str] | None, Parameter(name="--filter", negative=())] = None,
    target: Kind | None = None,
    exact: Annotated[bool, Parameter(negative=())] = False,
    sheet: Path | None = None,
    images: Path | None = None,
    patient: Patient | None = None,
    connection: Connection | None = None,
    csv: Csv = False,
    json: Json = False,
) -> int:
    """Find stored photographs that are like a text, a photograph, a study, or a stored one.

    A text, a photograph or a record alone is compared with the stored photographs' image vectors; several of them together
    make a joint vector that is compared with joint ones. The answer says when the index was asked instead of every entry.

    For example:

        foveal search "diabetic macular edema"
        foveal search --image left.jpg --k 5 --filter eye=left --filter icdr=2..4 --json
        foveal search --study visit.json --filter site!=north --filter acquired=2024-01-01..
        foveal search "drusen" --k 24 --sheet drusen.html --images ./photographs
        foveal search --like 9f86d081884c7d65 --filter attr.device=portable

    Args:
        text: what to look for, in the words of a note.
        image: a photograph.
        study: a study file, JSON with image, note and record (docs/command-line.md).
        like: id of a stored photograph.
        k: results wanted, 1 to 10,000.
        filter_: key=value or key!=value; may be repeated, all must hold. Keys: id, patient, eye, camera, site, precision,
            source, icdr, acquired (the last two also FROM..TO), referable, attr.NAME.
        target: which stored vectors to compare with; joint asks by a joint vector too, whatever the query holds.
        exact: compare with all of them, however many.
        sheet: draw the hits with their photographs into this .html or .png file.
        images: folder of the photographs on the sheet; default: where they were when they were indexed.
        patient: note and record of the query.
        connection: how to reach the server.
        csv: print CSV, a row a hit.
        json: print one JSON document.
    """
    from foveal_runtime._proto import archive_pb2
    from foveal_runtime.cli.filter_terms import filter_of
    from foveal_runtime.cli.sheet import check_target
    from foveal_runtime.engine.answers import VectorKind
    from foveal_runtime.rpc.messages import KIND_TO, study_to

    one_format(csv=csv, json=json)
    if k < 1:
        raise InputError(f"--k is {k}; want 1 to 10000")
    if sheet is not None:
        check_target(sheet)
    elif images is not None:
        raise ConfigError("--images is the folder for a picture sheet; name the sheet's file with --sheet")
    asked = _query(text, image, study, patient or Patient())
    if (like is None) == (not asked.modalities):
        raise InputError("give something to look for: a text, --image, --study or --like ID; --like goes alone")
    request = archive_pb2.SearchRequest(k=k, exact=exact, filter=filter_of(filter_) if filter_ else None)
    if like is not None:
        request.id = like
    else:
        request.study.CopyFrom(study_to(asked))
    if target is not None:
        request.target_kind = KIND_TO[VectorKind(target)]
        # Joint vectors are compared with joint ones alone, and a stored entry brings the kind that is asked for.
        if like is not None or target == "joint":
            request.query_kind = request.target_kind
    link = connection or Connection()
    with link.open() as client:
        response = Patience(link.timeout)(lambda: client.search(request))
    if sheet is not None:
        _draw(sheet, images, response, asked, text or like or (study or image or Path("record")).name)
    _print(response, csv=csv, json=json)
    return 0


def _print(response: Any, *, csv: bool, json: bool) -> None:
    from foveal_runtime.cli.output import found_how, hit_document, hit_text, kind_name

    if json:
        print_json(
            {
                "query_kind": kind_name(response.query_kind),
                "target_kind": kind_name(response.target_kind),
                "exact": response.exact,
                "hits": [hit_document(hit) for hit in response.hits],
            }
        )
    elif csv:
        print_csv(HIT_COLUMNS, map(hit_row, map(hit_document, response.hits), count(1)))
    else:
        sys.stdout.write(hit_text(response, width()))
        sys.stderr.write(found_how(response) + "\n")


def _query(text: str | None, image: Path | None, study: Path | None, patient: Patient) -> Study:
    """The study to look for: a file's, or what the flags say."""
    if text is not None and patient.note is not None:
        raise InputError("the text was given twice, by itself and with --note; give it once")
    if text is not None and os.path.isfile(text):  # noqa: PTH113 - a text too long for a path is no file, and no error
        raise InputError(f"{text} is a file and would be looked for as words; give it with --image or --study")
    note = text if text is not None else patient.note
    record = patient.record()
    try:
        if study is None:
            return Study(image=read_photograph(image) if image is not None else None, note=note, record=record)
        if image is not None or note is not None or record is not None:
            raise InputError("--study brings image, note and record; leave the other flags out, or write them into the file")
        try:
            return read_study(study)
        except ImageError:
            raise
        except InputError as error:
            raise InputError(f"{printable(study)}: {error}") from None
    except ImageError as error:
        raise InputError(f"{study or image}: {error}") from None


def _draw(target: Path, images: Path | None, response: Any, asked: Study, title: str) -> None:
    from foveal_runtime.cli import sheet
    from foveal_runtime.cli.output import found_how, hit_document
    from foveal_runtime.cli.pictures import LocalPictures

    if images is not None and not images.is_dir():
        raise ConfigError(f"folder {images} does not exist; name the photographs' folder with --images")
    pictures = LocalPictures(images)
    cards = []
    for place, hit in enumerate(response.hits, 1):
        facts = hit_document(hit)
        known = {"ICDR": facts["icdr"], "eye": facts["eye"], "camera": facts["camera"], "site": facts["site"]}
        cards.append(
            sheet.Card(
                picture=pictures.find(facts["source"], hit.entry.content_sha256),
                lines=(
                    f"{place}   {hit.score:.4f}",
                    PurePath(facts["source"]).name or facts["id"][:16],
                    "   ".join(f"{name} {value}" for name, value in known.items() if value not in (None, "")),
                ),
            )
        )
    query = sheet.Card(picture=asked.image, lines=("query", title)) if asked.image else None
    sheet.write(
        target, sheet.Sheet(title=f"foveal search: {title}", query=query, hits=tuple(cards), remark=found_how(response))
    )
    missing = sum(card.picture is None for card in cards)
    note = f", {missing} photographs not at hand (name their folder with --images)" if missing else ""
    sys.stderr.write(f"picture sheet written to {target}{note}\n")
