"""`--variants`: other files for the graphs of a bundle, each judged in the bundle's own place. Chooses none: a machine does.

A variant is the same weights in other arithmetic: INT8 of the other range, calibrated for itself with the same blocks in
floating point; FP16 and FP32; FP16 that computes in FP16, for GPUs, spelt as for TensorRT.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from foveal_export.bundle import writer
from foveal_export.graphs import graphs, observers
from foveal_export.graphs.twins import Attend
from foveal_export.judge import Judge
from foveal_export.parity.document import summary
from foveal_export.parity.outcome import Outcome
from foveal_export.planning import Reporter, Request, plan_graphs
from foveal_export.quantise import saturation
from foveal_export.quantise.fp16 import store_half
from foveal_export.quantise.int8 import to_int8
from foveal_export.quantise.plan import ExportPlan, Mode
from foveal_export.search import keep
from foveal_export.studies import cases
from foveal_export.tensorrt import typed
from foveal_runtime.bundle.manifest import Cpu, Precision, Target, Variant, VariantName
from foveal_runtime.errors import CheckFailed, ConfigError
from foveal_runtime.study.study import Subset
from foveal_train.runs.reference import Reference
from foveal_train.runs.run import Run

_LISTED = 4
"""Limits that a refusal names; a file that is wrong misses dozens."""
INT8 = (VariantName.INT8, VariantName.INT8_REDUCED)


def check_variants(request: Request) -> None:
    """Refuse what can't be a variant of what is asked for.

    Raises:
        ConfigError: names the flag.
    """
    if not request.variants:
        return
    if request.target is not Target.ONNX:
        raise ConfigError(
            "--variants is for --target onnx: TensorRT is given one graph and builds what is fastest; leave it out"
        )
    if any(name in INT8 for name in request.variants):
        if request.precision is not Precision.INT8:
            raise ConfigError("--variants has INT8 in a bundle that is not; export with --precision int8, which FP32 may vary")
        if request.plan is not None:
            raise ConfigError("--variants calibrates INT8 anew, which --plan does not; leave one of them out")


def _other_range(request: Request) -> Request | None:
    """The request whose plan the INT8 variant is made by; None where there is none but the bundle's own."""
    own = VariantName.INT8_REDUCED if request.cpu is Cpu.ANY else VariantName.INT8
    if not any(name in INT8 and name is not own for name in request.variants):
        return None
    return dataclasses.replace(request, cpu=Cpu.VNNI if request.cpu is Cpu.ANY else Cpu.ANY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """What variants are made from."""

    names: tuple[VariantName, ...]
    """What to make."""
    exact: Mapping[str, onnx.ModelProto]
    """FP32 graphs."""
    plain: Mapping[str, onnx.ModelProto]
    """FP32 graphs with attention spelt out; empty where FP16 is not to compute in FP16."""
    other: ExportPlan | None
    """Of INT8 in the other range, as it was calibrated."""

    def build(
        self, name: VariantName, graph: str, plan: ExportPlan, feeds: Sequence[observers.Feeds]
    ) -> tuple[onnx.ModelProto, str, bool]:
        """A graph as a variant, its scheme in words, and whether it takes one study a call.

        Args:
            name: of the variant.
            graph: its graph.
            plan: of the bundle's own graphs, whose blocks stay in floating point.
            feeds: a few inputs, which show what would overflow in FP16.
        """
        if name is VariantName.FP32:
            return self.exact[graph], name.value, False
        if name is VariantName.FP16:
            return store_half(self.exact[graph]), "fp16 weights, fp32 arithmetic", False
        if name is VariantName.FP16_TYPED:
            plain = self.plain[graph]
            return typed.to_typed_half(plain, typed.overflowing(plain, feeds)), "fp16, for GPUs", False
        assert self.other is not None
        kept = [(graph, block) for block in plan.graphs[graph].keep if block not in self.other.graphs[graph].keep]
        made = keep(self.other, kept).graphs[graph]
        return to_int8(self.exact[graph], made), made.described(), made.mode is Mode.DYNAMIC


def prepare(
    request: Request,
    run: Run,
    reference: Reference,
    exact: Mapping[str, onnx.ModelProto],
    chosen: cases.Chosen,
    modalities: Subset,
    say: Reporter,
) -> Sources:
    """What the run has to give for the variants, as long as it is open; see `planning.plan_graphs`."""
    other = _other_range(request)
    plain: dict[str, onnx.ModelProto] = {}
    if VariantName.FP16_TYPED in request.variants:
        plain = {name: graphs.export_graph(run.model, run.info.model, name, Attend.PLAIN) for name in exact}
    return Sources(
        names=request.variants,
        exact=exact,
        plain=plain,
        other=None if other is None else plan_graphs(other, run, reference, exact, chosen, modalities, say)[0],
    )


def add(judge: Judge, folder: Path, outcome: Outcome, plan: ExportPlan, sources: Sources) -> dict[str, dict[str, Variant]]:
    """Write and judge the variants of every graph; what comes out as another file, byte for byte, is left out.

    Args:
        judge: that judged the bundle's own graphs.
        folder: of the bundle.
        outcome: its verdict.
        plan: of its own graphs.
        sources: to make variants from.

    Returns:
        By graph and name.

    Raises:
        CheckFailed: one is out of budget.
    """
    found: dict[str, dict[str, Variant]] = {}
    feeds = judge.feeds() if sources.plain else {}
    for graph, own in outcome.manifest.graphs.items():
        for name in sources.names:
            if name in INT8 and sources.other is None:
                continue  # the bundle's own
            proto, scheme, alone = sources.build(name, graph, plan, feeds.get(graph, ()))
            entry = writer.write_graph(
                folder,
                f"{graph}.{name.value}",
                proto,
                inputs=own.inputs,
                outputs=own.outputs,
                one_at_a_time=alone,
                scheme=scheme,
                cpu=saturation.runs_on({graph: proto}) if name in INT8 else Cpu.ANY,
            )
            if entry.sha256 in {own.sha256, *(each.sha256 for each in found.get(graph, {}).values())}:
                (folder / entry.file).unlink()
                continue
            verdict = judge.judged_with(folder, outcome, graph, entry, proto)
            if verdict.failures:
                listed = "".join(f"\n  {failure}" for failure in verdict.failures[:_LISTED])
                raise CheckFailed(
                    f"variant {name.value} of graph {graph} misses {len(verdict.failures)} limits, nothing written:{listed}\n"
                    f"  leave it out of --variants, or widen --budget"
                )
            found.setdefault(graph, {})[name.value] = Variant(
                **entry.model_dump(), for_gpu=name is VariantName.FP16_TYPED, parity=summary(verdict, judge.verdict.source)
            )
    return found


def document(variants: Mapping[str, Mapping[str, Variant]]) -> dict[str, dict[str, dict[str, Any]]]:
    """What parity.json says of the variants, by graph and name."""
    fields = {"bytes", "scheme", "cpu", "for_gpu", "parity"}
    return {
        graph: {name: each.model_dump(mode="json", include=fields) for name, each in there.items()}
        for graph, there in variants.items()
    }
