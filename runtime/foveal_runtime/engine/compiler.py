"""Compile a bundle's graphs on this machine into the cache folder, through ONNX Runtime's providers. Serves nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.golden import read_golden
from foveal_runtime.bundle.manifest import Target
from foveal_runtime.engine.cachefolder import cache_root, private_folder
from foveal_runtime.engine.compiled import Compiled, find_compiled, write_index, writing
from foveal_runtime.engine.device import device_facts, device_key
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.ort import ort_module
from foveal_runtime.engine.providers import PLUGINS, Provider, Stack, build_options, on_processor, stack
from foveal_runtime.engine.race import race_graphs
from foveal_runtime.engine.selftest import SelfTestReport, self_test
from foveal_runtime.engine.session import open_session, require_processor, require_provider, session_options, stack_of, told
from foveal_runtime.engine.variants import eligible, fastest, safe, served, serving
from foveal_runtime.errors import BundleError, CheckFailed, ConfigError

_RACED = 8
"""Golden studies, about, on which variants are timed: every so many, since they stand subset by subset."""
_MAPPED_BYTES = 1024
"""Weights of at least so many bytes lie in the file that is mapped; the others inside the graph."""


def compile_bundle(bundle: Bundle, provider: Provider, *, threads: int) -> tuple[Compiled, SelfTestReport]:
    """Compile every graph, replay the golden studies through the result, and keep it.

    Of a graph that has variants the fastest is compiled that replays the golden studies within tolerance here.

    Args:
        bundle: an opened bundle, whose hashes were checked.
        provider: to compile for.
        threads: while replaying.

    Raises:
        ConfigError: the provider is not available, the bundle is not for it or for this processor, or the cache folder can't be
            used.
        BundleError: a graph does not load.
        CheckFailed: compiled, the bundle is out of tolerance; nothing is kept then.
    """
    require_provider(provider)
    require_processor(served(bundle, provider).manifest, provider)
    if provider in (Provider.TENSORRT, Provider.TENSORRT_RTX) and bundle.manifest.target is not Target.TENSORRT:
        raise ConfigError(
            f"{bundle.path} was exported for ONNX Runtime's own kernels; export it again with --target tensorrt, or compile it "
            f"for cpu, openvino or cuda"
        )
    chosen, ms = _chosen(bundle, provider)
    with writing(bundle, provider.value) as folder:
        files = {name: _compile(chosen, name, folder, provider) for name in chosen.manifest.graphs}
        made = write_index(folder, chosen, device_facts(provider.value), files, ms)
        report = self_test(Engine(bundle, provider=provider, threads=threads, compiled=made))
        if not report.passed:
            raise CheckFailed(
                f"{bundle.path} is out of tolerance once compiled for {provider.value} on this machine "
                f"({report.failures[0].quantity}, {len(report.failures)} such in all); `foveal verify` lists what is without"
            )
    found = find_compiled(bundle, provider.value)
    assert found is not None
    return found, report


def _chosen(bundle: Bundle, provider: Provider) -> tuple[Bundle, dict[str, dict[str, float]]]:
    """The bundle with the fastest files that answer within tolerance, and the milliseconds of each; empty without a choice.

    Raises:
        CheckFailed: none is within tolerance.
    """
    if not bundle.manifest.variants:
        return bundle, {}
    # Processor time is hardly moved by what else the machine does; a GPU's is another's.
    clock = time.process_time if on_processor(provider) else time.perf_counter
    engines: dict[str, Engine] = {}
    missed: list[str] = []
    for name, candidate in eligible(bundle, provider).items():
        engine = Engine(candidate, provider=provider, threads=1, clock=clock)
        report = self_test(engine)
        if report.passed:
            engines[name] = engine
        else:
            missed.append(f"{name} ({report.failures[0].quantity})")
    if not engines:
        raise CheckFailed(
            f"{bundle.path} is out of tolerance on {provider.value} on this machine, whichever variant is served: "
            f"{', '.join(missed)}; export it for this provider, or do not serve it here"
        )
    first, studies = next(iter(engines.values())), read_golden(bundle).studies
    ms = race_graphs(engines, [first.prepare(study) for study in studies[:: max(1, len(studies) // _RACED)]])
    mixed = serving(bundle, fastest(ms, safe(bundle, provider)))
    if self_test(Engine(mixed, provider=provider, threads=1)).passed:
        return mixed, ms
    return engines[min(ms, key=lambda name: sum(ms[name].values()))].bundle, ms


def _compile(bundle: Bundle, name: str, folder: Path, provider: Provider) -> tuple[str, ...]:
    """Compile one graph; names of its files, first the one to open."""
    options, providers = session_options(1, exact=bundle.manifest.target is Target.TENSORRT), stack(provider)
    graph, weights = f"{name}.onnx", f"{name}.weights"
    if provider is Provider.TENSORRT:
        timing = private_folder(cache_root() / f"timing-{device_key(device_facts(provider.value))}")
        providers = stack(provider, build_options(bundle.manifest.graphs[name], folder / graph, timing))
    else:
        options.optimized_model_filepath = str(folder / graph)
    if provider is Provider.CUDA:
        # What the highest level adds is for the CPU's caches.
        options.graph_optimization_level = ort_module().GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if provider is Provider.CPU:
        for key, value in {
            "session.optimized_model_external_initializers_file_name": weights,
            "session.optimized_model_external_initializers_min_size_in_bytes": str(_MAPPED_BYTES),
            "session.save_external_prepacked_constant_initializers": "1",
        }.items():
            options.add_session_config_entry(key, value)
    if provider in PLUGINS:
        _precompile(bundle, name, options, stack_of(bundle.manifest.graphs[name], provider, 1, compiled=False), folder / graph)
    else:
        open_session(bundle, name, bundle.graph_path(name), options, providers)
    if not (folder / graph).is_file():
        raise BundleError(
            f"{provider.value} wrote nothing for graph {name}: its provider took no part of it; check its libraries, or serve "
            f"with --provider cpu"
        )
    for left in folder.iterdir():
        if left.suffix not in (".onnx", ".weights"):
            left.unlink()  # what a provider leaves beside its engine, which lies in the graph
    return tuple(file for file in (graph, weights) if (folder / file).is_file())


def _precompile(bundle: Bundle, name: str, options: Any, providers: Stack, target: Path) -> None:
    """Write a graph whose nodes hold what a plugin compiled (ONNX Runtime's EPContext).

    Raises:
        ConfigError: the plugin can't be used here.
        BundleError: it refuses the graph.
    """
    arguments = told(options, providers)
    assert not arguments
    try:
        ort_module().ModelCompiler(options, str(bundle.graph_path(name)), embed_compiled_data_into_model=True).compile_to_file(
            str(target)
        )
    except Exception as error:
        raise BundleError(
            f"graph {bundle.manifest.graphs[name].file} is not compiled by {providers[0][0]} ({type(error).__name__}); "
            f"export the bundle again, or use another provider"
        ) from error
