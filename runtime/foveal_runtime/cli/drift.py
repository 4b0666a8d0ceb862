"""`foveal drift …`: what was counted of each camera, and the same of a data set. Compares nothing itself: `drift` does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.layout import fitted, width
from foveal_runtime.errors import CheckFailed, ConfigError, InputError

if TYPE_CHECKING:
    from foveal_runtime.drift.stream import Stream, Week

app = App(name="drift", help="Whether a camera's photographs, and what a model makes of them, are still what they were.")

_REFERENCES = {"own": "its own photographs before", "bundle": "those that the bundle was judged on"}


@app.command
def report(folder: Path, /, *, weeks: int = 8, json: Json = False) -> None:
    """Show what a server counted of each camera, week by week, and its alarms.

    A running server writes every ten seconds and when it stops; nothing of a patient is in the folder. `own` compares a camera
    with its own photographs before, `bundle` with those that the bundle was judged on, which differ from the first day where
    the clinic's camera is another (docs/operations.md, Drift).

    For example:

        foveal serve bundle --drift /var/lib/foveal/drift
        foveal drift report /var/lib/foveal/drift

    Args:
        folder: that `foveal serve --drift` writes.
        weeks: to show of each camera, the latest; --json has them all.
        json: print one JSON document.
    """
    from foveal_runtime.drift.folder import read

    streams = read(folder)
    if json:
        print_json({"schema_version": 1, "cameras": [document(stream) for stream in streams]})
        return
    if not streams:
        sys.stdout.write(f"nothing was counted yet; `foveal serve BUNDLE --drift {folder}` counts\n")
    sys.stdout.write("\n".join(fitted(text(stream, weeks), width()) for stream in streams))


@app.command
def check(
    bundle: Path,
    /,
    *,
    data: Annotated[list[str], Parameter(name=["--data"], negative=(), consume_multiple=False)],
    reference: Annotated[list[str] | None, Parameter(name=["--reference"], negative=(), consume_multiple=False)] = None,
    quality: Path | None = None,
    seed: int = 0,
    threads: int | None = None,
    json: Json = False,
) -> None:
    """Compare the photographs of a data set with those that a bundle was judged on, or with other ones, as a server would.

    Labels are not needed. Photographs are taken in a drawn order, since a data set's own order is not the clinic's, and each
    DICOM device is a camera of its own. Exit code 1 where a camera differs.

    For example:

        foveal drift check bundle --data folder:./this-week --reference folder:./first-weeks

    Args:
        bundle: that is served.
        data: photographs as kind:path; repeat for several.
        reference: photographs to compare with, of the same camera; without it those that the bundle was judged on.
        quality: the clinic's threshold of the gradability check, as `foveal quality fit` wrote it.
        seed: of the order, and of what breaks ties.
        threads: threads in one graph call; default: every core this process may use.
        json: print one JSON document.
    """
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.drift.dataset import compared
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.photo.site import read_site

    opened = Bundle.open(bundle)
    if reference is None and opened.manifest.held_out is None:
        raise ConfigError(
            f"{bundle} does not say what the photographs look like that it was judged on; give others with --reference, or "
            "export it again"
        )
    engine = Engine(opened, threads=threads, min_gradable=None if quality is None else read_site(quality).min_gradable)
    streams, left_out = compared(engine, _photographs(data), _photographs(reference or []), seed=seed)
    alarmed = [stream for stream in streams if _found(stream)]
    if json:
        document_ = {"schema_version": 1, "left_out": left_out, "cameras": [document(stream) for stream in streams]}
        print_json(document_)
    else:
        sys.stdout.write("\n".join(fitted(text(stream, 0), width()) for stream in streams))
    if left_out:
        sys.stderr.write(f"{left_out} photographs could not be read and were left out\n")
    if alarmed:
        raise CheckFailed("; ".join(f"camera {each.camera} differs in {', '.join(_found(each))}" for each in alarmed))


@app.command
def forget(folder: Path, camera: str, /, *, json: Json = False) -> None:
    """Count a camera anew: its lens was cleaned, its flash changed, and what comes now is right.

    A server that runs notices within ten seconds. Alarms of that camera end with it.

    For example:

        foveal drift forget ./drift 5f1c0a2b

    Args:
        folder: that `foveal serve --drift` writes.
        camera: its name in `foveal drift report`.
        json: print one JSON document: the camera.
    """
    from foveal_runtime.drift.folder import forget as remove

    if not remove(folder, camera):
        raise InputError(f"{folder} has no camera {camera!r}; `foveal drift report {folder}` lists them")
    if json:
        print_json({"forgotten": camera})


def _photographs(specs: list[str]) -> list[Any]:
    from foveal_runtime.cli.rooms import samples_of

    return [sample for sample in samples_of(specs) if sample.image_path is not None] if specs else []


def _found(stream: Stream) -> list[str]:
    """Signals in which a camera differs from any of its references."""
    return list(
        dict.fromkeys(name for watch in stream.watches.values() if watch.alarm is not None for name in watch.alarm.signals)
    )


def document(stream: Stream) -> dict[str, Any]:
    """Everything that is known of a camera, as JSON."""
    from dataclasses import asdict

    from foveal_runtime.drift.signals import NAMES

    return {
        "camera": stream.camera,
        "device": stream.device,
        "bundle_sha256": stream.served.bundle_sha256,
        "photographs": stream.photographs,
        "references": {
            name: {
                "photographs": watch.photographs,
                "alarm": None if watch.alarm is None else asdict(watch.alarm),
                "evidence": watch.share_of_limit,
            }
            for name, watch in stream.watches.items()
        },
        "weeks": {
            name: {
                "photographs": week.photographs,
                "quality": week.quality,
                "grades": week.grades,
                "missing": week.missing,
                "unlike_training": week.unlike_training,
                "means": {signal: week.mean(signal) for signal in NAMES},
            }
            for name, week in sorted(stream.weeks.items())
        },
    }


def text(stream: Stream, weeks: int) -> str:
    """A camera for people."""
    rows = [f"camera {stream.camera}{f' ({stream.device})' if stream.device else ''}: {stream.photographs} photographs"]
    for name, watch in stream.watches.items():
        evidence = watch.share_of_limit
        strongest = max(evidence, key=lambda signal: evidence[signal])
        if watch.alarm is not None:
            said = f"DIFFERS in {', '.join(watch.alarm.signals)} since {watch.alarm.since}"
        else:
            said = f"no difference (most evidence: {strongest}, {evidence[strongest]:.0%} of an alarm's)"
        rows.append(f"  against {_REFERENCES.get(name, name)}  {said}, {watch.photographs} photographs in the reference")
    shown = sorted(stream.weeks)[-weeks:] if weeks else []
    if shown:
        rows.append("  week      photos ungradable  grades 0-4             unlike  missing  bright  colour   sharp")
    rows += [_week(name, stream.weeks[name]) for name in shown]
    return "\n".join(rows) + "\n"


def _week(name: str, week: Week) -> str:
    ungradable = week.photographs - week.quality.get("GRADABLE", 0)
    missing = sum(week.missing.values()) / max(week.photographs, 1)
    means = (week.mean(signal) for signal in ("brightness", "colour", "sharpness"))
    numbers = " ".join("      -" if mean is None else f"{mean:7.3f}" for mean in means)
    grades = "/".join(map(str, week.grades))
    return f"  {name} {week.photographs:7d} {ungradable:10d}  {grades:22s} {week.unlike_training:6d} {missing:8.2f} {numbers}"
