"""From a run to a bundle: graphs, precision, golden studies, parity, files. The steps themselves are other modules'."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import onnx
import torch

from foveal_export.bundle import golden, writer
from foveal_export.bundle.card import model_card
from foveal_export.graphs import graphs, observers
from foveal_export.graphs.blocks import blocks
from foveal_export.judge import Judge
from foveal_export.parity import assess, evidence, mend, report
from foveal_export.parity.budget import Budget
from foveal_export.parity.costs import costs, pytorch_cost
from foveal_export.parity.document import Findings
from foveal_export.parity.outcome import Aim, Candidate, Compared, Outcome
from foveal_export.parity.refit import refit
from foveal_export.quantise import calibrate
from foveal_export.quantise.plan import PLAN_FILE, ExportPlan, GraphPlan, Mode
from foveal_export.search import keep, rank, search
from foveal_export.studies import cases
from foveal_export.studies.feeds import Feeds
from foveal_export.tensorrt import typed
from foveal_runtime.bundle.bundle import PARITY
from foveal_runtime.bundle.golden import write_golden
from foveal_runtime.bundle.manifest import FUSION, Cpu, Manifest, Precision, ShapeRange, Target
from foveal_runtime.bundle.signing import read_private_key
from foveal_runtime.errors import CheckFailed, ConfigError, DataError, UntrainedError
from foveal_runtime.study.study import Modality, Subset
from foveal_train.runs.reference import ALL_KINDS, Reference
from foveal_train.runs.run import METRICS_FILE, Run

PARITY_LIMIT = 400
"""Answers compared, shared out among the modality subsets."""
CALIBRATION_LIMIT = 64
_TAPPED = 12
"""Calibration studies on which blocks are ranked."""


class Reporter(Protocol):
    """Told how an export gets on."""

    def stage(self, name: str) -> None:
        """A new stage begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to export."""

    run: Path
    out: Path
    precision: Precision
    budget: Budget
    target: Target = Target.ONNX
    data: tuple[str, ...] = ()
    """Data in place of the run's own."""
    plan: ExportPlan | None = None
    keep: tuple[tuple[str, str], ...] = ()
    """(graph, block) that stay in floating point, besides those that the plan keeps."""
    golden: Path | None = None
    """Folder of photographs that may be shared, in place of generated ones."""
    cpu: Cpu = Cpu.ANY
    """What INT8 graphs for ONNX Runtime have to be right on: `any` processor costs a bit of each weight."""
    sign: Path | None = None
    """PEM private key (Ed25519) to sign the manifest with."""
    force: bool = False
    about: Path | None = None
    """Markdown that stands first in the model card."""
    thumbnails: bool = False
    """Show the worst studies' photographs in parity.html, which stays outside of the bundle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What came out."""

    bundle: Path
    manifest: Manifest
    report: dict[str, Any]
    seconds: float
    bytes: int
    html: Path
    frontier: tuple[Candidate, ...] = field(default=())


def export_run(request: Request, say: Reporter) -> Exported:
    """Export a run.

    Raises:
        ConfigError: the target, the plan, or a flag.
        DataError: the run, or the data.
        UntrainedError: the run trained nothing that a bundle could hold.
        CheckFailed: out of budget; the report lies beside the target, the target itself does not exist.
    """
    started = time.perf_counter()
    _check_cpu(request)
    writer.check_target(request.out, force=request.force)
    key = None if request.sign is None else read_private_key(request.sign)
    about = "" if request.about is None else _about(request.about)
    say.stage("opening the run")
    run = Run.open(request.run)
    subsets = run.info.subsets
    if not subsets:
        raise UntrainedError(f"run {run.path} has no trained modality subset, so there is nothing to export; train it first")
    modalities: Subset = frozenset().union(*subsets)
    reference = Reference(run.model, run.tokenizer_json, run.info)
    say.stage("reading studies")
    chosen = cases.choose(run, request.data or None)
    searched, checks = (
        cases.by_subset(cases.prepare(reference, cases.sampled(samples, PARITY_LIMIT), modalities), subsets, PARITY_LIMIT)
        for samples in (chosen.search, chosen.parity)
    )
    if not checks:
        raise DataError(f"{chosen.source}: no study has a modality that was trained ({', '.join(run.info.trained_subsets)})")
    say.stage("writing FP32 graphs")
    names = [m.value for m in Modality if m in modalities] + [FUSION]
    how = graphs.attend_for(request.target)
    exact = {name: graphs.export_graph(run.model, run.info.model, name, how) for name in names}
    say.stage("asking PyTorch")
    verdict = Compared(cases=checks, answers=assess.ask_reference(reference, run.info, checks), source=chosen.source)
    look = Compared(cases=searched, answers=assess.ask_reference(reference, run.info, searched), source=chosen.search_source)
    held_out = (look, verdict) if chosen.searches_held_out else (verdict,)
    proofs = evidence.gather(run.info.trained_heads, [(part.cases, part.answers) for part in held_out])
    plan, schemes, taps = _plan(request, run, reference, exact, chosen, modalities, say)
    aim = Aim(precision=request.precision, target=request.target, budget=request.budget, cpu=request.cpu)
    # Without any other study the search looks at those of the verdict: the report names both sources.
    judge = Judge(aim, run.info, look if searched else verdict, verdict, proofs, exact, taps, refits=chosen.searches_held_out)
    with writer.staging(request.out, force=request.force) as folder:
        say.stage("golden studies")
        _write_golden(folder, reference, subsets, request.golden)
        if Modality.TEXT in modalities:
            writer.write_tokenizer(folder, run.tokenizer_json)
        say.stage(f"{request.precision.value.upper()} graphs and parity")
        frontier: tuple[Candidate, ...] = ()
        outcome = judge.measure(folder, plan)
        if outcome.failures and request.precision is Precision.INT8 and request.plan is None:
            say.stage("searching for a plan within the budget")
            plan, outcome, frontier = search(judge, folder, plan, outcome)
        say.stage("refitting temperatures and operating points")
        engine = judge.engine(folder, outcome)
        calibration = refit(engine, run.info, chosen.validation).calibration
        ms_per_study = judge.timed(engine)
        say.stage(f"verdict on {chosen.source}")
        outcome = judge.conclude(engine, outcome, calibration)
        paid = [pytorch_cost(reference, checks)]
        info, metrics, shapes = run.info, _metrics(run), _shapes(names, run, request.target)
        del engine, reference, run  # the report opens sessions of its own, and `base` is 0.8 GB in PyTorch
        say.stage("report")
        written = {name: folder / graph.file for name, graph in outcome.manifest.graphs.items()}
        paid += costs(exact, written, request.precision, checks, folder)
        document = Findings(
            aim=aim,
            info=info,
            evidence=proofs,
            plan=plan,
            outcome=outcome,
            source=verdict.source,
            searched_on=judge.search.source,
            worst=judge.worst(outcome),
            saturation=judge.saturation(outcome),
            schemes=schemes,
            frontier=frontier,
            costs=paid,
            ms_per_study=ms_per_study,
        ).document()
        html = request.out.absolute().with_name(request.out.name + ".parity.html")
        images = {s.id: s.image_bytes() for s in chosen.parity} if request.thumbnails else {}
        html.write_text(report.html(document, verdict.answers, outcome.answers, images), encoding="utf-8")
        if outcome.failures:
            raise CheckFailed(_refusal(request, judge, plan, outcome, document, html))
        plan.write(folder / PLAN_FILE)
        (folder / PARITY).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        entries = {
            name: entry.model_copy(update={"shapes": shapes.get(name, entry.shapes)})
            for name, entry in outcome.manifest.graphs.items()
        }
        manifest = outcome.manifest.model_copy(update={"parity": document["summary"], "graphs": entries})
        (folder / "MODEL_CARD.md").write_text(model_card(manifest, info, metrics, document, about), encoding="utf-8")
        manifest = manifest.model_copy(update={"files": writer.file_hashes(folder, manifest.graphs)})
        writer.write_manifest(folder, manifest, key)
        size = writer.total_bytes(folder)
    mend.clear(request.out)
    return Exported(
        bundle=request.out,
        manifest=manifest,
        report=document,
        seconds=time.perf_counter() - started,
        bytes=size,
        html=html,
        frontier=frontier,
    )


def _refusal(request: Request, judge: Judge, plan: ExportPlan, outcome: Outcome, document: dict[str, Any], html: Path) -> str:
    """What to tell whose artefact is out of budget; the plan and the report are left beside the target to go on from."""
    harmful: list[tuple[str, str]] = []
    if request.precision is Precision.INT8 and judge.calibration:
        harmful = rank(judge, plan, outcome.graphs)
    found = mend.mend(request.run, request.out, plan, request.budget, outcome.failures, harmful)
    mend.write(request.out, plan, document, found)
    listed = "".join(f"\n  {failure}" for failure in outcome.failures)
    return f"out of budget, nothing written:{listed}\n  report: {html}\n{found.text}"


def _seven_bits(request: Request) -> bool:
    """TensorRT adds in 32 bits on every GPU; ONNX Runtime does not on every processor."""
    return request.target is Target.ONNX and request.cpu is Cpu.ANY


def _check_cpu(request: Request) -> None:
    if request.cpu is Cpu.VNNI and (request.precision, request.target) != (Precision.INT8, Target.ONNX):
        raise ConfigError(
            f"--cpu vnni is for INT8 on onnx; {request.precision.value} on {request.target.value} is right on any processor: "
            "leave it out"
        )
    if request.plan is not None and request.precision is Precision.INT8 and _seven_bits(request):
        wide = [name for name, graph in request.plan.graphs.items() if graph.mode is not Mode.FLOAT and not graph.reduce_range]
        if wide:
            raise ConfigError(
                f"the plan gives {', '.join(wide)} 8-bit weights, whose sums saturate on processors without VNNI; "
                "add --cpu vnni, or export without --plan"
            )


def _shapes(names: Sequence[str], run: Run, target: Target) -> dict[str, dict[str, ShapeRange]]:
    """What an engine is built for, by graph and input, where the target builds one."""
    if target is not Target.TENSORRT:
        return {}
    side, tokens = run.info.model.image_spec.side_px, 0
    if Modality.IMAGE.value in names:
        with torch.inference_mode():
            tokens = run.model.image(torch.zeros(1, 3, side, side)).shape[1]
    return {name: typed.shapes(name, run.info.model, tokens) for name in names}


def _plan(
    request: Request,
    run: Run,
    reference: Reference,
    exact: Mapping[str, onnx.ModelProto],
    chosen: cases.Chosen,
    modalities: Subset,
    say: Reporter,
) -> tuple[ExportPlan, list[calibrate.Scheme], dict[str, list[observers.Feeds]]]:
    """The plan, the schemes that were measured for it, and a few calibration inputs of each graph."""
    if request.plan is not None:
        return _kept(request, request.plan, exact), [], {}
    plans: dict[str, GraphPlan] = {name: GraphPlan(mode=Mode.FLOAT) for name in exact}
    schemes: list[calibrate.Scheme] = []
    taps: dict[str, list[observers.Feeds]] = {}
    mixed = request.precision is Precision.FP16 and request.target is Target.TENSORRT
    if request.precision is Precision.INT8 or mixed:
        say.stage("calibrating on the training split")
        if len(chosen.calibration) < cases.MIN_CALIBRATION:
            raise DataError(
                f"{len(chosen.calibration)} calibration studies are too few, at least {cases.MIN_CALIBRATION} of the training "
                "split are needed; name data that holds the run's training studies with --data SPEC"
            )
        samples = cases.sampled(chosen.calibration, CALIBRATION_LIMIT)
        feeds = Feeds(exact, cases.prepare(reference, samples, modalities), run.info.subsets)
        for name, proto in exact.items():
            if not feeds.of(name):
                raise DataError(
                    f"none of the {len(samples)} calibration studies has a {name}, so its graph can't be calibrated; "
                    "name data that has, with --data SPEC"
                )
            if mixed:
                near_the_limit = typed.overflowing(proto, feeds.of(name)[:_TAPPED])
                plans[name] = GraphPlan(mode=Mode.FLOAT, keep=near_the_limit)
                continue
            plans[name], measured = calibrate.plan_graph(
                name,
                proto,
                feeds.of(name),
                reduce_range=_seven_bits(request),
                static_only=request.target is Target.TENSORRT,
            )
            schemes += measured
            taps[name] = list(feeds.of(name)[:_TAPPED])
    plan = ExportPlan(precision=request.precision, target=request.target, space_id=run.info.space_id, graphs=plans)
    return _kept(request, plan, exact), schemes, taps


def _kept(request: Request, plan: ExportPlan, exact: Mapping[str, onnx.ModelProto]) -> ExportPlan:
    """`plan` with the blocks that were asked for in floating point.

    Raises:
        ConfigError: a graph or block that does not exist.
    """
    known = {(name, block.name) for name, proto in exact.items() for block in blocks(proto)}
    for name, block in request.keep:
        if (name, block) not in known:
            there = ", ".join(f"{owner}.{part}" for owner, part in sorted(known) if owner == name)
            raise ConfigError(
                f"--keep {name}.{block} names no block; "
                + (f"{name} has {there}" if there else f"graphs are {', '.join(sorted(exact))}")
            )
    fresh = [pair for pair in request.keep if pair[1] not in plan.graphs[pair[0]].keep]
    return keep(plan, fresh)


def _about(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"--about {path} can't be read ({type(error).__name__}); give a Markdown file in UTF-8") from None


def _write_golden(folder: Path, reference: Reference, subsets: Sequence[Subset], images: Path | None) -> None:
    studies = golden.golden_studies(subsets, images=images)
    outputs = reference.run(studies, ALL_KINDS)
    write_golden(
        writer.golden_folder(folder),
        studies,
        {"joint": outputs.joint_ND, "cls": outputs.alone_NMD, **{h.value: outputs.logits[h] for h in outputs.logits}},
    )


def _metrics(run: Run) -> dict[str, Any]:
    path = run.path / METRICS_FILE
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return loaded
