"""The commands `foveal data synth` and `foveal data check`. Prints; what it prints is worked out in `foveal_train.data`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from foveal_train.data.check import CheckReport, Duplicate

Progress = Callable[[int, int], None]


def synth(
    out: Path,
    /,
    *,
    patients: int,
    seed: int,
    release: str = "1.0.1",
    balanced: Annotated[bool, Parameter(negative=())] = False,
    side_px: int = 512,
    force: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Generate a BRSET-shaped data set: two photographs a patient, labels, records, and the quirks of the real table.

    The same arguments give the same bytes. No generated eye is anybody's.

    For example:

        foveal data synth ./brset-like --patients 500 --seed 1
        foveal data synth ./small --patients 60 --seed 1 --balanced --release 1.0.2

    Parameters
    ----------
    out
        Folder to make; read it back as brset:OUT.
    patients
        How many people; each has two eyes.
    seed
        0 or more; another seed, other people.
    release
        BRSET release whose file names and columns are written: 1.0.0, 1.0.1 or 1.0.2.
    balanced
        Spread patients evenly over the five grades instead of BRSET's prevalence (6.6 % with retinopathy).
    side_px
        Height and width of a photograph in pixels.
    force
        Replace a generated data set that is already there.
    as_json
        Print one JSON document and nothing else on stdout.
    """
    from foveal_train.data.synthetic import synthesise

    with progress_bar("photographs") as progress:
        made = synthesise(
            out,
            patients=patients,
            seed=seed,
            release=release,
            balanced=balanced,
            side_px=side_px,
            force=force,
            progress=progress,
        )
    if as_json:
        document = {
            "path": str(made),
            "spec": f"brset:{made}",
            "release": release,
            "patients": patients,
            "images": 2 * patients,
        }
        print(json.dumps(document, indent=2))  # noqa: T201
    else:
        print(f"{2 * patients} photographs of {patients} patients in {made}; read them as brset:{made}")  # noqa: T201


def check(
    spec: str,
    /,
    *,
    columns: Path | None = None,
    own_patients: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Read a data set as training would and report on it: counts, grades, missing values, duplicates, refused files.

    Every photograph is decoded. Exit code 1 when something needs mending.

    For example:

        foveal data check idrid:/data/IDRiD
        foveal data check brset:/data/brset-1.0.1 --json

    Parameters
    ----------
    spec
        KIND:PATH; the kinds are brset, mbrset, deepeyenet, idrid and folder.
    columns
        Mapping file (TOML): what the table's own columns and words mean; docs/datasets.md shows one.
    own_patients
        Let a row without a patient be a patient of its own instead of an unusable row.
    as_json
        Print one JSON document and nothing else on stdout.
    """
    from foveal_runtime.errors import CheckFailed
    from foveal_train.data import load
    from foveal_train.data.check import check as check_dataset
    from foveal_train.data.source import with_options

    spec = with_options(spec, columns=columns, own_patients=own_patients)
    dataset = load(spec, skip_bad=True)
    with progress_bar("decoding") as progress:
        report = check_dataset(dataset, progress=progress)
    if as_json:
        document = asdict(report) | {"ok": report.faults == 0, "faults": report.faults}
        print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201
    else:
        print(_as_text(report))  # noqa: T201
    if report.faults:
        things = "thing needs" if report.faults == 1 else "things need"
        unknown = any(problem.accepted for problem in report.problems)
        mend = "say what unknown codes mean (--columns map.toml)" if unknown else "let training skip bad rows (--skip-bad)"
        raise CheckFailed(f"{spec}: {report.faults} {things} mending, as listed; or {mend}")


_LISTED = 50


def _as_text(report: CheckReport) -> str:
    from foveal_runtime.study.problem import grouped

    lines = [f"{report.name}: {report.images} photographs of {report.patients} patients"]
    for title, counts in (
        ("ICDR grade", report.icdr),
        ("SDRG level", report.sdrg),
        ("macular edema", report.macular_edema),
        ("missing", {name: count for name, count in report.missing.items() if count}),
        ("findings", report.findings),
        ("cameras", report.cameras),
    ):
        told = "   ".join(f"{name}: {count}" for name, count in counts.items()) or "none"
        lines.append(f"  {title:<14} {told}")
    lines.append(f"  {'notes':<14} {report.distinct_notes} distinct")
    lines += [f"  remark         {remark}" for remark in report.remarks]
    lines += [f"table: {fault}" for fault in report.table_faults]
    duplicates = [f"same photograph: {', '.join(d.ids)}{_why(d)}" for d in report.duplicates]
    near = [
        f"{' and '.join(n.ids)} agree by {n.agreement:.0%}{f' (of {n.patients} patients)' if n.patients > 1 else ''}"
        for n in report.near_duplicates
    ]
    for title, items in (
        ("unusable rows", grouped(report.problems)),
        ("refused files", [str(p) for p in report.refused]),
        ("duplicates", duplicates),
        ("nearly the same", near),
    ):
        count = len(report.problems) if title == "unusable rows" else len(items)
        lines.append(f"{title}: {count or 'none'}")
        lines += [f"  {item}" for item in items[:_LISTED]]
        if len(items) > _LISTED:
            lines.append(f"  and {len(items) - _LISTED} more; --json lists all")
    return "\n".join(lines)


def _why(duplicate: Duplicate) -> str:
    across = f" (of {duplicate.patients} patients)" if duplicate.patients > 1 else ""
    return across + (" with labels that differ" if duplicate.contradicting else "")


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A bar on stderr that is gone when the work is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # A log file has no use for a bar, nor for the blank line that it leaves.
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update
