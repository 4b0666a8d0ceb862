"""`foveal demo`: the whole path on generated data, by the commands a person would type. Shows; does nothing itself.

Every step is a real `foveal` command in a process of its own, printed before it runs; the server is a real server on
loopback, stopped by SIGTERM at the end.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from foveal_export.local_server import FOVEAL, local_server
from foveal_runtime.errors import CheckFailed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_QUERY = "Diabetic retinopathy is present. Macular edema is present."


@dataclass(kw_only=True, slots=True)
class Step:
    """One command of the demo and what came of it."""

    name: str
    seconds: float
    result: str
    where: str = ""


@dataclass(kw_only=True, slots=True)
class Demo:
    """Runs commands and remembers what came of them."""

    console: Console
    steps: list[Step] = field(default_factory=list)

    def run(self, *arguments: str | Path, document: Path | None = None) -> tuple[Any, float]:
        """Run one `foveal` command with --json; its progress goes to this terminal.

        Args:
            arguments: the command.
            document: where the command writes its JSON, for those that write a file instead of stdout.

        Returns:
            The command's JSON document, and its seconds.

        Raises:
            CheckFailed: the command failed; it has said why.
        """
        words = [*(str(argument) for argument in arguments), "--json", *([str(document)] if document else [])]
        self.console.print(f"[bold]$ foveal {shlex.join(words)}[/bold]", soft_wrap=True, highlight=False)
        begin = time.monotonic()
        done = subprocess.run([*FOVEAL, *words], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise CheckFailed(f"`foveal {shlex.join(words)}` failed with exit code {done.returncode}; it says above why")
        answer = document.read_text(encoding="utf-8") if document else done.stdout
        return json.loads(answer), time.monotonic() - begin

    def note(self, name: str, seconds: float, result: str, where: Path | str = "") -> None:
        """Remember a step for the table."""
        self.steps.append(Step(name=name, seconds=seconds, result=result, where=str(where)))

    def table(self) -> Table:
        """What happened and where the files are."""
        from rich.table import Table

        table = Table(title="foveal demo", title_justify="left")
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("what came of it")
        table.add_column("where", overflow="fold")
        for step in self.steps:
            table.add_row(step.name, f"{step.seconds:.1f}", step.result, step.where)
        return table


def demo(
    *,
    out: Path | None = None,
    patients: int = 120,
    epochs: int = 4,
    seed: int = 0,
    json_: Annotated[bool, Parameter(name=["--json"], negative=())] = False,
) -> None:
    """Show the whole path on generated data: data set, train, evaluate, export, verify, serve, grade, embed, index, search.

    Takes about five minutes of two cores. The data set is generated, so the figures say that the path works, not how good
    the model is on people.

    For example:

        foveal demo
        foveal demo --out runs/demo --patients 400 --epochs 8

    Args:
        out: folder for everything the demo makes; runs/demo-DATE-TIME by default.
        patients: generated patients, two eyes each.
        epochs: epochs of the `edge` recipe.
        seed: of the generated data.
        json_: print one JSON document with the steps.
    """
    from rich.console import Console

    folder = out or Path("runs") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    show = Demo(console=Console(stderr=True))
    spec = f"brset:{folder / 'data'}"
    run, bundle = folder / "run", folder / "bundle-int8"

    made, seconds = show.run("data", "synth", folder / "data", "--patients", str(patients), "--seed", str(seed), "--balanced")
    show.note("generate data", seconds, f"{made.get('images', 2 * patients)} photographs, notes and records", folder / "data")

    overrides = ("--set", f"optimiser.epochs={epochs}")
    _, seconds = show.run("train", "--recipe", "edge", "--data", spec, "--out", run, *overrides)
    show.note("train", seconds, f"edge profile from pretrained weights, {epochs} epochs", run)

    metrics, seconds = show.run("evaluate", run, document=folder / "evaluation.json")
    show.note("evaluate", seconds, _graded(metrics), run / "report.html")

    exported, seconds = show.run("export", run, "--precision", "int8", "--out", bundle)
    show.note("export INT8", seconds, _exported(exported, bundle), bundle)

    verified, seconds = show.run("verify", bundle, "--run", run, "--data", spec, document=folder / "verification.json")
    show.note("verify against PyTorch", seconds, "passed" if verified.get("passed") else "not passed", bundle / "parity.json")

    photographs = sorted((folder / "data" / "fundus_photos").glob("*.jpg"))
    archive = _archive(folder)
    show.console.print(f"[bold]$ foveal serve {bundle} --store {archive} &[/bold]", soft_wrap=True, highlight=False)
    begin = time.monotonic()
    with local_server(bundle, "--store", str(archive)) as address:
        show.note("serve", time.monotonic() - begin, "golden studies replayed, then SERVING", address)
        at = ("--address", address)
        answers, seconds = show.run("grade", *photographs[:4], "--age", "61", "--diabetes-years", "12", *at)
        grades = ", ".join(str(answer["icdr"]["grade"]) if answer["icdr"] else "not gradable" for answer in answers)
        show.note("grade 4 photographs", seconds, f"ICDR grades {grades}")
        vectors, seconds = show.run("embed", *photographs[:2], "--kind", "image", *at)
        show.note("embed 2 photographs", seconds, f"unit vectors of {len(vectors[0]['vectors']['image'])} numbers")
        indexed, seconds = show.run("index", folder / "data" / "fundus_photos", *at)
        show.note("index", seconds, f"{indexed['stored']} photographs stored", archive)
        found, seconds = show.run("search", _QUERY, "--k", "5", *at)
        show.note("search by text", seconds, f"{len(found['hits'])} nearest photographs to “{_QUERY}”")
        found, seconds = show.run("search", "--image", photographs[0], "--k", "5", *at)
        show.note("search by photograph", seconds, f"nearest has cosine similarity {found['hits'][0]['score']:.3f} (itself)")

    if json_:
        rows = [{"step": s.name, "seconds": round(s.seconds, 1), "result": s.result, "where": s.where} for s in show.steps]
        sys.stdout.write(json.dumps({"out": str(folder), "steps": rows}) + "\n")
        return
    Console().print(show.table())


def _archive(folder: Path) -> Path:
    """Where the demo's PostgreSQL keeps its data: beside the rest, or, for root in a closed folder, under the temporary ones.

    Started as root, PostgreSQL runs as another user, who can't enter a home such as /root.
    """
    beside = (folder / "archive").absolute()
    if os.geteuid() != 0 or all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.absolute().parents):
        return beside
    open_to_all = Path(tempfile.mkdtemp(prefix="foveal-demo-"))
    open_to_all.chmod(0o755)
    return open_to_all / "archive"


def _graded(metrics: Any) -> str:
    """One line of the evaluation: the photograph alone, the question a screening camera asks."""
    icdr = metrics["grading"]["image"]["heads"]["icdr"]
    kappa, accuracy = icdr["kappa"], icdr["balanced_accuracy"]
    low, high = kappa["interval"]
    return (
        f"photograph alone, {icdr['n']} held out: kappa {kappa['value']:.2f} [{low:.2f}, {high:.2f}], "
        f"balanced accuracy {accuracy['value']:.2f} (majority class {icdr['majority']['balanced_accuracy']:.2f})"
    )


def _exported(document: Any, bundle: Path) -> str:
    megabytes = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file()) / 1e6
    cosine = document.get("parity", {}).get("mean_cosine_joint")
    return f"{megabytes:.0f} MB" + (f", mean cosine to PyTorch {cosine:.4f}" if cosine is not None else "")
