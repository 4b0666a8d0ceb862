"""`foveal quality …`: what the gradability check says of photographs here, and a clinic's own threshold. Needs no server.

The check itself is `photo.quality`, the threshold `photo.site`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.files import named_files, report_skipped
from foveal_runtime.cli.progress import Progress
from foveal_runtime.errors import FovealError, InputError
from foveal_runtime.study.photographs import read_photograph

if TYPE_CHECKING:
    from foveal_runtime.photo.quality import Assessment
    from foveal_runtime.photo.site import SiteQuality
    from foveal_runtime.study.photographs import Skipped

app = App(name="quality", help="Check photographs for gradability, and fit the check's threshold to a clinic's camera.")

_WORTH_A_BAR = 9
"""Files from which on a bar says how far it is."""


@app.command
def fit(
    usable: Path,
    /,
    *,
    unusable: Path | None = None,
    refuse: float = 0.01,
    out: Path = Path("quality.json"),
    json: Json = False,
) -> int:
    """Fit the threshold of the gradability check to a camera, on photographs whose usability graders have judged.

    The threshold is put where at most a share of the usable photographs is refused. Usable ones alone bring it down, never up:
    with --unusable it goes up as far as the usable ones let it. Nothing else of the check changes. PyTorch is not needed.

    A file that can't be read is named on stderr and left out; the exit code is then 2. What else a folder holds (HEIC, hidden
    files, a server's thumbnails) is listed at the end.

    For example:

        foveal quality fit ./usable
        foveal quality fit ./photographs --unusable ./photographs/unusable --refuse 0.005 --out clinic.json
        foveal serve models/edge --quality clinic.json

    Args:
        usable: folder of photographs that graders call usable, some hundred of one camera.
        unusable: folder of photographs that they call unusable; inside the other it is taken out of it.
        refuse: share of the usable photographs that may be refused.
        out: file to write, for `foveal serve --quality`.
        json: print one JSON document, the same as is written.
    """
    import json as json_format

    from foveal_runtime.photo.site import fit_site, site_document

    skipped: list[Skipped] = []
    bad = named_files([unusable], skipped) if unusable is not None else []
    apart, listed = {file.resolve() for file in bad}, {each.path.resolve() for each in skipped}
    others: list[Skipped] = []
    good = [file for file in named_files([usable], others) if file.resolve() not in apart]
    skipped += (each for each in others if each.path.resolve() not in listed)
    found, failed = _judged([*good, *bad])
    site = fit_site(_gradable(found, good), _gradable(found, bad), refuse=refuse)
    document = site_document(site)
    out.write_text(json_format.dumps(document, indent=1) + "\n", encoding="utf-8")
    if json:
        print_json(document)
    else:
        sys.stdout.write(_fit_text(site, out))
    report_skipped(skipped)
    return 2 if failed else 0


@app.command
def check(files: list[Path], /, *, quality: Path | None = None, json: Json = False) -> int:
    """Say of each photograph whether it can be graded, how probable that is, and else why not.

    A folder stands for every photograph in it and below it; what is left out is listed at the end on stderr. A file that can't
    be read is named there; the exit code is then 2. What the check says does not change the exit code.

    For example:

        foveal quality check ./photographs
        foveal quality check left.jpg right.jpg --quality clinic.json --json

    Args:
        files: photographs (JPEG, PNG, TIFF, WebP or DICOM) or folders of them.
        quality: the clinic's threshold, as `foveal quality fit` wrote it; default: the check's own.
        json: print one JSON document: a list with file, quality (as a server answers it), and probability (of being gradable).
    """
    from foveal_runtime.photo.quality import Quality
    from foveal_runtime.photo.site import read_site

    least = read_site(quality).min_gradable if quality is not None else None
    skipped: list[Skipped] = []
    found, failed = _judged(named_files(files, skipped))
    rows: list[dict[str, Any]] = []
    for file, assessment in found.items():
        verdict = assessment.verdict(least)
        answer = {"gradable": verdict is Quality.GRADABLE, "status": verdict.name, "message": verdict.sentence}
        rows.append({"file": str(file), "quality": answer, "probability": round(assessment.gradable, 4)})
        if not json:
            said = "gradable" if verdict is Quality.GRADABLE else f"not gradable: {verdict.sentence}"
            sys.stdout.write(f"{file}: {said} (probability {assessment.gradable:.3f})\n")
    if json:
        print_json(rows)
    report_skipped(skipped)
    return 2 if failed else 0


def _judged(files: Sequence[Path]) -> tuple[dict[Path, Assessment], int]:
    """What the check says of each file that can be read, and how many can't."""
    from foveal_runtime.photo.quality import judge

    found: dict[Path, Assessment] = {}
    failed = 0
    read = _reader()
    with Progress(len(files), "measuring", at_least=_WORTH_A_BAR) as advance:
        for file in files:
            try:
                found[file] = judge(read(file))
            except FovealError as error:
                sys.stderr.write(f"{file}: {error}\n")
                failed += 1
            advance(1)
    if not found:
        raise InputError("no photograph could be read; name intact ones")
    return found, failed


def _reader() -> Callable[[Path], Any]:
    """Reads a file as a server would before it checks it."""
    from foveal_runtime.photo.dicom import is_dicom, read_dicom
    from foveal_runtime.photo.imaging import ImageLimits, ImageSpec, halved, photograph

    spec, limits = ImageSpec(), ImageLimits()

    def read(file: Path) -> Any:
        data = read_photograph(file)
        return halved(read_dicom(data, limits).picture, spec) if is_dicom(data) else photograph(data, spec, limits)

    return read


def _gradable(found: dict[Path, Assessment], files: Sequence[Path]) -> list[float]:
    return [found[file].gradable for file in files if file in found]


def _fit_text(site: SiteQuality, out: Path) -> str:
    lines = [
        f"photographs with a probability of {site.min_gradable:.4f} and more pass",
        f"usable: {site.usable_refused} of {site.usable} refused",
    ]
    if site.unusable:
        lines.append(f"unusable: {site.unusable_refused} of {site.unusable} refused")
    return "\n".join([*lines, f"kept in {out}; serve with it: foveal serve BUNDLE --quality {out}", ""])
