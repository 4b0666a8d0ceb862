"""The fusion transformer and the heads on its joint embedding (paper, section III-B4 and 5). Knows nothing of encoders.

It has no positions: after the three CLS tokens the order is free, and tokens that no row of a batch needs may be left out.
Shapes: B studies, M = 3 modalities, T tokens, D = 256, G classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal_runtime.study.labels import Head
from foveal_runtime.study.study import Modality
from foveal_train.model.profile import EMBEDDING_DIM, FusionConfig

MODALITIES = len(Modality)


class Fused(NamedTuple):
    """What one fusion pass yields."""

    joint_BD: Tensor
    """Joint embedding on the unit sphere."""
    cls_BMD: Tensor
    """CLS of each modality on the unit sphere; zeros where the modality is absent."""
    logits: dict[Head, Tensor]
    """`[B, G]` of each head, in the order of the model's heads."""


class Block(nn.Module):
    """One transformer encoder layer: self-attention and a ReLU perceptron, pre- or post-norm."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm_first = config.norm_first
        self.dropout = config.dropout
        self.qkv = nn.Linear(EMBEDDING_DIM, 3 * EMBEDDING_DIM)
        self.out = nn.Linear(EMBEDDING_DIM, EMBEDDING_DIM)
        self.up = nn.Linear(EMBEDDING_DIM, config.feedforward_dim)
        self.down = nn.Linear(config.feedforward_dim, EMBEDDING_DIM)
        self.norm_attention = nn.LayerNorm(EMBEDDING_DIM)
        self.norm_feedforward = nn.LayerNorm(EMBEDDING_DIM)

    def _attend(self, x_BTD: Tensor, mask_B1TT: Tensor) -> Tensor:
        batch, tokens, dim = x_BTD.shape
        q, k, v = (
            part.view(batch, tokens, self.heads, dim // self.heads).transpose(1, 2)
            for part in self.qkv(x_BTD).split(dim, dim=-1)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_B1TT, dropout_p=dropout)
        return F.dropout(self.out(mixed.transpose(1, 2).reshape(batch, tokens, dim)), self.dropout, self.training)

    def _feed(self, x_BTD: Tensor) -> Tensor:
        hidden = F.dropout(F.relu(self.up(x_BTD)), self.dropout, self.training)
        return F.dropout(self.down(hidden), self.dropout, self.training)

    def forward(self, x_BTD: Tensor, mask_B1TT: Tensor) -> Tensor:
        """`mask_B1TT` is True where a query may attend to a key."""
        if self.norm_first:
            x_BTD = x_BTD + self._attend(self.norm_attention(x_BTD), mask_B1TT)
            return x_BTD + self._feed(self.norm_feedforward(x_BTD))
        x_BTD = self.norm_attention(x_BTD + self._attend(x_BTD, mask_B1TT))
        return torch.as_tensor(self.norm_feedforward(x_BTD + self._feed(x_BTD)))


class Fusion(nn.Module):
    """Masked transformer over the tokens of all modalities, joint projection and the heads."""

    embedding_dim = EMBEDDING_DIM

    def __init__(self, config: FusionConfig, heads: Mapping[Head, Sequence[str]]) -> None:
        """Args:
        config: of the transformer.
        heads: classes by head.
        """
        super().__init__()
        self.heads = tuple(heads)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(EMBEDDING_DIM) if config.norm_first else nn.Identity()
        self.join = nn.Linear(MODALITIES * EMBEDDING_DIM, EMBEDDING_DIM)
        for name, classes in heads.items():
            self.add_module(f"head_{name}", nn.Linear(EMBEDDING_DIM, len(classes)))

    @property
    def classes(self) -> dict[Head, int]:
        """How many classes each head has."""
        return {name: self.head(name).out_features for name in self.heads}

    def head(self, name: Head) -> nn.Linear:
        """One of the heads."""
        found = self.get_submodule(f"head_{name}")
        assert isinstance(found, nn.Linear)
        return found

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor) -> Fused:
        """Args:
        tokens_BTD: CLS of image, text and structured first (zeros where absent), then all other tokens.
        mask_BT: bool, True where a token stands; at least one CLS of every row is True.
        """
        # Expanded over the query axis: ONNX Runtime's fused Attention refuses a mask that must broadcast there.
        tokens = tokens_BTD.shape[1]
        mask_B1TT = mask_BT[:, None, None, :].expand(-1, 1, tokens, -1)
        x_BTD = tokens_BTD
        for block in self.blocks:
            x_BTD = block(x_BTD, mask_B1TT)
        # An absent CLS is a query like any other inside; it is zeroed here so that nothing of it reaches the outputs.
        present_BM1 = mask_BT[:, :MODALITIES].unsqueeze(-1).to(x_BTD.dtype)
        cls_BMD = self.norm(x_BTD[:, :MODALITIES]) * present_BM1
        joint_BD = self.join(cls_BMD.flatten(1))
        return Fused(
            joint_BD=F.normalize(joint_BD, dim=-1),
            cls_BMD=F.normalize(cls_BMD, dim=-1),
            logits={name: self.head(name)(joint_BD) for name in self.heads},
        )
