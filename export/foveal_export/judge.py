"""Measure candidates as the artefacts they would be: write a plan's graphs, ask them, compare with PyTorch. Chooses no plan."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

import foveal_runtime
from foveal_export import precision
from foveal_export.bundle import writer
from foveal_export.bundle.provenance import made_with
from foveal_export.graphs import graphs, observers
from foveal_export.parity import assess, drift, parity
from foveal_export.parity.assess import Calibrations
from foveal_export.parity.budget import replayed, tolerances
from foveal_export.parity.evidence import Evidences
from foveal_export.parity.outcome import Aim, Compared, Outcome
from foveal_export.parity.refit import fit_calibrations
from foveal_export.parity.verdict import Failure, failures
from foveal_export.quantise import saturation
from foveal_export.quantise.plan import ExportPlan, GraphPlan, Mode
from foveal_export.studies.feeds import Feeds, encoder_feed
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Cpu, Graph, Manifest, Precision
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.selftest import Drift, self_test
from foveal_runtime.study.study import Modality
from foveal_train.runs.run import RunInfo

_DRIFTED = 4
"""Worst studies whose drift is looked at block by block."""


class Judge:
    """Writes a plan's graphs into a folder and compares their answers with PyTorch's.

    Plans are searched on one set of studies and the last one is judged on another: what was chosen on studies always looks
    better on them than it is.
    """

    def __init__(
        self,
        aim: Aim,
        info: RunInfo,
        search: Compared,
        verdict: Compared,
        evidence: Evidences,
        exact: Mapping[str, onnx.ModelProto],
        calibration: Mapping[str, Sequence[observers.Feeds]],
        *,
        refits: bool,
    ) -> None:
        """Args:
        aim: precision, target and limits.
        info: of the run.
        search: studies on which plans are measured.
        verdict: studies on which the chosen plan is judged.
        evidence: whether PyTorch's own grades mean anything.
        exact: FP32 graphs by name.
        calibration: a few inputs of every graph, on which blocks are ranked.
        refits: whether the studies of the search are validation studies, on which temperatures may be fitted.
        """
        self.aim, self.info, self.evidence = aim, info, evidence
        self.search, self.verdict, self.exact, self.calibration = search, verdict, exact, calibration
        self._refits = refits
        self._built: dict[tuple[str, str], onnx.ModelProto] = {}

    def build(self, name: str, plan: GraphPlan) -> onnx.ModelProto:
        """One graph under a plan; the last ones are kept, since a search changes one graph at a time."""
        key = (name, plan.model_dump_json())
        if key not in self._built:
            for old in [k for k in self._built if k[0] == name]:
                del self._built[old]
            self._built[key] = precision.apply(self.exact[name], plan, self.aim.precision, self.aim.target)
        return self._built[key]

    def measure(self, folder: Path, plan: ExportPlan) -> Outcome:
        """Write the graphs of `plan` into `folder` and measure them on the studies of the search.

        Both sides are calibrated on those studies, so that what is compared is what would be served.
        """
        built = {name: self.build(name, plan.graphs[name]) for name in self.exact}
        entries: dict[str, Graph] = {}
        for name, proto in built.items():
            spec, chosen = graphs.graph_spec(name, self.info.model, self.info.embedding_dim), plan.graphs[name]
            quantised = self.aim.precision is Precision.INT8
            entries[name] = writer.write_graph(
                folder,
                name,
                proto,
                inputs=spec.inputs,
                outputs=spec.outputs,
                one_at_a_time=quantised and chosen.mode is Mode.DYNAMIC,
                scheme=chosen.described() if quantised else self.aim.precision.value,
                cpu=saturation.runs_on({name: proto}) if self.aim.may_saturate else Cpu.ANY,
            )
        runs_on = Cpu.VNNI if any(entry.cpu is Cpu.VNNI for entry in entries.values()) else Cpu.ANY
        assert runs_on is Cpu.ANY or self.aim.cpu is Cpu.VNNI, "an INT8 graph for any processor can saturate"
        engine = _open(folder, self._manifest(entries, runs_on, self.info.calibration))
        found = assess.ask_engine(engine, self.info, self.search.cases)
        served = theirs = self.info.calibration
        if self._refits and self.info.trained_heads:
            served = fit_calibrations(found, self.search.cases, self.info)
            theirs = fit_calibrations(self.search.answers, self.search.cases, self.info)
        return self._compared(engine, self._manifest(entries, runs_on, served), built, self.search, found, theirs)

    def conclude(self, engine: Engine, outcome: Outcome, calibration: Calibrations) -> Outcome:
        """Judge the chosen plan on the studies of the verdict.

        Args:
            engine: the plan's, see `engine`.
            outcome: the plan as the search measured it.
            calibration: the artefact's own, as it will be served.
        """
        manifest = self._manifest(outcome.manifest.graphs, outcome.manifest.runs_on, calibration)
        found = assess.ask_engine(engine, self.info, self.verdict.cases)
        return self._compared(engine, manifest, outcome.graphs, self.verdict, found, self.info.calibration)

    def judged_with(self, folder: Path, outcome: Outcome, name: str, entry: Graph, proto: onnx.ModelProto) -> Outcome:
        """Judge what `conclude` judged with another file for one graph, under the calibration and tolerances that are served.

        Args:
            folder: where the file lies, beside those of `outcome`.
            outcome: of `conclude`.
            name: of the graph.
            entry: of the file.
            proto: the graph in it.
        """
        own = outcome.manifest
        changes = {"graphs": {**own.graphs, name: entry}, "cpu": Cpu.VNNI if entry.cpu is Cpu.VNNI else own.cpu}
        manifest = own.model_copy(update=changes)
        engine = _open(folder, manifest)
        found = assess.ask_engine(engine, self.info, self.verdict.cases)
        built = {**outcome.graphs, name: proto}
        return self._compared(engine, manifest, built, self.verdict, found, self.info.calibration)

    def feeds(self) -> Mapping[str, Sequence[observers.Feeds]]:
        """A few inputs of every graph: of calibration, or of the compared studies where nothing was calibrated."""
        if self.calibration:
            return self.calibration
        some = [case for part in self.search.cases.values() for case in part[:2]]
        made = Feeds(self.exact, some, self.info.subsets)
        return {name: made.of(name) for name in self.exact}

    def _compared(
        self,
        engine: Engine,
        manifest: Manifest,
        built: dict[str, onnx.ModelProto],
        studies: Compared,
        found: dict[str, parity.Answers],
        theirs: Calibrations,
    ) -> Outcome:
        """Compare answers on some studies, replay the golden ones, and list what is out of budget.

        `manifest` holds the calibration that is judged: the engine was opened before it was fitted.
        """
        budget = self.aim.budget
        parts = assess.compare_all(studies.answers, found, studies.cases, (theirs, manifest.calibration), budget.tie_margin)
        dependence = assess.neighbour_dependence(engine, self.info, studies.cases)
        missed = failures(parts, budget, evidence=self.evidence, dependence=dependence)
        # A server replays these before it serves: what is out of tolerance here could never be used.
        golden = self_test(engine, manifest=manifest)
        missed += [_golden_failure(d) for d in golden.failures]
        limits = replayed(manifest.tolerances, self.aim.target, golden.min_cosine)
        return Outcome(
            manifest=manifest.model_copy(update={"tolerances": limits}),
            answers=found,
            parts=parts,
            dependence=dependence,
            failures=missed,
            golden=golden,
            graphs=built,
        )

    def _manifest(self, entries: Mapping[str, Graph], runs_on: Cpu, calibration: Calibrations) -> Manifest:
        info = self.info
        return Manifest(
            foveal_version=foveal_runtime.__version__,
            profile=info.model.profile,
            precision=self.aim.precision,
            target=self.aim.target,
            cpu=runs_on,
            space_id=info.space_id,
            embedding_dim=info.embedding_dim,
            graphs=dict(entries),
            files={},
            image=info.model.image_spec,
            text=info.model.text_spec,
            features=info.features,
            heads=info.head_classes,
            trained_heads=info.trained_heads,
            trained_subsets=info.trained_subsets,
            aligned=info.aligned,
            calibration=dict(calibration),
            evidence=self.evidence,
            trained_on=info.trained_on,
            tolerances=tolerances(self.aim.budget, self.aim.precision),
            made_with=made_with(),
        )

    def saturation(self, outcome: Outcome) -> dict[str, Any]:
        """What the integer sums of its products can reach; empty where nothing can saturate."""
        if not self.aim.may_saturate:
            return {}
        feeds = self.calibration if outcome.manifest.cpu is Cpu.ANY else self.feeds()
        return saturation.report(outcome.graphs, feeds)

    def worst(self, outcome: Outcome) -> list[parity.Worst]:
        """The studies of the verdict furthest from PyTorch, the first few with the error behind every block."""
        worst = assess.worst(self.verdict.answers, outcome.answers, self.verdict.cases, parity.WORST)
        by_id = {(case.id, name): case for name, part in self.verdict.cases.items() for case in part}
        rows = []
        for place, row in enumerate(worst):
            found: dict[str, float] = {}
            if place < _DRIFTED and self.aim.precision is not Precision.FP32:
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
        return _open(folder, outcome.manifest)

    def timed(self, engine: Engine) -> dict[str, float]:
        """Milliseconds of one study through every graph it needs, batch 1, by subset: median of seven."""
        timed = {}
        for name, part in self.search.cases.items():
            times = []
            for case in (list(part) * 8)[:8]:
                begun = time.perf_counter()
                engine.run([case.prepared], grade=bool(self.info.trained_heads))
                times.append(time.perf_counter() - begun)
            timed[name] = sorted(times[1:])[3] * 1e3
        return timed


def _golden_failure(drift: Drift) -> Failure:
    """A golden study out of tolerance, and the budget's key that would let it pass."""
    where = f"golden study {drift.study} ({drift.subset})" if drift.study else "golden studies"
    kind, _, _ = drift.quantity.partition(".")
    key = {"cosine": "golden_cosine", "max_abs": "max_abs", "neighbours": "neighbour_dependence"}.get(kind, kind)
    needs = drift.got / drift.judged
    return Failure(subset=where, quantity=drift.quantity, got=drift.got, limit=drift.limit, key=key, needs=needs)


def _open(folder: Path, manifest: Manifest) -> Engine:
    """An engine that answers as the processors answer that the artefact is for, on whatever processor this is."""
    return Engine(Bundle(path=folder, manifest=manifest, sha256=""), exact=manifest.runs_on is Cpu.VNNI)
