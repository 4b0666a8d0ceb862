"""One engine of `engines.py` in a process of its own: runs a run's or a bundle's graphs, or products of matrices, when asked.

    python benchmarks/engine_runner.py ENGINE THREADS [name=FILE ...] < requests > answers

`ENGINE` is torch, torch-compile, onnxruntime, openvino, served or gemm. The files are `run` (a folder, for PyTorch), `bundle`
(a folder), `image` and `fusion` (ONNX), and `also`, a folder of packages that this environment lacks. Requests: `tokens`
(pixels, out: what the image graph gives for each photograph alone), `graph` (pixels, batch, repeat: milliseconds of the image
graph), `photograph` (files, repeat: from bytes to the joint vector and grades, decoding by foveal's own code in all engines),
`gemm` (side, repeat: billions of operations a second), `close`. Times are of the wall clock and of the processor.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

PIXELS = "pixels_BCHW"
Runs = Callable[[dict[str, Any]], dict[str, Any]]


class Torch:
    """The run's own modules, as they are exported, eagerly or compiled by Inductor."""

    def __init__(self, files: dict[str, str], threads: int, *, compiled: bool) -> None:
        import torch

        torch.set_num_threads(threads)
        self._files, self._compiled = files, compiled

    def graph(self, name: str) -> Runs:
        import torch

        from foveal_export.graphs.graphs import graph_spec
        from foveal_export.graphs.twins import Attend, twin
        from foveal_train.runs.run import Run

        run = Run.open(Path(self._files["run"]))
        spec = graph_spec(name, run.info.model, run.model.embedding_dim)
        module: Any = twin(run.model.eval(), name, Attend.FUSED)
        if self._compiled:
            module = torch.compile(module, dynamic=False)

        def call(feeds: dict[str, Any]) -> dict[str, Any]:
            with torch.inference_mode():
                found = module(*(torch.from_numpy(np.ascontiguousarray(feeds[tensor.name])) for tensor in spec.inputs))
            found = found if isinstance(found, (tuple, list)) else (found,)
            return {tensor.name: value.numpy() for tensor, value in zip(spec.outputs, found, strict=True)}

        return call


class OnnxRuntime:
    """An ONNX file with the session's default options but for the threads."""

    def __init__(self, files: dict[str, str], threads: int) -> None:
        self._files, self._threads = files, threads

    def graph(self, name: str) -> Runs:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = self._threads, 3
        session = ort.InferenceSession(self._files[name], options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda feeds: dict(zip(names, session.run(None, feeds), strict=True))


class OpenVino:
    """An ONNX file in OpenVINO's own API, with the settings that foveal gives its plugin."""

    def __init__(self, files: dict[str, str], threads: int) -> None:
        self._files, self._threads = files, threads

    def graph(self, name: str) -> Runs:
        import openvino

        from foveal_runtime.engine.providers import openvino_options

        settings = json.loads(openvino_options(self._threads)["load_config"])["CPU"]
        compiled = openvino.Core().compile_model(self._files[name], "CPU", settings)
        request = compiled.create_infer_request()

        def call(feeds: dict[str, Any]) -> dict[str, Any]:
            request.infer(feeds)
            return {output.any_name: request.get_tensor(output).data.copy() for output in compiled.outputs}

        return call


class Served:
    """The bundle as a worker loads it, compiled or not."""

    def __init__(self, files: dict[str, str], threads: int) -> None:
        from foveal_runtime.bundle.bundle import Bundle
        from foveal_runtime.engine.compiled import find_compiled
        from foveal_runtime.engine.engine import Engine

        bundle = Bundle.open(Path(files["bundle"]))
        self._engine = Engine(bundle, threads=threads, compiled=find_compiled(bundle, "cpu"))

    def graph(self, name: str) -> Runs:
        session = self._engine._sessions[name]

        def call(feeds: dict[str, Any]) -> dict[str, Any]:
            if not session.one_at_a_time:
                return session(feeds)
            rows = len(next(iter(feeds.values())))
            alone = [session({key: value[row : row + 1] for key, value in feeds.items()}) for row in range(rows)]
            return {key: np.concatenate([each[key] for each in alone]) for key in alone[0]}

        return call


ENGINES: dict[str, Callable[[dict[str, str], int], Any]] = {
    "torch": lambda files, threads: Torch(files, threads, compiled=False),
    "torch-compile": lambda files, threads: Torch(files, threads, compiled=True),
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "served": Served,
}


class OneGraph:
    """A graph of an engine, as `Engine` wants it."""

    one_at_a_time = False

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def __call__(self, feeds: dict[str, Any]) -> dict[str, Any]:
        return self._runs(feeds)


class Work:
    """What the process can be asked; a method a request."""

    def __init__(self, engine: str, threads: int, files: dict[str, str]) -> None:
        self._name, self._threads, self._files = engine, threads, files
        self._products: dict[str, tuple[Callable[[], object], int]] = {}

    @cached_property
    def _built(self) -> Any:
        return ENGINES[self._name](self._files, self._threads)

    @cached_property
    def _image(self) -> Runs:
        runs: Runs = self._built.graph("image")
        return runs

    @cached_property
    def _path(self) -> Any:
        from foveal_runtime.bundle.bundle import Bundle
        from foveal_runtime.engine.engine import Engine

        graphs = {name: OneGraph(self._image if name == "image" else self._built.graph(name)) for name in ("image", "fusion")}
        return Engine(Bundle.open(Path(self._files["bundle"])), threads=self._threads, graphs=graphs)

    def tokens(self, pixels: str, out: str) -> dict[str, Any]:
        images = np.load(pixels)
        np.save(out, np.concatenate([next(iter(self._image({PIXELS: image[None]}).values())) for image in images]))
        return {}

    def graph(self, pixels: str, batch: int, repeat: int) -> dict[str, Any]:
        images = np.resize(np.load(pixels, mmap_mode="r")[:batch], (batch, *np.load(pixels, mmap_mode="r").shape[1:]))
        return timed(lambda: self._image({PIXELS: images}), repeat)

    def photograph(self, files: list[str], repeat: int) -> dict[str, Any]:
        from foveal_runtime.study.study import Study

        studies = [Study(image=Path(file).read_bytes()) for file in files]
        engine = self._path
        found = timed(lambda: [engine.run([engine.prepare(study)]) for study in studies], repeat)
        return {name: [value / len(files) for value in values] for name, values in found.items()}

    def gemm(self, side: int, repeat: int) -> dict[str, Any]:
        if not self._products:
            self._products = products(side, self._threads)
        best = {name: min(timed(product, repeat)["ms"]) for name, (product, _) in self._products.items()}
        return {"gops": {name: self._products[name][1] / ms / 1e6 for name, ms in best.items()}}

    def close(self) -> dict[str, Any]:
        return {}


def products(side: int, threads: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Products of square matrices by name, `LIBRARY PRECISION`, with the operations of each."""
    import torch

    from export_speed import _CALLS, _gemm

    torch.set_num_threads(threads)
    a, b = torch.rand(side, side), torch.rand(side, side)
    a8, b8 = (torch.randint(-127, 128, (side, side), dtype=torch.int8) for _ in range(2))
    work = 2 * side**3
    return {
        "torch fp32": (lambda: torch.mm(a, b), work),
        "torch int8": (lambda: torch._int_mm(a8, b8), work),
        "onnxruntime int8": (_gemm((side, side, side), threads), work * _CALLS),
    }


def timed(work: Callable[[], object], repeat: int) -> dict[str, list[float]]:
    """Milliseconds of each of so many times, by the wall clock and by the processor's."""
    found: dict[str, list[float]] = {"ms": [], "cpu_ms": []}
    for _ in range(repeat):
        started, cpu = time.perf_counter(), time.process_time()
        work()
        found["ms"].append((time.perf_counter() - started) * 1e3)
        found["cpu_ms"].append((time.process_time() - cpu) * 1e3)
    return found


def main() -> None:
    """Answer until the requests end."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print; only answers may stand on the pipe
    files = dict(word.split("=", 1) for word in sys.argv[3:])
    if "also" in files:
        sys.path.append(files["also"])  # after this environment's own packages
    work = Work(sys.argv[1], int(sys.argv[2]), files)
    for line in sys.stdin:
        request = json.loads(line)
        do = request.pop("do")
        try:
            answers.write(json.dumps({"done": do, **getattr(work, do)(**request)}) + "\n")
        except Exception as error:  # noqa: BLE001 - of whatever library; the caller decides
            answers.write(json.dumps({"done": do, "error": f"{type(error).__name__}: {error}"[:500]}) + "\n")
        if do == "close":
            return


if __name__ == "__main__":
    main()
