"""What 16-bit sums do to an INT8 graph: proven from its weights, or simulated on calibration inputs. Changes no graph.

On x86-64 with AVX2 or AVX-512 but no VNNI, ONNX Runtime multiplies U8 by S8 with `vpmaddubsw`: two neighbours of the reduction
axis are multiplied and added into 16 bits, saturating; such sums are then added in 32 bits. Neighbours are those of the axis as
the kernel packs it: rows of a matrix, kernel row, kernel column, channel of a convolution (NHWC). S8 activations become U8 by
adding 128 first. Depthwise convolutions widen before they multiply. docs/decisions.md has what was measured.

Legend: M rows, K reduction, N output channels, G groups.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from foveal_export.graphs import observers
from foveal_export.graphs.edit import Array, Editor
from foveal_runtime.bundle.manifest import Cpu

LEAST, LARGEST = -(2**15), 2**15 - 1
"""Of 16 bits."""
_U8 = 255
_ROWS = 32
"""Rows of a product that are simulated, spread over the inputs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """A node that multiplies quantised activations by constant S8 weights."""

    node: onnx.NodeProto
    activation: str
    """Tensor of U8 or S8 values."""
    zero: str
    """Tensor of its zero point: an initialiser, or computed in a dynamic graph."""
    weight_GKN: npt.NDArray[np.int8]
    """As the kernel pairs it: neighbours along K."""
    scale_GN: npt.NDArray[np.float64]

    @property
    def is_depthwise(self) -> bool:
        """One input and one output channel a group: its kernels add no pairs."""
        groups, taps, channels = self.weight_GKN.shape
        return self.node.op_type == "Conv" and groups > 1 and channels == 1 and taps == math.prod(_kernel(self.node))

    @property
    def largest_pair(self) -> int:
        """Largest magnitude that any pair sum can take, whatever the activations are."""
        pairs_GPTN = _pairs(self.weight_GKN.astype(np.int64))
        ends = [np.maximum(side * pairs_GPTN, 0).sum(axis=2).max(initial=0) for side in (1, -1)]
        return _U8 * int(max(ends))


@dataclass(frozen=True, kw_only=True, slots=True)
class Saturated:
    """One product, simulated."""

    node: str
    share: float
    """Of the pair sums, how many leave 16 bits."""
    relative_error: float
    """Norm of what is lost over the norm of the exact product."""


def products(proto: onnx.ModelProto) -> list[Product]:
    """Every quantised product of a graph that `int8` wrote, in graph order."""
    editor = Editor(proto, copy=False)
    makers = editor.producers()
    found = []
    for node in editor.nodes:
        if node.op_type == "MatMulInteger" and node.input[1] in editor.weights:
            weight_KN = editor.weight(node.input[1])
            scale = editor.weight(node.input[1].removesuffix(".s8") + ".scale").astype(np.float64)
            found.append(_product(node, node.input[0], node.input[2], weight_KN[None], scale[None]))
        elif node.op_type in ("Conv", "MatMul", "Gemm"):
            read, weight = (makers.get(value) for value in node.input[:2])
            if read is None or weight is None or {read.op_type, weight.op_type} != {"DequantizeLinear"}:
                continue
            if weight.input[0] in editor.weights:
                scale = editor.weight(weight.input[1]).astype(np.float64)
                packed_GKN = _packed(node, editor.weight(weight.input[0]))
                found.append(_product(node, read.input[0], read.input[2], packed_GKN, scale.reshape(len(packed_GKN), -1)))
    return found


def _product(node: onnx.NodeProto, activation: str, zero: str, weight_GKN: Array, scale_GN: Array) -> Product:
    return Product(node=node, activation=activation, zero=zero, weight_GKN=weight_GKN, scale_GN=scale_GN)


def _packed(node: onnx.NodeProto, weight: Array) -> Array:
    """Weights as [G, K, N]."""
    if node.op_type == "MatMul":
        return weight[None]
    if node.op_type == "Gemm":
        return (weight.T if _attribute(node, "transB", 0) else weight)[None]
    groups = _attribute(node, "group", 1)
    # [O, I / G, *kernel] with the channels last: [G, O / G, K], K last.
    rows = np.moveaxis(weight, 1, -1).reshape(groups, len(weight) // groups, -1)
    return np.ascontiguousarray(rows.transpose(0, 2, 1))


def is_safe(proto: onnx.ModelProto) -> bool:
    """True when no pair sum of any product can leave 16 bits, whatever the input: then every processor computes the same."""
    return all(product.largest_pair <= LARGEST for product in products(proto))


def runs_on(graphs: Mapping[str, onnx.ModelProto]) -> Cpu:
    """Processors that ONNX Runtime is right on with these INT8 graphs."""
    return Cpu.ANY if all(is_safe(proto) for proto in graphs.values()) else Cpu.VNNI


def simulate(proto: onnx.ModelProto, feeds: Sequence[observers.Feeds], *, rows: int = _ROWS) -> list[Saturated]:
    """What a processor without VNNI would lose in each product, on a few rows of each.

    Every product reads what an exact machine gives it: errors are those of the product alone.

    Args:
        proto: an INT8 graph that `int8` wrote.
        feeds: inputs, at least one.
        rows: rows of each product that are looked at, over all inputs.
    """
    found = [product for product in products(proto) if not product.is_depthwise]
    editor = Editor(proto, copy=False)
    wanted = list(dict.fromkeys(name for p in found for name in (p.activation, p.zero) if name not in editor.weights))
    tallies = {id(product): _Tally() for product in found}
    each = -(-rows // len(feeds))
    for values in observers.run_taps(proto, wanted, feeds):
        for product in found:
            zero = values[product.zero] if product.zero in values else editor.weight(product.zero)
            activation, zero_point = _as_u8(values[product.activation], zero)
            for group, a_MK in enumerate(_rows(product, activation, zero_point, each)):
                tallies[id(product)].add(product, group, a_MK, zero_point)
    return [tallies[id(product)].result(product.node.name) for product in found]


def pair_sums(a_MK: Array, weight_KN: Array) -> npt.NDArray[np.int32]:
    """Exact sums of two products along K, [M, ceil(K / 2), N]; an odd K ends with a zero."""
    a_MPT = _pairs(a_MK.astype(np.int32).T[None])[0].transpose(2, 0, 1)
    weight_PTN = _pairs(weight_KN.astype(np.int32)[None])[0]
    sums: npt.NDArray[np.int32] = a_MPT[..., 0, None] * weight_PTN[:, 0] + a_MPT[..., 1, None] * weight_PTN[:, 1]
    return sums


def _pairs(values_GKN: Array) -> Array:
    """[G, K, N] as [G, P, 2, N], P pairs of neighbours."""
    odd = values_GKN.shape[1] % 2
    padded = np.pad(values_GKN, ((0, 0), (0, odd), (0, 0)))
    return padded.reshape(padded.shape[0], -1, 2, padded.shape[2])


class _Tally:
    """Adds up what is seen of one product."""

    def __init__(self) -> None:
        self.pairs = self.beyond = 0
        self.lost = self.whole = 0.0

    def add(self, product: Product, group: int, a_MK: Array, zero_point: int) -> None:
        weight_KN, scale_N = product.weight_GKN[group], product.scale_GN[group]
        exact_MN = (a_MK.astype(np.float64) - zero_point) @ weight_KN
        self.whole += float(((exact_MN * scale_N) ** 2).sum())
        for a_K in a_MK:
            sums_PN = pair_sums(a_K[None], weight_KN)[0]
            excess_PN = sums_PN - sums_PN.clip(LEAST, LARGEST)
            self.pairs += excess_PN.size
            self.beyond += int(np.count_nonzero(excess_PN))
            self.lost += float(((excess_PN.sum(axis=0) * scale_N) ** 2).sum())

    def result(self, node: str) -> Saturated:
        error = (self.lost / max(self.whole, 1e-30)) ** 0.5
        return Saturated(node=node, share=self.beyond / max(self.pairs, 1), relative_error=error)


def _as_u8(values: Array, zero: Array) -> tuple[Array, int]:
    """Quantised values as the kernel sees them: ONNX Runtime shifts S8 to U8."""
    if values.dtype == np.int8:
        return (values.astype(np.int16) + 128).astype(np.uint8), int(zero.item()) + 128
    return values, int(zero.item())


def _rows(product: Product, values: Array, zero_point: int, count: int) -> Iterator[Array]:
    """Rows [M, K] of the product for each group, evenly spread over what there is."""
    node = product.node
    if node.op_type != "Conv":
        flat = values.reshape(-1, values.shape[-1])
        yield flat[np.unique(np.linspace(0, len(flat) - 1, count).astype(int))]
        return
    kernel = _kernel(node)
    assert len(kernel) == 2, f"{node.name}: a convolution of {len(kernel)} dimensions"
    assert _attribute(node, "auto_pad", b"NOTSET") == b"NOTSET", f"{node.name}: padding is not spelt out"
    pads, strides, dilations = (_attribute(node, name, (default,) * n) for name, default, n in
                                (("pads", 0, 4), ("strides", 1, 2), ("dilations", 1, 2)))  # fmt: skip
    padded = np.pad(values, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])), constant_values=zero_point)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    places = [range(0, size - r + 1, s) for size, r, s in zip(padded.shape[2:], reach, strides, strict=True)]
    spots = list(itertools.product(range(len(padded)), *places))
    chosen = [spots[i] for i in np.unique(np.linspace(0, len(spots) - 1, count).astype(int))]
    patches = [padded[b, :, y : y + reach[0] : dilations[0], x : x + reach[1] : dilations[1]] for b, y, x in chosen]
    for part in np.split(np.stack(patches), len(product.weight_GKN), axis=1):
        yield np.moveaxis(part, 1, -1).reshape(len(part), -1)


def _kernel(node: onnx.NodeProto) -> tuple[int, ...]:
    return tuple(_attribute(node, "kernel_shape", ()))


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def report(graphs: Mapping[str, onnx.ModelProto], feeds: Mapping[str, Sequence[observers.Feeds]]) -> dict[str, Any]:
    """What parity.json says under `saturation`, by graph.

    Args:
        graphs: the artefact's INT8 graphs.
        feeds: inputs of those that are not safe.
    """
    entries = {}
    for name, proto in graphs.items():
        found = products(proto)
        largest = max((product.largest_pair for product in found), default=0)
        safe = largest <= LARGEST
        simulated = [] if safe else simulate(proto, feeds[name])
        entries[name] = {
            "products": len(found),
            "safe": safe,
            "largest_pair_sum": largest,
            "simulated": [asdict(row) for row in simulated],
        }
    return entries


def warnings(entries: Mapping[str, Any]) -> list[str]:
    """A line for each graph that saturates without VNNI: how many of its products, and the worst of them."""
    lines = []
    for name, entry in entries.items():
        hit = [row for row in entry["simulated"] if row["share"] > 0]
        if hit:
            worst = max(hit, key=lambda row: row["relative_error"])
            lines.append(
                f"{name}: {len(hit)} of {entry['products']} products saturate without VNNI, worst {worst['node']} "
                f"({worst['share']:.2%} of its pair sums, relative error {worst['relative_error']:.3f})"
            )
    return lines
