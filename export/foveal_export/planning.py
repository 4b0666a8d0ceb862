"""What is asked of an export, and the plan it starts from: calibration, modes, blocks kept in float. Judges nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import onnx
import torch

from foveal_export.graphs import observers, text_optimum
from foveal_export.graphs.blocks import blocks
from foveal_export.parity.budget import Budget
from foveal_export.quantise import calibrate
from foveal_export.quantise.plan import ExportPlan, GraphPlan, Mode
from foveal_export.search import keep
from foveal_export.studies import cases
from foveal_export.studies.feeds import Feeds
from foveal_export.tensorrt import parser, typed
from foveal_export.tensorrt.architectures import Architecture
from foveal_runtime.bundle.manifest import Cpu, Precision, ShapeRange, Target, VariantName
from foveal_runtime.errors import ConfigError, DataError
from foveal_runtime.study.study import Modality, Subset
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import ModelConfig
from foveal_train.runs.reference import Reference
from foveal_train.runs.run import Run

CALIBRATION_LIMIT = 64
_TAPPED = 12
"""Calibration studies on which blocks are ranked."""


class TextExporter(StrEnum):
    """What writes the text encoder's FP32 graph."""

    TORCH = "torch"
    """torch.onnx, which writes all the others."""
    OPTIMUM = "optimum"
    """Optimum's exporter, of the extra `optimum`."""


class Reporter(Protocol):
    """Told how an export gets on."""

    def stage(self, name: str) -> None:
        """A new stage begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to export."""

    run: Path
    """Folder of the run; with `hub_folder` of a plain BERT or ViT in the hub's layout."""
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
    text_exporter: TextExporter = TextExporter.TORCH
    hub_folder: bool = False
    sign: Path | None = None
    """PEM private key (Ed25519) to sign the manifest with."""
    variants: tuple[VariantName, ...] = ()
    """Other files for its graphs, among which a machine chooses."""
    engines: tuple[Architecture, ...] = ()
    """What TensorRT builds the finished graphs for; empty leaves them to the published operator list."""
    keep_engines: bool = False
    """Leave the engines beside the bundle."""
    force: bool = False
    about: Path | None = None
    """Markdown that stands first in the model card."""
    thumbnails: bool = False
    """Show the worst studies' photographs in parity.html, which stays outside of the bundle."""

    @property
    def words(self) -> tuple[str, ...]:
        """After `foveal`: what says what is exported, and by what."""
        source = ("export", "--hf", str(self.run)) if self.hub_folder else ("export", str(self.run))
        exporter = () if self.text_exporter is TextExporter.TORCH else ("--text-exporter", self.text_exporter.value)
        return (*source, *exporter)


def seven_bits(request: Request) -> bool:
    """TensorRT adds in 32 bits on every GPU; ONNX Runtime does not on every processor."""
    return request.target is Target.ONNX and request.cpu is Cpu.ANY


def check_source(request: Request) -> None:
    """Refuse what does not go with a folder in the hub's layout, and an exporter that is not installed.

    Raises:
        ConfigError: names the flag.
    """
    if request.hub_folder:
        if request.target is not Target.ONNX:
            raise ConfigError("--hf writes graphs for ONNX Runtime alone; leave --target out")
        if not request.data and request.precision is Precision.INT8:
            raise ConfigError("--hf has no data of its own to calibrate INT8 on; give some with --data KIND:PATH")
        if not request.data and request.thumbnails:
            raise ConfigError("--hf without --data is compared on generated studies; leave --thumbnails out")
        if request.text_exporter is not TextExporter.TORCH:
            raise ConfigError("--text-exporter is for a run's text encoder; leave it out with --hf")
    elif request.text_exporter is TextExporter.OPTIMUM:
        text_optimum.require()


def check_cpu(request: Request) -> None:
    """Refuse what the processor flag can't mean.

    Raises:
        ConfigError: it is not about these graphs, or the plan was made for other processors.
    """
    if request.cpu is Cpu.VNNI and (request.precision, request.target) != (Precision.INT8, Target.ONNX):
        raise ConfigError(
            f"--cpu vnni is for INT8 on onnx; {request.precision.value} on {request.target.value} is right on any processor: "
            "leave it out"
        )
    if request.plan is not None and request.precision is Precision.INT8 and seven_bits(request):
        wide = [name for name, graph in request.plan.graphs.items() if graph.mode is not Mode.FLOAT and not graph.reduce_range]
        if wide:
            raise ConfigError(
                f"the plan gives {', '.join(wide)} 8-bit weights, whose sums saturate on processors without VNNI; "
                "add --cpu vnni, or export without --plan"
            )


def check_engines(request: Request) -> None:
    """Refuse engines that can't be built, before anything takes minutes.

    Raises:
        ConfigError: they are not for this target, none is to be kept, or TensorRT is not installed.
    """
    if request.engines and request.target is not Target.TENSORRT:
        raise ConfigError("--engines is for --target tensorrt: other bundles have no engines; leave it out")
    if request.keep_engines and not request.engines:
        raise ConfigError("--keep-engines has none to keep; name architectures with --target tensorrt --engines sm86,sm89")
    if request.engines:
        parser.library()


def choose_studies(request: Request, run: Run) -> contextlib.AbstractContextManager[cases.Chosen]:
    """The studies of an export, as long as the context is entered."""
    if request.hub_folder:
        return cases.fresh(request.data)
    return contextlib.nullcontext(cases.choose(run, request.data or None))


def plan_graphs(
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
                reduce_range=seven_bits(request),
                static_only=request.target is Target.TENSORRT,
            )
            if request.target is Target.TENSORRT:
                near_the_limit = typed.overflowing(proto, feeds.of(name)[:_TAPPED])
                plans[name] = plans[name].model_copy(update={"wide": near_the_limit})
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


def engine_shapes(names: Sequence[str], model: MultimodalModel, config: ModelConfig) -> dict[str, dict[str, ShapeRange]]:
    """What an engine is built for, by graph and input.

    Args:
        names: of the graphs.
        model: in evaluation mode, on the CPU.
        config: its configuration.
    """
    side, tokens = config.image_spec.side_px, 0
    if Modality.IMAGE.value in names:
        with torch.inference_mode():
            tokens = model.image(torch.zeros(1, 3, side, side)).shape[1]
    return {name: typed.shapes(name, config, tokens) for name in names}


def read_about(path: Path) -> str:
    """What stands first in the model card.

    Raises:
        ConfigError: the file can't be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"--about {path} can't be read ({type(error).__name__}); give a Markdown file in UTF-8") from None
