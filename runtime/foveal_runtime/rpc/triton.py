"""A bundle as a model of Triton's Python backend: everything but the graphs, which Triton runs as models of their own.

`foveal export --layout triton` writes the repository (docs/deployment.md). Inputs and outputs are those of `inference_tensors`,
so a program that grades through `foveal serve`'s KServe protocol grades here unmodified. Before the first answer the golden
studies are replayed through Triton's graphs: where they are out of tolerance nothing is answered.
`triton_python_backend_utils` is a module of Triton's that exists inside its Python processes alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal_runtime._proto import screening_pb2
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.engine.answers import Ask, Outcome, check_trained
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.grading import check_given, grade
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.errors import CheckFailed, FovealError, UnavailableError
from foveal_runtime.rpc.grade_messages import embed_result, grade_to
from foveal_runtime.rpc.inference_tensors import INPUTS, VECTOR_OUTPUTS, graded_tensors, studies_of, vector_tensors
from foveal_runtime.rpc.messages import study_from
from foveal_runtime.rpc.status import status_of
from foveal_runtime.rpc.tensors import BYTES, Tensor
from foveal_runtime.serving.request import Answer

if TYPE_CHECKING:
    from foveal_runtime.engine.session import Array

BUNDLE = "bundle"
"""Folder of the bundle inside the model's version."""
GIVEN = "evidence"
"""Parameter of the model: evidence whose grades are given, with commas; `proven` alone by default."""


def graph_model(graph: str) -> str:
    """Name of Triton's model of a graph."""
    return f"foveal_{graph}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TritonGraph:
    """One graph, run by Triton."""

    name: str
    one_at_a_time: bool
    outputs: tuple[str, ...]
    utils: Any
    """`triton_python_backend_utils`."""

    def __call__(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run the graph; outputs by name.

        Raises:
            UnavailableError: Triton could not; its words are not passed on, since they may quote an input.
        """
        utils = self.utils
        response = utils.InferenceRequest(
            model_name=graph_model(self.name),
            requested_output_names=list(self.outputs),
            inputs=[utils.Tensor(name, values) for name, values in feeds.items()],
        ).exec()
        if response.has_error():
            raise UnavailableError(f"Triton's model {graph_model(self.name)} failed; its log says why")
        return {name: utils.get_output_tensor_by_name(response, name).as_numpy() for name in self.outputs}


class TritonPythonModel:
    """What Triton calls; its method names are Triton's."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the bundle that lies in this version's folder."""
        self._utils = import_module("triton_python_backend_utils")
        bundle = Bundle.open(Path(args["model_repository"]) / args["model_version"] / BUNDLE)
        graphs = {
            name: TritonGraph(
                name=name,
                one_at_a_time=graph.one_at_a_time,
                outputs=tuple(tensor.name for tensor in graph.outputs),
                utils=self._utils,
            )
            for name, graph in bundle.manifest.graphs.items()
        }
        self._engine = Engine(bundle, threads=1, graphs=graphs)
        parameters = json.loads(args["model_config"]).get("parameters", {})
        asked = parameters.get(GIVEN, {}).get("string_value", Evidence.PROVEN.value)
        self._given = frozenset(Evidence(each.strip()) for each in asked.split(","))
        self._tested = False

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request; what is wrong with a whole request is its error."""
        responses = []
        for request in requests:
            try:
                tensors = self._answer(request)
                outputs = [self._utils.Tensor(each.name, as_array(each)) for each in tensors]
                responses.append(self._utils.InferenceResponse(output_tensors=outputs))
            except FovealError as error:
                told = self._utils.TritonError(f"{error.reason}: {error}")
                responses.append(self._utils.InferenceResponse(output_tensors=[], error=told))
        return responses

    def _answer(self, request: Any) -> list[Tensor]:
        self._test()
        utils, manifest = self._utils, self._engine.manifest
        given = {name: utils.get_input_tensor_by_name(request, name) for name in INPUTS}
        messages = studies_of({name: each.as_numpy().tolist() for name, each in given.items() if each is not None})
        wanted = set(request.requested_output_names())
        kinds = [kind for name, kind in VECTOR_OUTPUTS.items() if name in wanted]
        tensors: list[Tensor] = []
        if wanted - VECTOR_OUTPUTS.keys():
            graded = self._each(messages, Ask())
            results = [self._graded(message.id, each) for message, each in zip(messages, graded, strict=True)]
            tensors += graded_tensors(results, manifest.heads)
        if kinds:
            embedded = self._each(messages, Ask(frozenset(kinds), grade=False))
            results = [
                embed_result(message.id, each, f"studies[{i}]")
                for i, (message, each) in enumerate(zip(messages, embedded, strict=True))
            ]
            tensors += vector_tensors(results, kinds, manifest.embedding_dim)
        return [each for each in tensors if each.name in wanted]

    def _test(self) -> None:
        """Replay the golden studies before the first answer.

        Raises:
            CheckFailed: this machine's graphs do not answer as PyTorch did.
        """
        if self._tested:
            return
        report = self_test(self._engine)
        if not report.passed:
            first = report.failures[0]
            got = f"{first.quantity} is {first.got:.4g}, limit {first.limit:.4g}"
            raise CheckFailed(f"the self-test failed ({got}); nothing is answered")
        self._tested = True

    def _each(self, messages: Sequence[Any], ask: Ask) -> list[Answer | FovealError]:
        """The engine's answer to each study, or what is wrong with it: one bad study does not hurt its neighbours."""
        engine, found = self._engine, list[FovealError | None]()
        prepared = []
        for message in messages:
            try:
                study = study_from(message)
                check_trained(engine.manifest, study.modalities, ask)
                if ask.grade:
                    check_given(engine.manifest, study.modalities, self._given)
                item = engine.prepare(study)
                check_trained(engine.manifest, item.subset, ask)
            except FovealError as error:
                found.append(error)
            else:
                found.append(None)
                prepared.append(item)
        answers = (_answered(each) for each in engine.run_each(prepared, [ask] * len(prepared)))
        return [next(answers) if each is None else each for each in found]

    def _graded(self, study_id: str, found: Answer | FovealError) -> Any:
        if isinstance(found, FovealError):
            return screening_pb2.GradeResult(id=study_id, error=status_of(found, path="studies"))
        grades = grade(found.outcome, self._engine.manifest, given=self._given)
        return screening_pb2.GradeResult(id=study_id, grade=grade_to(found, grades))


def _answered(found: Outcome | FovealError) -> Answer | FovealError:
    return found if isinstance(found, FovealError) else Answer(outcome=found, queue_ms=0.0)


def as_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """As Triton takes it."""
    kind = np.object_ if tensor.datatype == BYTES else np.float64 if tensor.datatype == "FP64" else np.float32
    return np.asarray(tensor.values, dtype=kind).reshape(tensor.shape)
