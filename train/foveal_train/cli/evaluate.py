"""`foveal evaluate`: the command line of evaluation. Heavy imports happen inside the command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from foveal_runtime.client import Client
    from foveal_train.evaluation.held_out import HeldOut
    from foveal_train.evaluation.mistakes import Mistake
    from foveal_train.runs.run import Run

RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """How a run is to be judged."""

    skip_bad: bool
    bootstrap: int
    seed: int
    mistakes: int


def evaluate(
    run: Path | None = None,
    /,
    *,
    data: Annotated[list[str] | None, Parameter(name=["--data"], negative=(), consume_multiple=False)] = None,
    out: Path | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    keep_seen: Annotated[bool, Parameter(negative=())] = False,
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    mistakes: int = 0,
    address: str | None = None,
    k: int | None = None,
    tls_ca: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    token_file: Path | None = None,
    json_: Annotated[bool, Parameter(name=["--json"], negative=())] = False,
) -> None:
    """Judge a run on studies it has not seen: grading, referable DR, subgroups and retrieval, with intervals.

    Prints tables and writes metrics.json and report.html. With --address, retrieval is measured through a running server and
    its archive instead, into which `foveal index SPEC --kind image --kind text` has put the data set and nothing else.

    For example:

        foveal evaluate

        foveal evaluate runs/edge --data idrid:data/idrid-test

        foveal evaluate runs/edge --data mbrset:data/mbrset --out reports/mbrset

        foveal evaluate --address 127.0.0.1:50051 --data brset:data/brset --json > served.json

        foveal evaluate runs/edge --mistakes 12

        foveal evaluate runs/edge --json | jq .grading.image.heads.icdr.kappa

    Parameters
    ----------
    run
        Folder that `foveal train` wrote; the newest under ./runs by default.
    data
        Data set as kind:path; repeat for several. Studies that the run's training or validation saw are left out.
        By default the run's own test split.
    out
        Folder for metrics.json and report.html; the run's own for its test split, else evaluation-DATA in the run.
    bootstrap
        Replicates behind each 95 % interval; patients are resampled.
    seed
        Seed of the bootstrap.
    keep_seen
        Do not leave out what training or validation saw. The figures then say nothing of new patients.
    skip_bad
        Leave unusable rows and photographs out instead of refusing the data set.
    mistakes
        Show so many of the worst graded photographs in report.html, which then holds photographs of patients.
    address
        HOST:PORT of a running server: measure retrieval through it.
    k
        With an address: length of the server's lists. By default as many as there are photographs, up to 10,000.
    tls_ca
        With an address: PEM certificates that the server's must be signed by.
    tls_cert
        With an address: PEM certificate of this client.
    tls_key
        With an address: PEM private key of this client.
    token_file
        With an address: file with this client's token, of the role search.
    json_
        Print the metrics as one JSON document, in place of the tables.
    """
    from foveal_runtime.errors import ConfigError, DataError

    if bootstrap < 0 or mistakes < 0:
        raise ConfigError(f"--bootstrap is {bootstrap} and --mistakes {mistakes}; both are 0 or more, 1000 and 0 are usual")
    from rich.console import Console

    if address is not None:
        if run is not None or out is not None or keep_seen or not data:
            raise ConfigError("--address measures a server's archive: give it --data SPEC, and no run, --out or --keep-seen")
        if k is not None and k < 1:
            raise ConfigError(f"--k is {k}; want 1 to 10000")
        from foveal_runtime.client import Client, ClientOptions

        with Client(address, ClientOptions(tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key, token_file=token_file)) as client:
            _show(_measure_served(client, data, k, skip_bad=skip_bad, bootstrap=bootstrap, seed=seed), json_)
        return
    if k is not None or tls_ca is not None:
        raise ConfigError("--k and --tls-ca belong to a server; name it with --address HOST:PORT")

    from foveal_train.evaluation.held_out import own_test, unseen
    from foveal_train.evaluation.report import write_html
    from foveal_train.runs.run import METRICS_FILE, REPORT_FILE, Run, newest_run, write_json

    console = Console(stderr=True)
    with console.status("opening the run"):
        opened = Run.open(run or newest_run(RUNS))
        chosen = unseen(opened, data, skip_bad=skip_bad, keep_seen=keep_seen) if data else own_test(opened, skip_bad=skip_bad)
    specs = data or list(opened.info.data)
    ask = Ask(skip_bad=skip_bad, bootstrap=bootstrap, seed=seed, mistakes=mistakes)
    metrics, worst = _measure(opened, chosen, specs, ask, console=console)
    folder = out or (opened.path / _folder_name(data) if data else opened.path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / METRICS_FILE, metrics)
        write_html(folder / REPORT_FILE, metrics, opened.info, _history(opened.path), mistakes=worst)
    except OSError as error:
        raise DataError(f"the report can't be written to {folder} ({error.strerror}); name another folder with --out") from None
    _show(metrics, json_)
    console.print(f"report written to [bold]{folder / REPORT_FILE}[/bold]", soft_wrap=True)


def _show(metrics: dict[str, Any], json_: bool) -> None:
    """Tables on stderr, or the document on stdout."""
    from rich.console import Console

    from foveal_train.evaluation import table

    if json_:
        sys.stdout.write(json.dumps(metrics, allow_nan=False) + "\n")
        return
    Console(stderr=True).print(table(metrics))


def _measure_served(
    client: Client, specs: list[str], k: int | None, *, skip_bad: bool, bootstrap: int, seed: int
) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress

    from foveal_train.evaluation.served import evaluate_served
    from foveal_train.runs.samples import load_samples

    samples = load_samples(specs, skip_bad=skip_bad)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("asking the server", total=None)
        metrics = evaluate_served(
            client,
            samples,
            k=k,
            seed=seed,
            bootstrap=bootstrap,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    remark = "Whether the served model has seen these studies in training is not known here."
    return {"data": specs, **metrics, "warnings": [remark, *metrics["warnings"]]}


def _measure(run: Run, chosen: HeldOut, specs: list[str], ask: Ask, *, console: Any) -> tuple[dict[str, Any], list[Mistake]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from foveal_runtime.study.notes import NoteTokeniser
    from foveal_train.data.sample import Problem, problems_text
    from foveal_train.evaluation import evaluate_arrays
    from foveal_train.evaluation.mistakes import worst_graded
    from foveal_train.training.arrays import load_arrays
    from foveal_train.training.recipe import recipe_from_document

    recipe = recipe_from_document(run.info.recipe)
    problems: list[Problem] = []
    tokenise = NoteTokeniser(run.tokenizer_json, run.info.model.text_spec)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def bar(description: str) -> Callable[[int, int], None]:
            task = progress.add_task(description, total=len(chosen.samples))
            return lambda done, total: progress.update(task, completed=done, total=total)

        arrays = load_arrays(
            chosen.samples,
            image_spec=run.info.model.image_spec,
            tokenise=tokenise,
            features=run.info.features,
            modalities=recipe.modalities,
            heads=run.info.head_classes,
            keep_empty_notes=recipe.keep_empty_notes,
            skipped=problems.append if ask.skip_bad else None,
            progress=bar("decoding photographs"),
        )
        metrics = evaluate_arrays(
            run.model,
            arrays,
            run.info,
            seed=ask.seed,
            bootstrap=ask.bootstrap,
            tokenise=tokenise,
            progress=bar("asking the model"),
        )
    skipped = [problems_text(problems)] if problems else []
    metrics["warnings"] = [*chosen.remarks, *skipped, *metrics["warnings"]]
    worst = worst_graded(run.model, arrays, run.info, ask.mistakes) if ask.mistakes else []
    return {"split": chosen.split, "data": specs, "run": run.path.name, "seen": chosen.seen, **metrics}, worst


def _folder_name(specs: list[str]) -> str:
    """`evaluation-idrid-test` for `idrid:data/idrid-test`."""
    from foveal_train.data.source import parse_spec

    names = ["-".join((found.kind.value, found.path.name)) for found in map(parse_spec, specs)]
    return "evaluation-" + "+".join("".join(c if c.isalnum() or c in "-_." else "_" for c in name) for name in names)


def _history(run: Path) -> list[dict[str, Any]]:
    """Rows of history.jsonl; empty when the run has none."""
    from foveal_train.runs.run import HISTORY_FILE

    path = run / HISTORY_FILE
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
