"""The Open Inference Protocol (KServe v2): its messages to those of `Screening` and back. Decides nothing of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from foveal_runtime import __version__
from foveal_runtime._proto import open_inference_grpc_pb2 as inference
from foveal_runtime._proto import open_inference_grpc_pb2_grpc as inference_grpc
from foveal_runtime._proto import screening_pb2
from foveal_runtime.errors import FovealError, InputError, NotFoundError
from foveal_runtime.rpc.inbox import LARGE_BYTES, message_bytes
from foveal_runtime.rpc.inference_tensors import (
    INPUTS,
    VECTOR_OUTPUTS,
    WORD_OUTPUTS,
    grade_outputs,
    graded_tensors,
    probabilities_of,
    studies_of,
    vector_tensors,
)
from foveal_runtime.rpc.messages import KIND_TO
from foveal_runtime.rpc.model_asked import MODEL_KEY, VERSION_KEY, model_asked
from foveal_runtime.rpc.status import error_of
from foveal_runtime.rpc.tensors import BYTES, FP32, FP64, Tensor, outputs_to, read_inputs
from foveal_runtime.serving.router import DEFAULT

if TYPE_CHECKING:
    from foveal_runtime.rpc.health_service import Health
    from foveal_runtime.rpc.service import ScreeningService
    from foveal_runtime.serving.host import ModelHost
    from foveal_runtime.serving.router import Router

NAME = "foveal"
"""Of the default model; others have the names that `x-foveal-model` takes."""
EXTENSIONS = ("binary_tensor_data",)
OPERATING_POINT = "operating_point"
"""Parameter of a request: as in `GradeRequest`."""
_VERSION_DIGITS = 12
_EMPTY = ("", NAME)


class InferenceService(inference_grpc.GRPCInferenceServiceServicer):
    """Answers as `Screening` does, in tensors."""

    def __init__(self, screening: ScreeningService, router: Router, health: Health) -> None:
        """Args:
        screening: that answers.
        router: to the models.
        health: of the server.
        """
        self._screening, self._router, self._health = screening, router, health

    async def ServerLive(self, request: Any, context: Any) -> Any:
        return inference.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        return inference.ServerReadyResponse(ready=self._health.is_serving())

    async def ModelReady(self, request: Any, context: Any) -> Any:
        ready = self._host(request.name, request.version).healthy and self._health.is_serving()
        return inference.ModelReadyResponse(ready=ready)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        return inference.ServerMetadataResponse(name=NAME, version=__version__, extensions=EXTENSIONS)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        host = self._host(request.name, request.version)
        vectors = [Tensor(name, FP32, (-1, host.bundle.manifest.embedding_dim), ()) for name in VECTOR_OUTPUTS]
        heads = host.bundle.manifest.heads
        described = [Tensor(name, BYTES, (-1,), ()) for name in WORD_OUTPUTS]
        described += [Tensor(probabilities_of(head), FP64, (-1, len(classes) + 1), ()) for head, classes in heads.items()]
        return inference.ModelMetadataResponse(
            name=request.name or NAME,
            versions=[_version(host)],
            platform="foveal",
            inputs=[_metadata(Tensor(name, datatype, (-1,), ())) for name, datatype in INPUTS.items()],
            outputs=[_metadata(each) for each in (*described, *vectors)],
        )

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        host = self._host(request.model_name, request.model_version)
        heads = host.bundle.manifest.heads
        wanted = [each.name for each in request.outputs] or list(grade_outputs(heads))
        known = (*grade_outputs(heads), *VECTOR_OUTPUTS)
        if set(wanted) - set(known) or len(set(wanted)) < len(wanted):
            raise InputError(f"outputs names one twice, or one that is none of {', '.join(known)}")
        if (message_bytes() or 0) >= LARGE_BYTES:
            studies = await asyncio.to_thread(self._studies, request)
        else:
            studies = self._studies(request)
        asked = _Asked(context, request)
        tensors: dict[str, Tensor] = {}
        answered = ""
        if not VECTOR_OUTPUTS.keys() >= set(wanted):
            point = request.parameters[OPERATING_POINT].string_param if OPERATING_POINT in request.parameters else ""
            graded = await self._screening.Grade(_Wanted(screening_pb2.GradeRequest(operating_point=point), studies), asked)
            tensors |= _named(graded_tensors(_some(graded.results), heads))
            answered = graded.model.bundle_sha256
        kinds = [kind for name, kind in VECTOR_OUTPUTS.items() if name in wanted]
        if kinds:
            request_of_kinds = screening_pb2.EmbedRequest(kinds=[KIND_TO[kind] for kind in kinds])
            embedded = await self._screening.Embed(_Wanted(request_of_kinds, studies), asked)
            tensors |= _named(vector_tensors(_some(embedded.results), kinds, host.bundle.manifest.embedding_dim))
            answered = answered or embedded.model.bundle_sha256
        response = inference.ModelInferResponse(
            model_name=request.model_name or NAME, model_version=answered[:_VERSION_DIGITS], id=request.id
        )
        outputs_to(response, [tensors[name] for name in wanted], raw=bool(request.raw_input_contents))
        return response

    def _studies(self, request: Any) -> list[Any]:
        return studies_of(read_inputs(request, self._screening.max_studies))

    def _host(self, name: str, version: str) -> ModelHost:
        """The model of a name and a version.

        Raises:
            NotFoundError: there is none.
        """
        try:
            return self._router.route(*_routed(name, version))
        except InputError as error:
            have = ", ".join(NAME if known == DEFAULT else known for known in self._router.named)
            raise NotFoundError(f"no such model, or not in that version; this server has {have}") from error


class _Wanted:
    """A request of `Screening` with studies of its own: in the message itself, every photograph would be a copy."""

    def __init__(self, request: Any, studies: list[Any]) -> None:
        self._request, self.studies = request, studies

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


class _Asked:
    """A call's context, which asks for the model that its message names."""

    def __init__(self, context: Any, request: Any) -> None:
        self._context = context
        name, version = _routed(request.model_name, request.model_version)
        asked_name, asked_version = model_asked(context)
        self._metadata = ((MODEL_KEY, name or asked_name), (VERSION_KEY, version or asked_version))

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _routed(name: str, version: str) -> tuple[str, str]:
    """A name and a version as `Router` takes them: without either a call may go to the canary."""
    return ("" if name in _EMPTY else name), version


def _version(host: ModelHost) -> str:
    return host.bundle.sha256[:_VERSION_DIGITS]


def _named(tensors: list[Tensor]) -> dict[str, Tensor]:
    return {each.name: each for each in tensors}


def _metadata(tensor: Tensor) -> Any:
    return inference.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _some(results: Any) -> Any:
    """The results, where at least one is an answer: the protocol has no errors of rows, and a call of one study is the rule.

    Raises:
        FovealError: the first one's, where every one is an error.
    """
    if all(each.HasField("error") for each in results):
        error: FovealError = error_of(results[0].error)
        raise error
    return results
