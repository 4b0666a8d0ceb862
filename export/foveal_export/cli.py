"""`foveal export` and the part of `foveal verify` that asks PyTorch again. Heavy imports happen inside the commands."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from foveal_export import output

if TYPE_CHECKING:
    from foveal_export.planning import Request
    from foveal_export.result import Exported
    from foveal_export.tensorrt.architectures import Architecture
    from foveal_runtime.bundle.manifest import Target, VariantName

RUNS = Path("runs")
_LAYOUTS = ("bundle", "triton")


def export(
    run: Path | None = None,
    /,
    *,
    precision: str,
    hf: Path | None = None,
    data: Annotated[list[str] | None, Parameter(name=["--data"], negative=(), consume_multiple=False)] = None,
    out: Path | None = None,
    target: str = "onnx",
    engines: str | None = None,
    keep_engines: Annotated[bool, Parameter(name=["--keep-engines"], negative=())] = False,
    budget: Annotated[list[str] | None, Parameter(name=["--budget"], negative=(), consume_multiple=False)] = None,
    plan: Path | None = None,
    keep: Annotated[list[str] | None, Parameter(name=["--keep"], negative=(), consume_multiple=False)] = None,
    golden: Path | None = None,
    cpu: str = "any",
    variants: str | None = None,
    text_exporter: str = "torch",
    sign: Path | None = None,
    about: Path | None = None,
    layout: str = "bundle",
    thumbnails: Annotated[bool, Parameter(name=["--thumbnails"], negative=())] = False,
    force: Annotated[bool, Parameter(name=["--force"], negative=())] = False,
    json_: Annotated[bool, Parameter(name=["--json"], negative=())] = False,
) -> None:
    """Export a run to a bundle, verified against PyTorch.

    Exit code 1 when it is out of budget, or when TensorRT refuses a graph: nothing is written then.

    For example:

        foveal export --precision fp16

        foveal export runs/idrid --precision int8 --out bundles/idrid-int8

        foveal export runs/idrid --precision int8 --budget min_cosine=0.97,icdr_flips=0.01

        foveal export runs/idrid --precision int8 --layout triton

        foveal export --hf ./all-MiniLM-L6-v2 --precision fp16

    Parameters
    ----------
    run
        Folder that `foveal train` wrote; the newest under ./runs by default.
    precision
        fp32, fp16, int8, or auto: INT8 where it holds its budget and is smaller or faster than FP16, else FP16, and why.
    hf
        In place of a run: a plain BERT or ViT in the hub's layout (what `save_pretrained` writes). The bundle embeds and grades
        nothing. It is compared on generated studies, or on half of --data, which INT8 needs.
    data
        Data set as kind:path for calibration and comparison, in place of the run's own; repeat for several.
    out
        The bundle's folder; RUN/bundle-PRECISION by default, RUN/bundle-tensorrt-PRECISION for that target,
        ./NAME-PRECISION for --hf.
    target
        onnx: ONNX Runtime's CPU and CUDA providers. tensorrt: typed FP16 or explicit Q/DQ INT8, for TensorRT 10 and 11.
    engines
        GPU architectures for which TensorRT parses and builds every graph of --target tensorrt in the end, no GPU needed:
        sm75, sm80, sm86, sm89, sm120, sm121, separated by commas; sm86,sm89,sm120 by default. none leaves TensorRT out: nodes
        are checked against its published list alone.
    keep_engines
        Leave the engines in OUT.engines, with their hashes in the bundle's manifest.
    budget
        What may be lost, as key=value: icdr_flips, referable_flips, tie_margin, probability, min_cosine, kappa_drop, ...
        (docs/parity.md has all). A refused export prints the limits that would let it pass.
    plan
        A plan.json of an earlier export of the same run, or the .plan.json of a refused one: the same graphs, nothing is
        calibrated again.
    keep
        GRAPH.BLOCK to keep in floating point; repeat for several. A refused export names the most harmful ones.
    golden
        Folder of JPEGs that may be shared, for the golden studies; generated ones by default.
    cpu
        INT8 for onnx: any gives 7-bit weights, right on every x86-64-v3 processor. vnni gives 8-bit ones, and a bundle that
        processors without VNNI refuse.
    variants
        Further files for each graph, separated by commas, among which `foveal compile` takes the fastest on each machine: int8
        (8-bit weights, for processors with VNNI), int8-reduced (7-bit), fp16, fp32, fp16-typed (computes in FP16, for GPUs).
        Each has to hold the budget, and adds its size to the bundle's.
    text_exporter
        What writes the note encoder's graph: torch, or optimum (needs foveal[optimum]).
    sign
        PEM private key (Ed25519) to sign the bundle with; FOVEAL_KEY_PASSPHRASE holds the passphrase of an encrypted one.
    about
        Markdown file that stands first in the bundle's model card: what the model is for, its data, its limits.
    layout
        bundle, or triton: also write OUT.triton, a model repository of NVIDIA Triton around the bundle (docs/deployment.md).
    thumbnails
        Show the worst studies' photographs in the report beside the bundle.
    force
        Replace an existing bundle.
    json_
        Print one JSON document on stdout.
    """
    from foveal_export.parity.budget import parse_budget
    from foveal_runtime.bundle.manifest import Cpu, Precision, Target

    chooses = precision.lower() == "auto"
    wanted = Precision.INT8 if chooses else _choice(Precision, precision, "--precision", "auto")
    aim = _choice(Target, target, "--target")
    limits = parse_budget(budget or [], wanted)
    architectures = _architectures(engines, aim)
    source = _source(run, hf)
    from foveal_export.planning import Request, TextExporter
    from foveal_export.quantise.plan import read_plan

    request = Request(
        run=source,
        out=_beside(source, hf, "auto" if chooses else wanted.value, aim) if out is None else out,
        precision=wanted,
        budget=limits,
        target=aim,
        data=tuple(data or ()),
        plan=None if plan is None else read_plan(plan, _space(source, hf), precision=wanted, target=aim),
        hub_folder=hf is not None,
        text_exporter=_choice(TextExporter, text_exporter, "--text-exporter"),
        keep=tuple(_block(text) for text in keep or ()),
        golden=golden,
        cpu=_choice(Cpu, cpu, "--cpu"),
        variants=_variants(variants),
        sign=sign,
        about=about,
        force=force,
        thumbnails=thumbnails,
        engines=architectures,
        keep_engines=keep_engines,
    )
    _make(request, budget or [], chooses=chooses, layout=layout, json=json_)


def _make(request: Request, budget: list[str], *, chooses: bool, layout: str, json: bool) -> None:
    """Export, lay out, and tell.

    Raises:
        ConfigError: a layout that there is none of, a repository that is there, or engines of no or several architectures.
    """
    from foveal_export import triton
    from foveal_export.bundle.writer import engines_folder
    from foveal_runtime.errors import ConfigError

    if layout not in _LAYOUTS:
        raise ConfigError(f"--layout is {layout!r}; choose one of {', '.join(_LAYOUTS)}")
    repository, architecture = request.out.with_name(f"{request.out.name}.triton"), None
    if layout == "triton":
        triton.check_layout(repository, force=request.force)
        kept = [each.value for each in request.engines] if request.keep_engines else []
        architecture = triton.architecture_of(request.target, kept)
    exported, why = _export(request, budget, chooses=chooses)
    if layout == "triton":
        engines = None if architecture is None else engines_folder(exported.bundle) / architecture
        triton.write_repository(exported.bundle, repository, force=request.force, engines=engines)
    _tell(exported, why, json=json)


def _export(request: Request, budget: list[str], *, chooses: bool) -> tuple[Exported, str]:
    """What came out, and with `--precision auto` why it is not INT8."""
    from foveal_export.parity.budget import parse_budget
    from foveal_runtime.bundle.manifest import Precision
    from foveal_runtime.errors import ConfigError
    from foveal_train.training.progress import ProgressReporter

    if chooses and (request.plan is not None or request.keep):
        raise ConfigError("--plan and --keep are of one precision, so they do not go with --precision auto; name int8 or fp16")
    with ProgressReporter(1) as reporter:
        if chooses:
            from foveal_export.auto import export_auto

            return export_auto(request, parse_budget(budget, Precision.FP16), reporter)
        from foveal_export.pipeline import export_run

        return export_run(request, reporter), ""


def _tell(exported: Exported, why: str, *, json: bool) -> None:
    """One JSON document on stdout, or lines and a table on stderr."""
    if json:
        sys.stdout.write(json_module.dumps(output.document(exported) | {"not_int8_because": why}) + "\n")
    else:
        output.show(exported, why)


def verify_against_run(bundle: Path, *, run: Path, data: list[str] | None, report: Path | None, json: bool) -> None:
    """Compare a bundle with the PyTorch model of the run it came from (`foveal verify BUNDLE --run RUN`).

    Args:
        bundle: an exported bundle.
        run: the run.
        data: data sets to compare on; None for what the run held out.
        report: also write the report to this file, as JSON.
        json: print it on stdout as well.

    Raises:
        CheckFailed: out of tolerance; every failure is named.
        SpaceMismatchError: the bundle is not of this run.
    """
    from foveal_export.verify import verify
    from foveal_train.training.progress import ProgressReporter

    with ProgressReporter(1) as reporter:
        found = verify(bundle, run, tuple(data or ()), reporter)
    if report is not None:
        report.write_text(_text(found.document), encoding="utf-8")
    if json:
        sys.stdout.write(_text(found.document))
    from rich.console import Console

    console = Console(stderr=True)
    console.print(output.table(found.document))
    found.raise_if_failed()
    console.print(f"verified: {bundle} answers as the PyTorch model of {run} does, within its tolerances")


def _source(run: Path | None, hf: Path | None) -> Path:
    """What is exported; that a run is one is checked early."""
    from foveal_runtime.errors import ConfigError
    from foveal_train.runs.run import newest_run, read_info

    if hf is not None:
        if run is not None:
            raise ConfigError(f"both run {run} and --hf {hf} were given; export one at a time")
        return hf
    source = run if run is not None else newest_run(RUNS)
    read_info(source)
    return source


def _space(source: Path, hf: Path | None) -> str:
    """Space of what is exported."""
    from foveal_train.runs.hubfolder import open_hub_folder
    from foveal_train.runs.run import read_info

    return read_info(source).space_id if hf is None else open_hub_folder(source).info.space_id


def _text(document: dict[str, Any]) -> str:
    return json_module.dumps(document, indent=1) + "\n"


def _block(text: str) -> tuple[str, str]:
    """A graph and its block, as --keep names them."""
    from foveal_runtime.errors import ConfigError

    graph, dot, block = text.partition(".")
    if not dot or not block:
        raise ConfigError(f"--keep is {text!r}; give GRAPH.BLOCK, for example image.backbone.blocks.0")
    return graph, block


def _beside(source: Path, hf: Path | None, precision: str, target: Target) -> Path:
    """Where a bundle goes that nobody named a place for."""
    if hf is not None:
        return Path(f"{source.resolve().name}-{precision}")
    return source / "-".join(["bundle", *([target.value] if target.value != "onnx" else []), precision])


def _architectures(text: str | None, target: Target) -> tuple[Architecture, ...]:
    """What `--engines` names; without it the default ones of a target that has engines."""
    from foveal_export.tensorrt.architectures import DEFAULT, NONE, parse_architectures

    return parse_architectures(text if text is not None else DEFAULT if target.value == "tensorrt" else NONE)


def _variants(text: str | None) -> tuple[VariantName, ...]:
    """What `--variants` names, each once."""
    from foveal_runtime.bundle.manifest import VariantName

    names = [each.strip() for each in (text or "").split(",")]
    return tuple(dict.fromkeys(_choice(VariantName, each, "--variants") for each in names if each))


def _choice(kind: Any, value: str, flag: str, *others: str) -> Any:
    from foveal_runtime.errors import ConfigError

    try:
        return kind(value.lower())
    except ValueError:
        known = ", ".join((*(member.value for member in kind), *others))
        raise ConfigError(f"{flag} is {value!r}; choose one of {known}") from None
