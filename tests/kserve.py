"""Requests and answers of the Open Inference Protocol over gRPC, as tests write and read them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from foveal_runtime._proto import open_inference_grpc_pb2 as inference
from foveal_runtime.rpc.tensors import packed


def request_of(outputs: tuple[str, ...] = (), *, raw: bool = False, **inputs: list[Any]) -> Any:
    request = inference.ModelInferRequest(model_name="foveal", id="visit-7")
    for name, values in inputs.items():
        datatype = "FP64" if name.endswith("_years") else "BYTES"
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[len(values)])
        if raw:
            request.raw_input_contents.append(packed(datatype, values))
        else:
            getattr(tensor.contents, "fp64_contents" if datatype == "FP64" else "bytes_contents").extend(values)
    for name in outputs:
        request.outputs.add(name=name)
    return request


def arrays(response: Any) -> dict[str, Any]:
    """Outputs by name, in their shape."""
    found = {}
    for i, output in enumerate(response.outputs):
        if response.raw_output_contents:
            data = response.raw_output_contents[i]
            if output.datatype == "BYTES":
                values, at = [], 0
                while at < len(data):
                    (size,) = struct.unpack_from("<I", data, at)
                    values.append(data[at + 4 : at + 4 + size])
                    at += 4 + size
                found[output.name] = values
                continue
            flat = np.frombuffer(data, {"FP64": "<f8", "FP32": "<f4"}[output.datatype])
        elif output.datatype == "BYTES":
            found[output.name] = list(output.contents.bytes_contents)
            continue
        else:
            flat = np.array(output.contents.fp64_contents or output.contents.fp32_contents)
        found[output.name] = flat.reshape(tuple(output.shape))
    return found
