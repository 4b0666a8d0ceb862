"""From a run to a bundle: graphs, precision, golden studies, parity, files. The steps themselves are other modules'."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from foveal_export import variants
from foveal_export.bundle import golden, writer
from foveal_export.bundle.bom import DataPart, pretrained_parts, write_bom
from foveal_export.bundle.card import embedding_card, model_card
from foveal_export.graphs import graphs, text_optimum
from foveal_export.judge import Judge
from foveal_export.parity import assess, evidence, mend, report
from foveal_export.parity.costs import Cost, costs, pytorch_cost
from foveal_export.parity.document import Findings
from foveal_export.parity.outcome import Aim, Candidate, Compared, Outcome
from foveal_export.parity.photographs import photograph_fits
from foveal_export.parity.refit import recalibrated, refit
from foveal_export.planning import (
    Reporter,
    Request,
    TextExporter,
    check_cpu,
    check_engines,
    check_source,
    choose_studies,
    engine_shapes,
    plan_graphs,
    read_about,
)
from foveal_export.quantise import calibrate
from foveal_export.quantise.plan import PLAN_FILE, ExportPlan
from foveal_export.result import Exported
from foveal_export.search import given_back, rank, search
from foveal_export.studies import cases
from foveal_export.tensorrt import engines, typed
from foveal_runtime.bundle import writing
from foveal_runtime.bundle.bundle import PARITY
from foveal_runtime.bundle.golden import write_golden
from foveal_runtime.bundle.manifest import FUSION, Manifest, Precision, Target, Variant
from foveal_runtime.bundle.signing import read_private_key
from foveal_runtime.errors import CheckFailed, ConfigError, DataError, UntrainedError
from foveal_runtime.study.study import Modality, Subset
from foveal_train.data.source import parse_spec
from foveal_train.runs.hubfolder import WEIGHTS_SHA256, open_hub_folder
from foveal_train.runs.provenance import with_provenance
from foveal_train.runs.reference import ALL_KINDS, Reference
from foveal_train.runs.run import Run

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PARITY_LIMIT = 400
"""Answers compared, shared out among the modality subsets."""


def export_run(request: Request, say: Reporter, *, refuse: Callable[[dict[str, Any]], str] = lambda _: "") -> Exported:
    """Export a run.

    Args:
        request: what to export.
        say: told how it gets on.
        refuse: given parity.json of an artefact within its budget, says why it is not to be written; empty writes it.

    Raises:
        ConfigError: the target, the plan, or a flag.
        DataError: the run, or the data.
        UntrainedError: the run trained nothing that a bundle could hold.
        CheckFailed: out of budget, refused by TensorRT or by `refuse`; the report lies beside the target, the target itself
            does not exist.
    """
    started = time.perf_counter()
    check_cpu(request)
    check_source(request)
    check_engines(request)
    variants.check_variants(request)
    writing.check_target(request.out, force=request.force)
    key = None if request.sign is None else read_private_key(request.sign)
    about = "" if request.about is None else read_about(request.about)
    export = _Export(request, say)
    export.open_run()
    export.write_exact_graphs()
    export.ask_pytorch()
    export.plan()
    beside = writer.engines_staging(request.out) if request.keep_engines else contextlib.nullcontext()
    with writing.staging(request.out, force=request.force) as folder, beside as kept:
        export.write_golden(folder)
        export.search(folder)
        export.conclude(folder)
        export.build_engines(folder, kept)
        document, html = export.report(folder)
        if export.outcome.failures:
            raise CheckFailed(export.refusal(document, html))
        if why := refuse(document):
            raise CheckFailed(why)
        manifest = export.write(folder, document, about, key)
        size = writer.total_bytes(folder)
    mend.clear(request.out)
    return Exported(
        bundle=request.out,
        manifest=manifest,
        report=document,
        seconds=time.perf_counter() - started,
        bytes=size,
        html=html,
        frontier=export.frontier,
    )


class _Export:
    """An export in the making; every step takes what the ones before it left."""

    run: Run
    reference: Reference
    chosen: cases.Chosen
    modalities: Subset
    searched: dict[str, list[cases.Case]]
    checks: dict[str, list[cases.Case]]
    """Studies of the verdict, by subset name."""
    data: list[DataPart]
    exact: dict[str, onnx.ModelProto]
    look: Compared
    verdict: Compared
    proofs: evidence.Evidences
    judge: Judge
    plan_: ExportPlan
    schemes: list[calibrate.Scheme]
    outcome: Outcome
    paid: list[Cost]
    ms_per_study: dict[str, float]

    def __init__(self, request: Request, say: Reporter) -> None:
        """Args:
        request: what to export.
        say: told how it gets on.
        """
        self.request, self.say = request, say
        self.frontier: tuple[Candidate, ...] = ()

    def open_run(self) -> None:
        """Open the run and prepare the studies of the search and of the verdict."""
        self.say.stage("opening the run")
        self.run = run = open_hub_folder(self.request.run) if self.request.hub_folder else Run.open(self.request.run)
        subsets = run.info.subsets
        if not subsets:
            raise UntrainedError(
                f"run {run.path} has no trained modality subset, so there is nothing to export; train it first"
            )
        self.modalities = frozenset().union(*subsets)
        self.names = [m.value for m in Modality if m in self.modalities] + [FUSION]
        self.reference = Reference(run.model, run.tokenizer_json, run.info)
        self.say.stage("reading studies")
        with choose_studies(self.request, run) as chosen:
            self.chosen = chosen
            self.searched, self.checks = (
                cases.by_subset(
                    cases.prepare(self.reference, cases.sampled(samples, PARITY_LIMIT), self.modalities, run.info.head_classes),
                    subsets,
                    PARITY_LIMIT,
                )
                for samples in (chosen.search, chosen.parity)
            )
            self.data = chosen.data_parts(
                [parse_spec(spec).kind.value for spec in self.request.data or run.info.data] or ["generated"],
                {} if self.request.hub_folder else run.split,
            )
        self.info = with_provenance(recalibrated(self.reference, run.info, chosen.validation), chosen.calibration)
        if not self.checks:
            trained = ", ".join(run.info.trained_subsets)
            raise DataError(f"{chosen.source}: no study has a modality that was trained ({trained})")

    def write_exact_graphs(self) -> None:
        """FP32 graphs of every encoder and of the fusion."""
        self.say.stage("writing FP32 graphs")
        how = graphs.attend_for(self.request.target)
        self.exact = {name: graphs.export_graph(self.run.model, self.info.model, name, how) for name in self.names}
        if self.request.text_exporter is TextExporter.OPTIMUM:
            if Modality.TEXT not in self.modalities:
                raise ConfigError(f"run {self.run.path} has no text encoder; leave --text-exporter out")
            self.exact[Modality.TEXT.value] = text_optimum.export_text(self.run.model, self.info.model)

    def ask_pytorch(self) -> None:
        """The reference's answers on both sets of studies, and which of its heads mean anything."""
        self.say.stage("asking PyTorch")
        ask = partial(assess.ask_reference, self.reference, self.info)
        self.verdict = Compared(cases=self.checks, answers=ask(self.checks), source=self.chosen.source)
        self.look = Compared(cases=self.searched, answers=ask(self.searched), source=self.chosen.search_source)
        held_out = (self.look, self.verdict) if self.chosen.searches_held_out else (self.verdict,)
        self.proofs = evidence.gather(self.info.trained_heads, [(part.cases, part.answers) for part in held_out])

    def plan(self) -> None:
        """The plan to start from, and the judge of it."""
        request = self.request
        given = (self.run, self.reference, self.exact, self.chosen, self.modalities, self.say)
        self.plan_, self.schemes, taps = plan_graphs(request, *given)
        self.sources = variants.prepare(request, *given)
        aim = Aim(precision=request.precision, target=request.target, budget=request.budget, cpu=request.cpu)
        self.judge = Judge(
            aim,
            self.info,
            # Without any other study the search looks at those of the verdict: the report names both sources.
            self.look if self.searched else self.verdict,
            self.verdict,
            self.proofs,
            self.exact,
            taps,
            refits=self.chosen.searches_held_out,
        )

    def write_golden(self, folder: Path) -> None:
        """Golden studies with PyTorch's answers, and the tokenizer."""
        self.say.stage("golden studies")
        studies = golden.golden_studies(self.info.subsets, images=self.request.golden)
        outputs = self.reference.run(studies, ALL_KINDS)
        answers = {"joint": outputs.joint_ND, "cls": outputs.alone_NMD, **outputs.logits}
        write_golden(writer.golden_folder(folder), studies, answers)
        if Modality.TEXT in self.modalities:
            writer.write_tokenizer(folder, self.run.tokenizer_json)

    def search(self, folder: Path) -> None:
        """Measure the plan, and give precision back until it is within the budget."""
        request = self.request
        self.say.stage(f"{request.precision.value.upper()} graphs and parity")
        self.outcome = self.judge.measure(folder, self.plan_)
        if self.outcome.failures and request.precision is Precision.INT8 and request.plan is None:
            self.say.stage("searching for a plan within the budget")
            self.plan_, self.outcome, self.frontier = search(self.judge, folder, self.plan_, self.outcome)

    def conclude(self, folder: Path) -> None:
        """Calibrate the artefact on its own logits and judge it on the studies of the verdict; PyTorch is done with."""
        self.say.stage("refitting temperatures and operating points")
        engine = self.judge.engine(folder, self.outcome)
        calibration = refit(engine, self.info, self.chosen.validation).calibration
        self.say.stage("what the training photographs are like, and whether evidence maps are faithful")
        self.fits = {} if self.request.hub_folder else photograph_fits(engine, self.chosen, folder)
        self.ms_per_study = self.judge.timed(engine)
        self.say.stage(f"verdict on {self.chosen.source}")
        self.outcome = self.judge.conclude(engine, self.outcome, calibration)
        self.variants: dict[str, dict[str, Variant]] = {}
        if self.request.variants and not self.outcome.failures:
            self.say.stage(f"variants {', '.join(self.request.variants)}")
            self.variants = variants.add(self.judge, folder, self.outcome, self.plan_, self.sources)
        self.paid = [pytorch_cost(self.reference, self.checks)]
        self.metrics = self.run.metrics
        for_engines = self.request.target is Target.TENSORRT
        self.shapes = engine_shapes(self.names, self.run.model, self.info.model) if for_engines else {}
        del self.reference, self.run  # the report opens sessions of its own, and `base` is 0.8 GB in PyTorch

    def build_engines(self, folder: Path, kept: Path | None) -> None:
        """Let TensorRT parse and build the graphs as they lie in `folder`; engines go to `kept`, if anywhere."""
        self.tensorrt: dict[str, Any] = {}
        request = self.request
        if not request.engines or self.outcome.failures:
            return
        self.say.stage(f"TensorRT engines for {', '.join(architecture.value for architecture in request.engines)}")
        written = {name: folder / graph.file for name, graph in self.outcome.manifest.graphs.items()}
        half = None
        if request.precision is Precision.INT8:
            half = lambda name: typed.to_typed_half(self.exact[name], self.plan_.graphs[name].wide)  # noqa: E731
        self.tensorrt = engines.build_all(written, self.shapes, request.engines, half=half, keep=kept)

    def report(self, folder: Path) -> tuple[dict[str, Any], Path]:
        """parity.json as a document, and the page beside the target."""
        self.say.stage("report")
        written = {name: folder / graph.file for name, graph in self.outcome.manifest.graphs.items()}
        self.paid += costs(self.exact, written, self.request.precision, self.checks, folder)
        document = Findings(
            aim=self.judge.aim,
            info=self.info,
            evidence=self.proofs,
            plan=self.plan_,
            outcome=self.outcome,
            source=self.verdict.source,
            searched_on=self.judge.search.source,
            worst=self.judge.worst(self.outcome),
            saturation=self.judge.saturation(self.outcome),
            schemes=self.schemes,
            frontier=self.frontier,
            given_back=given_back(self.judge, self.plan_, self.frontier),
            costs=self.paid,
            ms_per_study=self.ms_per_study,
            tensorrt=self.tensorrt,
            variants=variants.document(self.variants),
        ).document()
        html = self.request.out.absolute().with_name(self.request.out.name + ".parity.html")
        images = {s.id: s.image_bytes() for s in self.chosen.parity} if self.request.thumbnails else {}
        html.write_text(report.html(document, self.verdict.answers, self.outcome.answers, images), encoding="utf-8")
        return document, html

    def refusal(self, document: dict[str, Any], html: Path) -> str:
        """What to tell whose artefact is out of budget; plan and report are left beside the target to go on from."""
        harmful: list[tuple[str, str]] = []
        if self.request.precision is Precision.INT8 and self.judge.calibration:
            harmful = rank(self.judge, self.plan_, self.outcome.graphs)
        request, missed = self.request, self.outcome.failures
        return mend.refusal(request.words, request.out, self.plan_, request.budget, missed, harmful, document, html)

    def write(self, folder: Path, document: dict[str, Any], about: str, key: Ed25519PrivateKey | None) -> Manifest:
        """Everything else of the bundle, its manifest last."""
        self.plan_.write(folder / PLAN_FILE)
        (folder / PARITY).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        entries = {
            name: entry.model_copy(update={"shapes": self.shapes.get(name, entry.shapes)})
            for name, entry in self.outcome.manifest.graphs.items()
        }
        by_optimum = self.request.text_exporter is TextExporter.OPTIMUM
        made_with = {**self.outcome.manifest.made_with, **(text_optimum.made_with() if by_optimum else {})}
        changes = {"parity": document["summary"], "graphs": entries, "variants": self.variants, "made_with": made_with}
        changes |= self.fits
        if self.request.keep_engines:
            changes["engines"] = engines.hashes(self.tensorrt)
        manifest = self.outcome.manifest.model_copy(update=changes)
        if self.request.hub_folder:
            card = embedding_card(manifest, self.request.run.resolve().name, document, about)
        else:
            card = model_card(manifest, self.info, self.metrics, document, about)
        (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
        starts = pretrained_parts(self.info.model, self.names, self.info.recipe.get(WEIGHTS_SHA256, ""))
        write_bom(folder, manifest, writing.file_hashes(folder, manifest.graphs), self.data, starts)
        manifest = manifest.model_copy(update={"files": writing.file_hashes(folder, manifest.graphs)})
        writing.write_manifest(folder, manifest, key)
        return manifest
