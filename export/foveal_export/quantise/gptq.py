"""Round convolution weights so that outputs, not weights, change least: GPTQ (Frantar et al., ICLR 2023) and bias correction.

Nearest rounding is what costs a small CNN most: nine weights of a depthwise filter, each off by a little in the same
direction, shift a whole channel. Rounding one weight after another, each making up for those before it on the inputs
that really occur, removes most of it; what remains in the mean goes into the bias. Nothing is trained.

Shapes: O output channels, K inputs of one output (channels of a group times kernel), S samples.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from foveal_export.graphs import observers
from foveal_export.graphs.edit import Editor

Float64 = npt.NDArray[np.float64]

_SAMPLES_A_STUDY = 96
_DAMPING = 0.01
MAX_INPUTS = 256
"""Filters of more inputs are rounded to the nearest: their errors average out, and the factorisation grows with the cube."""
_BLOCK = 64
"""Columns whose corrections to later ones are applied in one product."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a Conv reads."""

    node: str
    activation: str
    weight: str
    group: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]


def convolutions(proto: onnx.ModelProto) -> list[Geometry]:
    """Two-dimensional convolutions with constant weights whose padding is written out."""
    editor = Editor(proto)
    found = []
    for node in editor.nodes:
        if node.op_type != "Conv" or not editor.is_float_weight(node.input[1]):
            continue
        dims = editor.weights[node.input[1]].dims
        given: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if len(dims) != 4 or given.get("auto_pad", b"NOTSET") != b"NOTSET":
            continue
        found.append(
            Geometry(
                node=node.name,
                activation=node.input[0],
                weight=node.input[1],
                group=int(given.get("group", 1)),
                kernel=(dims[2], dims[3]),
                strides=tuple(given.get("strides", (1, 1))),
                pads=tuple(given.get("pads", (0, 0, 0, 0))),
                dilations=tuple(given.get("dilations", (1, 1))),
            )
        )
    return found


def patches(values_CHW: npt.NDArray[np.float32], conv: Geometry, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A sample of what the filters see at one study, [S, C, kernel height * width]."""
    top, left, bottom, right = conv.pads
    padded = np.pad(values_CHW, ((0, 0), (top, bottom), (left, right)))
    (high, wide), (step_y, step_x), (gap_y, gap_x) = conv.kernel, conv.strides, conv.dilations
    rows = (padded.shape[1] - gap_y * (high - 1) - 1) // step_y + 1
    columns = (padded.shape[2] - gap_x * (wide - 1) - 1) // step_x + 1
    count = min(_SAMPLES_A_STUDY, rows * columns)
    at = rng.choice(rows * columns, size=count, replace=False)
    y_S, x_S = at // columns * step_y, at % columns * step_x
    offsets_y, offsets_x = (a.reshape(-1) for a in np.mgrid[0:high, 0:wide])
    seen = padded[:, y_S[:, None] + offsets_y * gap_y, x_S[:, None] + offsets_x * gap_x]
    return np.ascontiguousarray(seen.transpose(1, 0, 2), np.float32)


@dataclass(slots=True)
class Moments:
    """Running first and second moments of what each group of filters sees."""

    count: int
    sum_GK: Float64
    products_GKK: Float64

    @property
    def mean(self) -> Float64:
        """Mean input, [G, K]."""
        return self.sum_GK / self.count

    @property
    def covariance(self) -> Float64:
        """Covariance of the inputs, [G, K, K]: the mean is the bias's business."""
        mean = self.mean
        return self.products_GKK / self.count - mean[:, :, None] * mean[:, None, :]


def moments(
    proto: onnx.ModelProto, convs: list[Geometry], feeds: Iterable[observers.Feeds], *, seed: int = 0
) -> dict[str, Moments]:
    """Moments of every convolution's input over calibration studies, by node name."""
    rng = np.random.default_rng(seed)
    gathered: dict[str, Moments] = {}
    tensors = list(dict.fromkeys(conv.activation for conv in convs))
    for values in observers.run_taps(proto, tensors, feeds):
        for conv in convs:
            for image in values[conv.activation]:
                seen_SCK = patches(image, conv, rng)
                samples = len(seen_SCK)
                seen_GSK = (
                    seen_SCK.reshape(samples, conv.group, -1).transpose(1, 0, 2)
                    if conv.group > 1
                    else seen_SCK.reshape(1, samples, -1)
                )
                # Of filters too wide to be factorised only the mean is of use.
                wide = seen_GSK.shape[2] > MAX_INPUTS
                products = (
                    np.zeros((conv.group, 0, 0))
                    if wide
                    else np.matmul(seen_GSK.transpose(0, 2, 1), seen_GSK).astype(np.float64)
                )
                total = seen_GSK.sum(axis=1, dtype=np.float64)
                if conv.node in gathered:
                    gathered[conv.node].count += samples
                    gathered[conv.node].sum_GK += total
                    gathered[conv.node].products_GKK += products
                else:
                    gathered[conv.node] = Moments(samples, total, products)
    return gathered


def round_filters(
    weight: npt.NDArray[np.float32], scale_O: npt.NDArray[np.float32], seen: Moments, limit: int
) -> npt.NDArray[np.int8]:
    """S8 filters at given scales whose outputs differ least from the FP32 ones' on the inputs seen.

    Args:
        weight: [O, channels of a group, height, width].
        scale_O: scale of each output channel.
        seen: moments of the inputs.
        limit: largest magnitude, 127 or 63.
    """
    groups = len(seen.sum_GK)
    rows = weight.reshape(groups, weight.shape[0] // groups, -1).astype(np.float64)
    scale = scale_O.reshape(groups, -1).astype(np.float64)
    covariance = seen.covariance
    inputs = rows.shape[-1]
    damping = _DAMPING * np.maximum(np.trace(covariance, axis1=1, axis2=2) / inputs, 1e-12)
    factor_GKK = np.linalg.inv(covariance + damping[:, None, None] * np.eye(inputs))
    # Upper Cholesky factor of the inverse: row j says how an error in weight j is made up for by those behind it.
    factor_GKK = np.linalg.cholesky((factor_GKK + factor_GKK.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)
    rounded = np.zeros_like(rows)
    for start in range(0, inputs, _BLOCK):
        end = min(start + _BLOCK, inputs)
        errors = np.zeros((*rows.shape[:2], end - start))
        for j in range(start, end):
            rounded[:, :, j] = np.clip(np.round(rows[:, :, j] / scale), -limit, limit)
            error = (rows[:, :, j] - rounded[:, :, j] * scale) / factor_GKK[:, j, j][:, None]
            rows[:, :, j + 1 : end] -= error[:, :, None] * factor_GKK[:, None, j, j + 1 : end]
            errors[:, :, j - start] = error
        rows[:, :, end:] -= errors @ factor_GKK[:, start:end, end:]
    return rounded.reshape(weight.shape).astype(np.int8)


def nearest(weight: npt.NDArray[np.float32], scale_O: npt.NDArray[np.float32], limit: int) -> npt.NDArray[np.int8]:
    """Plain rounding at the same scales."""
    shape = (-1,) + (1,) * (weight.ndim - 1)
    return np.clip(np.round(weight / scale_O.reshape(shape).astype(np.float64)), -limit, limit).astype(np.int8)


def mean_error(
    weight: npt.NDArray[np.float32], rounded: npt.NDArray[np.int8], scale_O: npt.NDArray[np.float32], seen: Moments
) -> npt.NDArray[np.float32]:
    """What the rounded filters' outputs are short of on average, per output channel: it belongs into the bias."""
    groups = len(seen.sum_GK)
    shape = (-1,) + (1,) * (weight.ndim - 1)
    lost = weight.astype(np.float64) - rounded * scale_O.reshape(shape).astype(np.float64)
    short = np.einsum("gok,gk->go", lost.reshape(groups, weight.shape[0] // groups, -1), seen.mean)
    return np.asarray(short.reshape(-1), np.float32)


def pack(rounded: npt.NDArray[np.int8], plain: npt.NDArray[np.int8]) -> str:
    """The steps by which `rounded` differs from nearest rounding, as text for plan.json."""
    # Differences modulo 256: both are S8, so nothing is lost.
    return base64.b85encode(zlib.compress((rounded.view(np.uint8) - plain.view(np.uint8)).tobytes(), 9)).decode()


def unpack(text: str, plain: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Inverse of `pack`.

    Raises:
        ValueError: the text does not fit the weights.
    """
    steps = np.frombuffer(zlib.decompress(base64.b85decode(text)), np.uint8).reshape(plain.shape)
    return np.asarray((plain.view(np.uint8) + steps).view(np.int8))


def plan_rounding(
    proto: onnx.ModelProto, feeds: Iterable[observers.Feeds], scales: Mapping[str, npt.NDArray[np.float32]], limit: int
) -> tuple[dict[str, str], dict[str, tuple[float, ...]]]:
    """Rounding steps and bias corrections of every convolution, by node name.

    Args:
        proto: FP32.
        feeds: calibration inputs.
        scales: weight scales by node name.
        limit: largest magnitude of a weight.
    """
    editor = Editor(proto)
    convs = [conv for conv in convolutions(proto) if conv.node in scales]
    steps: dict[str, str] = {}
    corrections: dict[str, tuple[float, ...]] = {}
    seen = moments(proto, convs, feeds)
    for conv in convs:
        weight = editor.weight(conv.weight)
        rounded = plain = nearest(weight, scales[conv.node], limit)
        if seen[conv.node].sum_GK.shape[1] <= MAX_INPUTS:
            rounded = round_filters(weight, scales[conv.node], seen[conv.node], limit)
            steps[conv.node] = pack(rounded, plain)
        lost = mean_error(weight, rounded, scales[conv.node], seen[conv.node])
        corrections[conv.node] = tuple(float(f"{value:.6g}") for value in lost)
    return steps, corrections
