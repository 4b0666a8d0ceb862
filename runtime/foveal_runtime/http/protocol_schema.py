"""What the OpenAPI document says of the Open Inference Protocol's JSON, which is the protocol's and not made of descriptors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foveal_runtime.rpc.inference_tensors import INPUTS
from foveal_runtime.rpc.limits import MAX_TENSORS

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_READY: Schema = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
_SHAPE: Schema = {"type": "array", "items": {"type": "integer"}}
_PARAMETERS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_TENSOR: Schema = {"type": "object", "properties": {"name": _TEXT, "datatype": _TEXT, "shape": _SHAPE}}
_OUTPUT: Schema = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        **_TENSOR["properties"],
        "parameters": _PARAMETERS,
        "data": {"type": "array", "description": "Elements in row-major order; null where a vector is absent."},
    },
}
MODEL_PARAMETERS: tuple[Schema, ...] = (
    {"name": "name", "in": "path", "required": True, "schema": _TEXT, "description": "Of the model: foveal, or canary."},
    {"name": "version", "in": "path", "required": True, "schema": _TEXT, "description": "Begin of the bundle's SHA-256."},
)
INFER_REQUEST: Schema = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": _TEXT,
        "parameters": {**_PARAMETERS, "description": "`operating_point`; `binary_data_output` for raw outputs."},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_TENSORS,
            "items": {
                "type": "object",
                "required": ["name", "datatype", "shape"],
                "properties": {
                    "name": {"enum": list(INPUTS)},
                    "datatype": {"enum": ["BYTES", "FP32", "FP64", "INT32", "INT64"]},
                    "shape": {**_SHAPE, "minItems": 1, "maxItems": 2, "description": "[N] or [N, 1]: one element a study."},
                    "parameters": _PARAMETERS,
                    "data": {"type": "array", "description": "Text, numbers, and photographs in base64."},
                },
            },
        },
        "outputs": {
            "type": "array",
            "maxItems": MAX_TENSORS,
            "items": {"type": "object", "required": ["name"], "properties": {"name": _TEXT, "parameters": _PARAMETERS}},
        },
    },
}
ANSWERS: Mapping[str, Schema] = {
    "ServerMetadata": {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}},
    },
    "ModelReady": _READY,
    "ModelMetadata": {
        "type": "object",
        "required": ["name", "platform", "inputs", "outputs"],
        "properties": {
            "name": _TEXT,
            "versions": {"type": "array", "items": _TEXT},
            "platform": _TEXT,
            "inputs": {"type": "array", "items": _TENSOR},
            "outputs": {"type": "array", "items": _TENSOR},
        },
    },
    "ModelInfer": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "outputs": {"type": "array", "items": _OUTPUT},
        },
    },
}
"""By call."""
