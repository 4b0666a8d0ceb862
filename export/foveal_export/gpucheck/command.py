"""`foveal gpu-check`: the command line of the check. Heavy imports happen inside the command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def gpu_check(
    folder: Path,
    /,
    *,
    run: Path | None = None,
    bundle: Annotated[list[Path] | None, Parameter(name=["--bundle"], negative=(), consume_multiple=False)] = None,
    recipe: str = "edge",
    patients: int = 60,
    batches: str = "1,8,32",
    seconds: float = 2.0,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Check bundles and training on this machine's GPU, and write one JSON and one page that can be sent back.

    Trains one epoch on generated data, exports the run to every target and precision, compiles each bundle for every provider
    that is there, replays its golden studies, and times it beside PyTorch on the same device. Where no GPU can be used it says
    what is missing, and what runs on the processor is done all the same: exit code 2 then, 1 when something failed.

    For example:

        foveal gpu-check gpu-check

        foveal gpu-check gpu-check --run runs/idrid --bundle runs/idrid/bundle-int8

    Args:
        folder: Where everything goes; a check that was begun there goes on.
        run: Run to export and to time on PyTorch, in place of the one that is trained here.
        bundle: Bundle to check in place of exporting the run; repeat for several.
        recipe: Recipe of the epoch that is trained.
        patients: Generated patients that it is trained on.
        batches: Studies in a forward pass, for the speed.
        seconds: Measured for each batch.
        json: Print the document on stdout.
    """
    from foveal_export.gpucheck.check import DOCUMENT, PAGE, Check
    from foveal_runtime.errors import CheckFailed, ConfigError

    if not all(part.strip().isdigit() and int(part) for part in batches.split(",")):
        raise ConfigError(f"--batches is {batches!r}; give whole numbers from 1 on, for example 1,8,32")
    folder.mkdir(parents=True, exist_ok=True)
    check = Check(
        folder=folder,
        recipe=recipe,
        patients=patients,
        batches=tuple(map(int, batches.split(","))),
        seconds=seconds,
        say=lambda line: print(line, file=sys.stderr),  # noqa: T201 - progress
    )
    check.say("looking at this machine")
    check.begin()
    for line in check.document["missing"]:
        check.say(f"missing: {line}")
    trained = check.train()
    source = run or trained
    bundles = list(bundle or ()) or ([] if source is None else check.export(source))
    check.compare(bundles)
    if source is not None:
        check.pytorch(source, bundles)
    if json:
        sys.stdout.write((folder / DOCUMENT).read_text(encoding="utf-8"))
    failed = [f"{row['bundle']} on {row['provider']}" for row in check.document["rows"] if row["status"] != "passed"]
    if not check.document["training"]["passed"]:
        failed.append("training")
    failed += [each["bundle"] for each in check.document["exports"] if each["result"].startswith("not ")]
    also = f", and failed: {', '.join(failed)}" if failed else ""
    if not check.document["gpu"]:
        raise ConfigError(
            f"no GPU can be used here: {'; '.join(check.document['missing'])}. What runs on the processor was checked"
            f"{also}; {folder / PAGE} has it all"
        )
    if failed:
        raise CheckFailed(f"failed: {', '.join(failed)}; {folder / PAGE} says why, send it with {folder / DOCUMENT}")
    check.say(f"all passed; send back {folder / DOCUMENT} and {folder / PAGE}")
