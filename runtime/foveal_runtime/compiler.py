"""Compile a bundle's graphs on this machine into the cache folder, through ONNX Runtime's providers. Serves nothing."""

from __future__ import annotations

from pathlib import Path

from foveal_runtime.bundle import Bundle
from foveal_runtime.compiled import Compiled, find_compiled, write_index, writing
from foveal_runtime.device import device_facts
from foveal_runtime.engine import Engine
from foveal_runtime.errors import CheckFailed, StaleError
from foveal_runtime.selftest import SelfTestReport, self_test
from foveal_runtime.session import Provider, open_session, require_provider, session_options

_MAPPED_BYTES = 1024
"""Weights of at least so many bytes lie in the file that is mapped; the others inside the graph."""


def compile_bundle(bundle: Bundle, provider: Provider, *, threads: int) -> tuple[Compiled, SelfTestReport]:
    """Compile every graph, replay the golden studies through the result, and keep it.

    Args:
        bundle: an opened bundle, whose hashes were checked.
        provider: to compile for.
        threads: while replaying.

    Raises:
        ConfigError: the provider is not available, or the cache folder can't be used.
        BundleError: a graph does not load.
        CheckFailed: compiled, the bundle is out of tolerance; nothing is kept then.
    """
    require_provider(provider)
    with writing(bundle, provider.value) as folder:
        files = {name: _compile(bundle, name, folder, provider) for name in bundle.manifest.graphs}
        made = write_index(folder, bundle, device_facts(provider.value), files)
        report = self_test(Engine(bundle, provider=provider, threads=threads, compiled=made))
        if not report.passed:
            raise CheckFailed(
                f"{bundle.path} is out of tolerance once compiled for {provider.value} on this machine "
                f"({report.failures[0].quantity}, {len(report.failures)} such in all); `foveal verify` lists what is without"
            )
    found = find_compiled(bundle, provider.value)
    assert found is not None
    return found, report


def compiled_or_rebuilt(bundle: Bundle, provider: Provider, *, threads: int) -> tuple[Compiled | None, str]:
    """What `foveal serve` starts from: the compiled graphs, built again when they are there but do not fit; and what was wrong.

    Raises:
        ConfigError, BundleError, CheckFailed: see `compile_bundle`; also a cache folder that others may write in.
    """
    try:
        return find_compiled(bundle, provider.value), ""
    except StaleError as error:
        return compile_bundle(bundle, provider, threads=threads)[0], str(error)


def _compile(bundle: Bundle, name: str, folder: Path, provider: Provider) -> tuple[str, ...]:
    """Compile one graph; names of its files, first the one to open."""
    options = session_options(1)
    graph, weights = f"{name}.onnx", f"{name}.weights"
    options.optimized_model_filepath = str(folder / graph)
    if provider is Provider.CPU:
        for key, value in {
            "session.optimized_model_external_initializers_file_name": weights,
            "session.optimized_model_external_initializers_min_size_in_bytes": str(_MAPPED_BYTES),
            "session.save_external_prepacked_constant_initializers": "1",
        }.items():
            options.add_session_config_entry(key, value)
    open_session(bundle, name, bundle.graph_path(name), options, provider)
    return tuple(file for file in (graph, weights) if (folder / file).is_file())
