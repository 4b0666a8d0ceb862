"""ONNX Runtime sessions of a bundle for one provider. Knows nothing of studies or batches.

Legend of shape suffixes used from here to the worker: B batch, T tokens, D embedding width, C channels, H/W pixels,
F record features, G grades, M modalities.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import FUSION, Cpu, Graph, Manifest, Target, Tensor
from foveal_runtime.engine.cachefolder import cache_root, private_folder
from foveal_runtime.engine.compiled import Compiled
from foveal_runtime.engine.device import device_facts, device_key
from foveal_runtime.engine.ort import ort_module
from foveal_runtime.engine.plugins import is_built_in, lacks, plugin_devices
from foveal_runtime.engine.processor import Processor, this_processor
from foveal_runtime.engine.providers import (
    ORT_NAMES,
    PLUGINS,
    Provider,
    Stack,
    engine_options,
    on_processor,
    openvino_options,
    rtx_options,
    stack,
)
from foveal_runtime.errors import BundleError, ConfigError
from foveal_runtime.study.study import Modality

Array = npt.NDArray[Any]

_KINDS = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}
"""ONNX Runtime's spelling, and the manifest's."""


def provider_of(name: str) -> Provider:
    """The provider of that name.

    Raises:
        ConfigError: there is no such provider.
    """
    try:
        return Provider(name)
    except ValueError:
        raise ConfigError(f"no provider {name!r}; this runtime knows {', '.join(Provider)}") from None


def available_providers() -> tuple[Provider, ...]:
    """What the installed ONNX Runtime was built with, and the plugins that are installed and can run here.

    Raises:
        ConfigError: no ONNX Runtime is installed.
    """
    return tuple(p for p in Provider if (not lacks(p) if p in PLUGINS else is_built_in(p)))


class RunsGraph(Protocol):
    """Runs one graph of a bundle, wherever."""

    @property
    def one_at_a_time(self) -> bool:
        """True: call with one row, unpadded."""

    def __call__(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Outputs by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphSession:
    """One graph, loaded."""

    name: str
    one_at_a_time: bool
    """True: call with one row, unpadded."""
    _session: Any
    _outputs: tuple[str, ...]

    def __call__(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run the graph; outputs by name."""
        return dict(zip(self._outputs, self._session.run(list(self._outputs), feeds), strict=True))


def require_provider(provider: Provider) -> None:
    """Refuse a provider that this installation lacks.

    Raises:
        ConfigError: it is not in this installation, and which are; or what a plugin lacks on this machine.
    """
    if is_built_in(provider):
        return
    if provider in PLUGINS:
        plugin_devices(provider)
    else:
        raise ConfigError(
            f"provider {provider.value!r} is not in the installed ONNX Runtime, which has {', '.join(available_providers())}; "
            f"choose one of those, or install foveal[gpu] on a machine with an NVIDIA GPU"
        )


def require_processor(manifest: Manifest, provider: Provider, processor: Processor | None = None) -> None:
    """Refuse INT8 graphs whose sums this processor would saturate without a word.

    Args:
        manifest: the bundle's.
        provider: where it is to run; only kernels of the processor saturate.
        processor: None is this one.

    Raises:
        ConfigError: the bundle is for processors with VNNI, this one has none.
    """
    here = this_processor() if processor is None else processor
    if on_processor(provider) and manifest.runs_on is Cpu.VNNI and here.saturates:
        raise ConfigError(
            f"this INT8 bundle was exported for processors with VNNI, this one is {here}: its 16-bit sums would saturate and "
            f"answers be wrong; export again without --cpu vnni, or serve it on a processor with VNNI"
        )


def open_sessions(
    bundle: Bundle, provider: Provider, threads: int, compiled: Compiled | None = None, *, exact: bool = False
) -> dict[str, GraphSession]:
    """Load every graph of a bundle, by its name in the manifest.

    Args:
        bundle: whose hashes were checked.
        provider: where to run; nothing else is tried when it is missing.
        threads: threads inside one graph call, at least 1.
        compiled: the bundle's graphs compiled on this device, whose hashes were checked; None loads the bundle's own.
        exact: add INT8 products in 32 bits on every processor, at the cost of time: for who judges what another will compute.

    Raises:
        ConfigError: the provider is not in this installation, cannot start here, or computes the graphs otherwise here.
        BundleError: a graph does not load, or its inputs are not those of the manifest.
    """
    require_provider(provider)
    if not exact:
        require_processor(bundle.manifest, provider)
    if threads < 1:
        raise ConfigError(f"threads is {threads}, at least 1 is needed")
    order = [str(name) for name in (*Modality, FUSION) if name in bundle.manifest.graphs]
    sessions = {}
    for name in order:
        options = session_options(threads, exact=exact or bundle.manifest.target is Target.TENSORRT)
        source = bundle.graph(name) if compiled is None else compiled.path(name)
        if compiled is not None and provider is Provider.CPU:
            # What optimisation found lies in the file; doing it again costs start-up and finds nothing.
            options.graph_optimization_level = ort_module().GraphOptimizationLevel.ORT_DISABLE_ALL
        providers = stack_of(bundle.manifest.graphs[name], provider, threads, compiled=compiled is not None)
        sessions[name] = open_session(bundle, name, source, options, providers)
    return sessions


def stack_of(graph: Graph, provider: Provider, threads: int, *, compiled: bool) -> Stack:
    """Providers of one graph with what each has to be told.

    Args:
        graph: of the manifest.
        provider: the one that was asked for.
        threads: inside one graph call.
        compiled: the graph was compiled for this device before.

    Raises:
        ConfigError: the folder where a provider keeps its kernels can't be used.
    """
    if provider is Provider.OPENVINO:
        return stack(provider, openvino_options(threads, built_in=is_built_in(provider)))
    if provider is Provider.TENSORRT_RTX:
        kernels = private_folder(cache_root() / f"kernels-{device_key(device_facts(provider.value))}")
        return stack(provider, rtx_options(graph, kernels))
    if provider is Provider.TENSORRT and not compiled:
        return stack(provider, engine_options(graph))
    return stack(provider)


def session_options(threads: int, *, exact: bool = False) -> Any:
    """ONNX Runtime's options of every session foveal opens.

    Args:
        threads: inside one graph call.
        exact: add INT8 products in 32 bits where the fast kernels saturate; changes nothing on other processors.

    Raises:
        ConfigError: no ONNX Runtime is installed.
    """
    options = ort_module().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; ORT's own lines would tear the server's log
    # An arena keeps what the largest batch ever took: 25 MB more with `edge` INT8, and no less time (docs/decisions.md).
    options.enable_cpu_mem_arena = False
    # Threads that spin between the many small calls of a batch take the cores that decode the next photographs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if exact:
        # Weights become U8, whose kernels on AVX2 widen before they add.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def open_session(bundle: Bundle, name: str, source: Path | bytes, options: Any, providers: Stack) -> GraphSession:
    """Load one graph.

    Args:
        bundle: the graph's.
        name: in the manifest.
        source: the bundle's file or what was compiled from it, or its bytes.
        options: from `session_options`.
        providers: where to run, with options.

    Raises:
        ConfigError: the provider cannot start on this machine.
        BundleError: the graph does not load, or its inputs are not those of the manifest.
    """
    spec = bundle.manifest.graphs[name]
    wanted = providers[0][0]
    try:
        loaded = source if isinstance(source, bytes) else str(source)
        # Without this ONNX Runtime prints that a provider failed, and goes on with its CPU provider.
        session = ort_module().InferenceSession(loaded, options, enable_fallback=0, **told(options, providers))
    except ConfigError:
        raise
    except Exception as error:
        raise BundleError(
            f"graph {spec.file} does not load on {wanted} ({type(error).__name__}); "
            f"export the bundle again, or use another provider"
        ) from error
    if session.get_providers()[0] != wanted:
        # ORT drops a provider whose libraries it can't load and goes on without a word.
        raise ConfigError(
            f"{wanted} is built in but cannot start on this machine "
            f"(only {', '.join(session.get_providers())} did); check its driver and libraries, or choose another"
        )
    session.disable_fallback()
    _check_names(spec, {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()})
    for tensor in (*spec.inputs, *spec.outputs):
        found = next(each for each in (*session.get_inputs(), *session.get_outputs()) if each.name == tensor.name)
        _check_tensor(spec, tensor, found.type, found.shape)
    return GraphSession(
        name=name,
        one_at_a_time=spec.one_at_a_time,
        _session=session,
        _outputs=tuple(o.name for o in session.get_outputs()),
    )


def told(options: Any, providers: Stack) -> dict[str, Any]:
    """The providers as further arguments of a session; a plugin is added to the options and leaves none, unless it is built in.

    Args:
        options: of the session, changed for a plugin.
        providers: where to run; after a plugin ONNX Runtime puts its CPU provider itself.

    Raises:
        ConfigError: the plugin can't be used here.
    """
    first, first_options = providers[0]
    plugin = next((p for p in PLUGINS if ORT_NAMES[p] == first), None)
    if plugin is None or is_built_in(plugin):
        return {"providers": providers}
    options.add_provider_for_devices(plugin_devices(plugin), first_options)
    return {}


def _check_names(spec: Graph, inputs: set[str], outputs: set[str]) -> None:
    expected_in, expected_out = {t.name for t in spec.inputs}, {t.name for t in spec.outputs}
    if inputs != expected_in or not expected_out <= outputs:
        raise BundleError(
            f"graph {spec.file} has inputs {sorted(inputs)} and outputs {sorted(outputs)} where the manifest says "
            f"{sorted(expected_in)} and {sorted(expected_out)}; export the bundle again"
        )


def _check_tensor(spec: Graph, tensor: Tensor, kind: str, shape: list[int | str | None]) -> None:
    """Refuse an input or output that is not what the manifest says of it; axes without a number fit every one."""
    same_kind = _KINDS.get(kind, kind) == tensor.dtype
    same_rank = len(shape) == len(tensor.shape)
    pairs = zip(shape, tensor.shape, strict=False)
    if not same_kind or not same_rank or any(a != b for a, b in pairs if isinstance(a, int) and isinstance(b, int)):
        raise BundleError(
            f"graph {spec.file} has {tensor.name} as {_KINDS.get(kind, kind)} {shape} where the manifest says {tensor.dtype} "
            f"{list(tensor.shape)}; export the bundle again"
        )
