"""Which file of a graph is served where a bundle has several: what `foveal compile` chose, else a safe one. Measures nothing.

A safe one is right on this processor by the manifest: 8-bit INT8 where its products are added in 32 bits, else the bundle's own
where that is right, else the smallest that is. A GPU gets what computes in FP16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Cpu, Graph, Manifest, Precision, Target, Variant, VariantName
from foveal_runtime.engine.compiled import Compiled
from foveal_runtime.engine.processor import Processor, this_processor
from foveal_runtime.engine.providers import Provider, on_processor

WORTH = 1.05
"""How many times as fast as the safe one another file has to be: less is within what a machine's moods do."""


def served(
    bundle: Bundle, provider: Provider, compiled: Compiled | None = None, *, processor: Processor | None = None
) -> Bundle:
    """The bundle with one file a graph; itself where it has no more.

    Args:
        bundle: an opened bundle.
        provider: where it runs.
        compiled: what `foveal compile` made of it here.
        processor: None is this one.
    """
    if not bundle.manifest.variants:
        return bundle
    if compiled is None:
        return serving(bundle, safe(bundle, provider, processor))
    return serving(bundle, {name: _name_of(bundle, name, graph.source) for name, graph in compiled.graphs.items()})


def own_name(manifest: Manifest) -> str:
    """What a bundle's own graphs would be called among their variants."""
    if manifest.precision is Precision.INT8 and manifest.target is Target.ONNX and manifest.runs_on is Cpu.ANY:
        return VariantName.INT8_REDUCED
    return manifest.precision.value


def serving(bundle: Bundle, chosen: Mapping[str, str]) -> Bundle:
    """The bundle with one file a graph, and none left to choose from.

    Args:
        bundle: with all its variants.
        chosen: the name of one, or `own_name`, of every graph that has any.
    """
    manifest = bundle.manifest
    graphs = {name: manifest.variants.get(name, {}).get(chosen.get(name, ""), own) for name, own in manifest.graphs.items()}
    vnni = any((graph.cpu or manifest.runs_on) is Cpu.VNNI for graph in graphs.values())
    changes = {"graphs": graphs, "variants": {}, "cpu": Cpu.VNNI if vnni else Cpu.ANY}
    served = {name: chosen[name] for name in manifest.variants}
    return replace(bundle, manifest=manifest.model_copy(update=changes), served=served)


def safe(bundle: Bundle, provider: Provider, processor: Processor | None = None) -> dict[str, str]:
    """Name of the file that is served of every graph when nothing was measured.

    Args:
        bundle: with all its variants.
        provider: where it runs.
        processor: None is this one.
    """
    here = this_processor() if processor is None else processor
    return {name: _safe(bundle, name, provider, here) for name in bundle.manifest.variants}


def eligible(bundle: Bundle, provider: Provider, processor: Processor | None = None) -> dict[str, Bundle]:
    """What may be served here, by the variant's name: graphs that have no such file keep their safe one.

    Args:
        bundle: with all its variants.
        provider: where it runs.
        processor: None is this one.
    """
    here = this_processor() if processor is None else processor
    default = safe(bundle, provider, here)
    by_graph = {name: _usable(bundle, name, provider, here) for name in bundle.manifest.variants}
    names = dict.fromkeys(each for there in by_graph.values() for each in there)
    return {
        each: serving(bundle, {name: each if each in there else default[name] for name, there in by_graph.items()})
        for each in names
    }


def fastest(ms: Mapping[str, Mapping[str, float]], default: Mapping[str, str]) -> dict[str, str]:
    """Name of the fastest file of every graph.

    Args:
        ms: milliseconds a study by name of the variant and graph; only of what answers within tolerance here.
        default: what stays where nothing is `WORTH` more, by graph.
    """
    chosen = {}
    for graph, own in default.items():
        best = min(ms, key=lambda name: ms[name][graph])
        gains = own not in ms or ms[own][graph] >= WORTH * ms[best][graph]
        chosen[graph] = best if gains else own
    return chosen


def _files(bundle: Bundle, name: str) -> dict[str, Graph]:
    manifest = bundle.manifest
    return {own_name(manifest): manifest.graphs[name], **manifest.variants.get(name, {})}


def _usable(bundle: Bundle, name: str, provider: Provider, here: Processor) -> dict[str, Graph]:
    """The files of a graph that are right on a provider."""
    if not on_processor(provider):
        return _files(bundle, name)
    return {
        each: graph
        for each, graph in _files(bundle, name).items()
        if not (isinstance(graph, Variant) and graph.for_gpu)
        and not (here.saturates and (graph.cpu or bundle.manifest.runs_on) is Cpu.VNNI)
    }


def _safe(bundle: Bundle, name: str, provider: Provider, here: Processor) -> str:
    own, usable = own_name(bundle.manifest), _usable(bundle, name, provider, here)
    if not on_processor(provider):
        return VariantName.FP16_TYPED if VariantName.FP16_TYPED in usable else own
    if here.saturates is False and VariantName.INT8 in usable:
        return VariantName.INT8
    # Nothing is usable of an INT8 bundle for VNNI alone on another processor: its own file is refused by name.
    return own if own in usable or not usable else min(usable, key=lambda each: usable[each].bytes)


def _name_of(bundle: Bundle, name: str, sha256: str) -> str:
    """The variant that a compiled graph was made from."""
    return next(each for each, graph in _files(bundle, name).items() if graph.sha256 == sha256)
