"""From a run to a bundle: graphs, precision, golden studies, parity, files. The steps themselves are other modules'."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import onnx

import foveal_runtime
from foveal_export import assess, calibrate, cases, drift, golden, graphs, parity, precision, report, tap, writer
from foveal_export.budget import Budget, tolerances
from foveal_export.card import model_card
from foveal_export.feeds import Feeds, encoder_feed
from foveal_export.plan import PLAN_FILE, ExportPlan, GraphPlan, Mode
from foveal_export.refit import refit
from foveal_export.search import Candidate, search
from foveal_runtime.bundle import PARITY, Bundle
from foveal_runtime.engine import Engine
from foveal_runtime.errors import CheckFailed, DataError, UntrainedError
from foveal_runtime.golden import write_golden
from foveal_runtime.manifest import FUSION, Graph, Manifest, Precision, Target
from foveal_runtime.study import Modality, Subset
from foveal_train.reference import ALL_KINDS, Reference
from foveal_train.run import METRICS_FILE, Run

PARITY_LIMIT = 400
"""Answers compared, shared out among the modality subsets."""
CALIBRATION_LIMIT = 64
_LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxscript", "timm", "transformers", "numpy", "pillow", "tokenizers")
_TAPPED = 12
"""Calibration studies on which blocks are ranked."""
_DRIFTED = 4
"""Worst studies whose drift is looked at block by block."""


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
    golden: Path | None = None
    """Folder of photographs that may be shared, in place of generated ones."""
    reduce_range: bool = False
    force: bool = False
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
    writer.check_target(request.out, force=request.force)
    say.stage("opening the run")
    run = Run.open(request.run)
    subsets = run.info.subsets
    if not subsets:
        raise UntrainedError(f"run {run.path} has no trained modality subset, so there is nothing to export; train it first")
    modalities: Subset = frozenset().union(*subsets)
    reference = Reference(run.model, run.tokenizer_json, run.info)
    say.stage("reading studies")
    chosen = cases.choose(run, request.data or None)
    held_out = cases.prepare(reference, cases.sampled(chosen.parity, PARITY_LIMIT), modalities)
    checks = cases.by_subset(held_out, subsets, PARITY_LIMIT)
    if not checks:
        raise DataError(f"{chosen.source}: no study has a modality that was trained ({', '.join(run.info.trained_subsets)})")
    say.stage("writing FP32 graphs")
    names = [m.value for m in Modality if m in modalities] + [FUSION]
    how = graphs.attend_for(request.target)
    exact = {name: graphs.export_graph(run.model, run.info.model, name, how) for name in names}
    say.stage("asking PyTorch")
    answers = assess.ask_reference(reference, run.info, checks)
    plan, schemes, taps = _plan(request, run, reference, exact, chosen, modalities, say)
    judge = _Judge(request, run, checks, answers, exact, taps)
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
        calibration = refit(engine, run.info, reference, chosen.validation)
        say.stage("report")
        document = judge.document(plan, outcome, engine, schemes, frontier, source=chosen.source)
        html = request.out.absolute().with_name(request.out.name + ".parity.html")
        images = {s.id: s.image_bytes() for s in chosen.parity} if request.thumbnails else {}
        html.write_text(report.html(document, answers, outcome.answers, images), encoding="utf-8")
        if outcome.failures:
            listed = "; ".join(str(failure) for failure in outcome.failures)
            raise CheckFailed(
                f"out of budget, nothing written: {listed}. The report is {html}; loosen --budget or train longer"
            )
        plan.write(folder / PLAN_FILE)
        (folder / PARITY).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        manifest = outcome.manifest.model_copy(update={"calibration": calibration, "parity": document["summary"]})
        (folder / "MODEL_CARD.md").write_text(model_card(manifest, run.info, _metrics(run), document), encoding="utf-8")
        manifest = manifest.model_copy(update={"files": writer.file_hashes(folder, manifest.graphs)})
        writer.write_manifest(folder, manifest)
        size = writer.total_bytes(folder)
    return Exported(
        bundle=request.out,
        manifest=manifest,
        report=document,
        seconds=time.perf_counter() - started,
        bytes=size,
        html=html,
        frontier=frontier,
    )


def _plan(
    request: Request,
    run: Run,
    reference: Reference,
    exact: Mapping[str, onnx.ModelProto],
    chosen: cases.Chosen,
    modalities: Subset,
    say: Reporter,
) -> tuple[ExportPlan, list[calibrate.Scheme], dict[str, list[tap.Feeds]]]:
    """The plan, the schemes that were measured for it, and a few calibration inputs of each graph."""
    if request.plan is not None:
        return request.plan, [], {}
    plans: dict[str, GraphPlan] = {name: GraphPlan(mode=Mode.FLOAT) for name in exact}
    schemes: list[calibrate.Scheme] = []
    taps: dict[str, list[tap.Feeds]] = {}
    if request.precision is Precision.INT8:
        say.stage("calibrating on the training split")
        if len(chosen.calibration) < cases.MIN_CALIBRATION:
            raise DataError(
                f"{len(chosen.calibration)} calibration studies are too few, at least {cases.MIN_CALIBRATION} of the training "
                "split are needed; name data that holds the run's training studies with --data SPEC"
            )
        samples = cases.sampled(chosen.calibration, CALIBRATION_LIMIT)
        feeds = Feeds(exact, cases.prepare(reference, samples, modalities), run.info.subsets)
        for name, proto in exact.items():
            plans[name], measured = calibrate.plan_graph(
                name,
                proto,
                feeds.of(name),
                reduce_range=request.reduce_range,
                static_only=request.target is Target.TENSORRT,
            )
            schemes += measured
            taps[name] = list(feeds.of(name)[:_TAPPED])
    plan = ExportPlan(precision=request.precision, target=request.target, space_id=run.info.space_id, graphs=plans)
    return plan, schemes, taps


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One candidate, written and measured."""

    manifest: Manifest
    answers: dict[str, parity.Answers]
    parts: dict[str, parity.SubsetParity]
    dependence: float
    failures: list[parity.Failure]
    graphs: dict[str, onnx.ModelProto]


class _Judge:
    """Writes a plan's graphs into a folder and compares their answers with PyTorch's."""

    def __init__(
        self,
        request: Request,
        run: Run,
        checks: Mapping[str, Sequence[cases.Case]],
        answers: Mapping[str, parity.Answers],
        exact: Mapping[str, onnx.ModelProto],
        calibration: Mapping[str, Sequence[tap.Feeds]],
    ) -> None:
        self.request, self.run = request, run
        self.checks, self.answers, self.exact, self.calibration = checks, answers, exact, calibration
        self.graded = is_graded(run)
        self._built: dict[tuple[str, str], onnx.ModelProto] = {}

    def build(self, name: str, plan: GraphPlan) -> onnx.ModelProto:
        """One graph under a plan; the last ones are kept, since a search changes one graph at a time."""
        key = (name, plan.model_dump_json())
        if key not in self._built:
            for old in [k for k in self._built if k[0] == name]:
                del self._built[old]
            self._built[key] = precision.apply(self.exact[name], plan, self.request.precision, self.request.target)
        return self._built[key]

    def measure(self, folder: Path, plan: ExportPlan) -> Outcome:
        """Write the graphs of `plan` into `folder` and measure them."""
        built = {name: self.build(name, plan.graphs[name]) for name in self.exact}
        entries: dict[str, Graph] = {}
        for name, proto in built.items():
            spec = graphs.graph_spec(name, self.run.info.model)
            dynamic = plan.graphs[name].mode is Mode.DYNAMIC and self.request.precision is Precision.INT8
            entries[name] = writer.write_graph(
                folder, name, proto, inputs=spec.inputs, outputs=spec.outputs, one_at_a_time=dynamic
            )
        manifest = self._manifest(entries)
        engine = Engine(Bundle(path=folder, manifest=manifest, sha256=""))
        found = assess.ask_engine(engine, self.run.info, self.checks)
        dependence = assess.neighbour_dependence(engine, self.run.info, self.checks)
        parts = assess.compare_all(self.answers, found, self.checks)
        missed = parity.failures(parts, self.request.budget, graded=self.graded, dependence=dependence)
        return Outcome(manifest=manifest, answers=found, parts=parts, dependence=dependence, failures=missed, graphs=built)

    def _manifest(self, entries: dict[str, Graph]) -> Manifest:
        info = self.run.info
        return Manifest(
            foveal_version=foveal_runtime.__version__,
            profile=info.model.profile,
            precision=self.request.precision,
            target=self.request.target,
            space_id=info.space_id,
            embedding_dim=256,
            graphs=entries,
            files={},
            image=info.model.image_spec,
            text=info.model.text_spec,
            features=info.features,
            trained_heads=info.trained_heads,
            trained_subsets=info.trained_subsets,
            aligned=info.aligned,
            calibration=info.calibration,
            tolerances=tolerances(self.request.budget, self.request.precision, graded=self.graded),
            made_with={name: importlib.metadata.version(name) for name in _LIBRARIES},
        )

    def document(
        self,
        plan: ExportPlan,
        outcome: Outcome,
        engine: Engine,
        schemes: Sequence[calibrate.Scheme],
        frontier: Sequence[Candidate],
        *,
        source: str,
    ) -> dict[str, Any]:
        """parity.json: timings are in here and nowhere else."""
        worst = assess.worst(self.answers, outcome.answers, self.checks, parity.WORST)
        return {
            "schema_version": 1,
            "precision": self.request.precision.value,
            "target": self.request.target.value,
            "profile": self.run.info.model.profile,
            "space_id": self.run.info.space_id,
            "source": source,
            "studies": sum(part.studies for part in outcome.parts.values()),
            "graded": self.graded,
            "budget": asdict(self.request.budget),
            "passed": not outcome.failures,
            "failures": [asdict(failure) for failure in outcome.failures],
            "neighbour_dependence": outcome.dependence,
            "subsets": parity.to_json(outcome.parts),
            "worst": [asdict(row) for row in self._drifted(worst, outcome)],
            "graphs": {
                name: {
                    "bytes": outcome.manifest.graphs[name].bytes,
                    "mode": plan.graphs[name].mode.value,
                    "kept": list(plan.graphs[name].keep),
                }
                for name in outcome.manifest.graphs
            },
            "schemes": [asdict(scheme) for scheme in schemes],
            "frontier": [asdict(candidate) for candidate in frontier],
            "ms_per_study": self.timed(engine),
            "summary": summary(outcome, source),
        }

    def _drifted(self, worst: Sequence[parity.Worst], outcome: Outcome) -> list[parity.Worst]:
        by_id = {(case.id, name): case for name, part in self.checks.items() for case in part}
        rows = []
        for place, row in enumerate(worst):
            found: dict[str, float] = {}
            if place < _DRIFTED and self.request.precision is not Precision.FP32:
                prepared = by_id[row.study, row.subset].prepared
                for modality in prepared.subset:
                    if modality is Modality.STRUCTURED:
                        continue
                    feed = encoder_feed(prepared, modality)
                    blocks = drift.drift(self.exact[modality.value], outcome.graphs[modality.value], [feed])[0]
                    found |= {f"{modality.value}.{block}": value for block, value in blocks.items()}
            rows.append(dataclasses.replace(row, drift=found))
        return rows

    def engine(self, folder: Path, outcome: Outcome) -> Engine:
        """The engine of what stands in `folder`."""
        return Engine(Bundle(path=folder, manifest=outcome.manifest, sha256=""))

    def error_of(self, name: str, plan: GraphPlan) -> float:
        """Relative error of one graph's output under a plan, over a few calibration studies."""
        return calibrate.measure(name, self.exact[name], plan, self.calibration[name]).relative_error

    def timed(self, engine: Engine) -> dict[str, float]:
        """Milliseconds of one study through every graph it needs, batch 1, by subset: median of seven."""
        timed = {}
        for name, part in self.checks.items():
            times = []
            for case in (list(part) * 8)[:8]:
                begun = time.perf_counter()
                engine.run([case.prepared], grade=bool(self.run.info.trained_heads))
                times.append(time.perf_counter() - begun)
            timed[name] = sorted(times[1:])[3] * 1e3
        return timed


def is_graded(run: Run) -> bool:
    """False for a model whose grades mean nothing yet: one that was never trained, or the `tiny` profile of tests."""
    return run.info.epochs > 0 and run.info.model.profile != "tiny" and bool(run.info.trained_heads)


def summary(outcome: Outcome, source: str) -> dict[str, Any]:
    """What the manifest says of parity.json: largest differences over all subsets; no timings."""
    vectors = [vector for part in outcome.parts.values() for vector in part.vectors.values()]
    icdr = [part.heads["icdr"].flips for part in outcome.parts.values() if "icdr" in part.heads]
    overlaps = [vector.cross_overlap for vector in vectors if vector.cross_overlap is not None]
    return {
        "source": source,
        "studies": sum(part.studies for part in outcome.parts.values()),
        "mean_cosine": min(vector.mean_cosine for vector in vectors),
        "min_cosine": min(vector.min_cosine for vector in vectors),
        "max_abs": max(vector.max_abs for vector in vectors),
        "icdr_flips": sum(icdr),
        "neighbour_overlap": min(overlaps) if overlaps else None,
        "neighbour_dependence": outcome.dependence,
        "passed": not outcome.failures,
    }


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


__all__ = ["Exported", "Outcome", "Reporter", "Request", "export_run", "is_graded", "summary"]
