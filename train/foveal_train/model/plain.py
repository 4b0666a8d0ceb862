"""A BERT or a ViT by itself in the shape of `MultimodalModel`: one token a study, which is its vector. Trains nothing.

Shapes: B studies, M = 3 modalities, T tokens, D the encoder's own width.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal_runtime.study.labels import GRADES, SCHEMES, Head
from foveal_runtime.study.study import Modality
from foveal_train.model.fusion import Fused


class Pooling(StrEnum):
    """How hidden states become one vector."""

    CLS = "cls"
    """The first token's state."""
    MEAN = "mean"
    """The mean over all tokens that are no padding."""


def pooled(states_BTD: Tensor, mask_BT: Tensor, pooling: Pooling) -> Tensor:
    """One token a row, `[B, 1, D]`.

    Args:
        states_BTD: hidden states.
        mask_BT: 1 or True where a token stands.
        pooling: how.
    """
    if pooling is Pooling.CLS:
        return states_BTD[:, :1]
    weights_BT1 = mask_BT.unsqueeze(-1).to(states_BTD.dtype)
    return (states_BTD * weights_BT1).sum(1, keepdim=True) / weights_BT1.sum(1, keepdim=True)


class PlainText(nn.Module):
    """A BERT's pooled state."""

    kept = 1

    def __init__(self, bert: nn.Module, pooling: Pooling) -> None:
        """Args:
        bert: transformers' BertModel.
        pooling: of its last hidden state.
        """
        super().__init__()
        self.bert, self.pooling = bert, pooling

    def forward(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Token ids and mask (1 = token) to `tokens_B1D`."""
        states_BTD = self.bert(input_ids=input_ids_BT, attention_mask=attention_mask_BT).last_hidden_state
        return pooled(states_BTD, attention_mask_BT, self.pooling)


class PlainImage(nn.Module):
    """A ViT's CLS state."""

    def __init__(self, vit: nn.Module) -> None:
        """Args:
        vit: transformers' ViTModel.
        """
        super().__init__()
        self.vit = vit

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """`pixels_BCHW` to `tokens_B1D`."""
        return torch.as_tensor(self.vit(pixel_values=pixels_BCHW).last_hidden_state[:, :1])


class PlainFusion(nn.Module):
    """No fusion: the one token of a study on the unit sphere. There are no heads; logits are zero."""

    def __init__(self, embedding_dim: int) -> None:
        """Args:
        embedding_dim: width of the token.
        """
        super().__init__()
        self.embedding_dim = embedding_dim

    @property
    def classes(self) -> dict[Head, int]:
        """How many logits stand for each head."""
        return dict.fromkeys(SCHEMES, GRADES)

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor) -> Fused:
        """See `Fusion`: the first three tokens are image, text and structured, zeros where absent."""
        modalities = len(Modality)
        heads_BMD = tokens_BTD[:, :modalities] * mask_BT[:, :modalities].unsqueeze(-1).to(tokens_BTD.dtype)
        none_BG = torch.zeros_like(heads_BMD[:, 0, :GRADES])
        return Fused(
            joint_BD=F.normalize(heads_BMD.sum(1), dim=-1),
            cls_BMD=F.normalize(heads_BMD, dim=-1),
            logits=dict.fromkeys(SCHEMES, none_BG),
        )


class Absent(nn.Module):
    """In place of an encoder that the model does not have."""

    def forward(self, *_: Any) -> Tensor:
        raise AssertionError("a modality without an encoder was encoded")
