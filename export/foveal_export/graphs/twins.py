"""Export twins: the model's parts rebuilt from the same weights in the shape a graph should have. Exports nothing.

Three differences from the originals, none in the result: query, key and value are three projections of the token axis
as it stands (ONNX `Attention` takes 3-D inputs, so no transposes and no split remain), the note mask is boolean (no
finite stand-in for minus infinity that FP16 would overflow), and dropout is gone. Shapes: B studies, T tokens, D width.
"""

from __future__ import annotations

import copy
from enum import StrEnum
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Attention  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from foveal_runtime.bundle.manifest import FUSION
from foveal_runtime.study.study import Modality
from foveal_train.model.encoders import ImageEncoder, TextEncoder
from foveal_train.model.fusion import Block, Fused, Fusion
from foveal_train.model.model import MultimodalModel
from foveal_train.model.plain import PlainFusion, PlainImage, PlainText, pooled


class Attend(StrEnum):
    """How attention is written down."""

    FUSED = "fused"
    """ONNX `Attention` (opset 23): one kernel in ONNX Runtime."""
    PLAIN = "plain"
    """MatMul, softmax, MatMul: what TensorRT fuses by itself; its parser knows no `Attention`."""


class SplitAttention(nn.Module):
    """Self-attention whose projections are separate layers; weights are those of the original, in its order."""

    def __init__(self, weight: Tensor, bias: Tensor | None, *, heads: int, how: Attend) -> None:
        """Args:
        weight: query, key and value rows stacked, [3 D, D].
        bias: likewise, [3 D]; None is none.
        heads: attention heads.
        how: spelling of the product.
        """
        super().__init__()
        dim = weight.shape[1]
        self.query, self.key, self.value = (nn.Linear(dim, weight.shape[0] // 3, bias=bias is not None) for _ in range(3))
        for layer, part_weight in zip((self.query, self.key, self.value), weight.detach().chunk(3), strict=True):
            layer.weight = nn.Parameter(part_weight.clone(), requires_grad=False)
        if bias is not None:
            for layer, part_bias in zip((self.query, self.key, self.value), bias.detach().chunk(3), strict=True):
                layer.bias = nn.Parameter(part_bias.clone(), requires_grad=False)
        self.heads = heads
        self.how = how

    def forward(self, x_BTD: Tensor, mask_B1TT: Tensor | None = None) -> Tensor:
        """`mask_B1TT` is True where a query may attend to a key, expanded over the query axis."""
        q, k, v = self.query(x_BTD), self.key(x_BTD), self.value(x_BTD)
        if self.how is Attend.FUSED:
            return torch.onnx.ops.attention(q, k, v, mask_B1TT, q_num_heads=self.heads, kv_num_heads=self.heads)[0]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if mask_B1TT is not None:
            # -1e4, not the type's minimum: exp of it is 0 in FP16 as in FP32, and no sum with it overflows.
            scores = torch.where(mask_B1TT, scores, torch.full((), -1e4))
        return torch.as_tensor((F.softmax(scores, dim=-1) @ v).transpose(1, 2).flatten(2))


class _ViTAttention(nn.Module):
    """Stands in for timm's `Attention`."""

    def __init__(self, original: Any, how: Attend) -> None:
        super().__init__()
        self.qkv = SplitAttention(original.qkv.weight, original.qkv.bias, heads=original.num_heads, how=how)
        self.proj = original.proj

    @staticmethod
    def knows(original: Any) -> bool:
        """Whether it is plain attention: any other, such as one that rotates, normalises or gates, is exported as it stands."""
        inside = (getattr(original, name, None) for name in ("q_norm", "k_norm", "norm"))
        plain = all(part is None or isinstance(part, nn.Identity) for part in inside)
        return type(original) is Attention and plain and getattr(original, "gate", None) is None

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.as_tensor(self.proj(self.qkv(x)))


class _BertAttention(nn.Module):
    """Stands in for transformers' `BertSelfAttention`."""

    def __init__(self, original: Any, how: Attend) -> None:
        super().__init__()
        parts = (original.query, original.key, original.value)
        self.qkv = SplitAttention(
            torch.cat([part.weight for part in parts]),
            torch.cat([part.bias for part in parts]),
            heads=original.num_attention_heads,
            how=how,
        )

    def forward(self, hidden_states: Tensor, attention_mask: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        return self.qkv(hidden_states, attention_mask), None


class _BertTwin(nn.Module):
    """A BERT with a boolean mask handed straight to the encoder's layers."""

    def __init__(self, bert: nn.Module, how: Attend) -> None:
        super().__init__()
        twin: Any = copy.deepcopy(bert)
        for layer in twin.encoder.layer:
            layer.attention.self = _BertAttention(layer.attention.self, how)
        self.embeddings, self.layers = twin.embeddings, twin.encoder.layer

    def states(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Hidden states of the last layer."""
        states_BTF: Tensor = self.embeddings(input_ids=input_ids_BT)
        tokens = input_ids_BT.shape[1]
        mask_B1TT = attention_mask_BT.bool()[:, None, None, :].expand(-1, 1, tokens, -1)
        for layer in self.layers:
            attended = layer.attention(states_BTF, mask_B1TT)[0]
            states_BTF = layer.output(layer.intermediate(attended), attended)
        return states_BTF


class TextTwin(_BertTwin):
    """`TextEncoder` over a BERT's twin."""

    def __init__(self, original: TextEncoder, how: Attend) -> None:
        super().__init__(original.bert, how)
        self.project, self.type_1D, self.kept = original.project, original.type_1D, original.kept

    def forward(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor:
        states_BTF = self.states(input_ids_BT, attention_mask_BT)
        return torch.as_tensor(self.project(states_BTF[:, : self.kept]) + self.type_1D)


class PlainTextTwin(_BertTwin):
    """`PlainText` over a BERT's twin."""

    def __init__(self, original: PlainText, how: Attend) -> None:
        super().__init__(original.bert, how)
        self.pooling = original.pooling

    def forward(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor:
        return pooled(self.states(input_ids_BT, attention_mask_BT), attention_mask_BT, self.pooling)


class PlainImageTwin(nn.Module):
    """`PlainImage` with its layers under one name, whatever transformers calls them."""

    def __init__(self, original: PlainImage) -> None:
        super().__init__()
        vit: Any = copy.deepcopy(original.vit)
        self.embeddings, self.norm = vit.embeddings, vit.layernorm
        self.layers = vit.layers if hasattr(vit, "layers") else vit.encoder.layer  # since 5, and before

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        states_BTD = self.embeddings(pixels_BCHW)
        for layer in self.layers:
            states_BTD = layer(states_BTD)
        return torch.as_tensor(self.norm(states_BTD)[:, :1])


class _FusionBlock(nn.Module):
    """`Block` with split projections."""

    def __init__(self, original: Block, how: Attend) -> None:
        super().__init__()
        self.norm_first = original.norm_first
        self.qkv = SplitAttention(original.qkv.weight, original.qkv.bias, heads=original.heads, how=how)
        self.out, self.up, self.down = original.out, original.up, original.down
        self.norm_attention, self.norm_feedforward = original.norm_attention, original.norm_feedforward

    def forward(self, x_BTD: Tensor, mask_B1TT: Tensor) -> Tensor:
        if self.norm_first:
            x_BTD = x_BTD + self.out(self.qkv(self.norm_attention(x_BTD), mask_B1TT))
            return torch.as_tensor(x_BTD + self.down(F.relu(self.up(self.norm_feedforward(x_BTD)))))
        x_BTD = self.norm_attention(x_BTD + self.out(self.qkv(x_BTD, mask_B1TT)))
        return torch.as_tensor(self.norm_feedforward(x_BTD + self.down(F.relu(self.up(x_BTD)))))


class FusionTwin(nn.Module):
    """`Fusion` over split blocks; its own forward does the rest. A graph has a list of outputs, so the heads' come singly."""

    def __init__(self, original: Fusion, how: Attend) -> None:
        super().__init__()
        twin = copy.copy(original)
        twin._modules = dict(original._modules)
        twin.blocks = nn.ModuleList(_FusionBlock(block, how) for block in original.blocks)  # type: ignore[arg-type]
        self.fusion = twin

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, ...]:
        return flat(self.fusion(tokens_BTD, mask_BT))


class PlainFusionTwin(nn.Module):
    """`PlainFusion`, likewise."""

    def __init__(self, original: PlainFusion) -> None:
        super().__init__()
        self.fusion = original

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, ...]:
        return flat(self.fusion(tokens_BTD, mask_BT))


def flat(fused: Fused) -> tuple[Tensor, ...]:
    """The outputs in the order of the fusion graph's."""
    return fused.joint_BD, fused.cls_BMD, *fused.logits.values()


def _image_twin(original: ImageEncoder, how: Attend) -> nn.Module:
    twin = copy.deepcopy(original)
    for module in list(twin.backbone.modules()):
        if _ViTAttention.knows(getattr(module, "attn", None)):
            module.attn = _ViTAttention(module.attn, how)
    if not twin.family.is_transformer:
        _fold_normalisation(twin.backbone)
    return twin


def _fold_normalisation(module: nn.Module) -> None:
    """Fold batch normalisation into the convolution it follows, as the exporter would, in a fraction of its time."""
    children = list(module.named_children())
    for (_, first), (name, second) in pairwise(children):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and first.out_channels == second.num_features:
            folded = fuse_conv_bn_eval(first, second)
            first.weight, first.bias = folded.weight, folded.bias
            # timm's normalisation layer carries the activation behind it.
            setattr(module, name, getattr(second, "act", nn.Identity()))
    for _, child in children:
        if not isinstance(child, nn.BatchNorm2d):
            _fold_normalisation(child)


def twin(model: MultimodalModel, name: str, how: Attend) -> nn.Module:
    """The twin of one part of `model`, in evaluation mode; the model itself is left as it is.

    Args:
        model: in evaluation mode, FP32, on the CPU.
        name: a modality or `fusion`.
        how: spelling of attention.
    """
    part: nn.Module = model.fusion if name == FUSION else model.get_submodule(name)
    if isinstance(part, PlainText):
        built: nn.Module = PlainTextTwin(part, how)
    elif isinstance(part, PlainImage):
        built = PlainImageTwin(part)
    elif isinstance(part, PlainFusion):
        built = PlainFusionTwin(part)
    elif name == FUSION:
        built = FusionTwin(model.fusion, how)
    elif name == Modality.IMAGE:
        built = _image_twin(model.image, how)
    elif name == Modality.TEXT:
        built = TextTwin(model.text, how)
    else:
        built = model.structured
    return built.eval().requires_grad_(False) if name != Modality.STRUCTURED else built.eval()
