"""The three encoders: each turns its modality into tokens of width 256, CLS first. Know nothing of fusion or losses.

Shapes: B studies, C channels, H and W pixels, T tokens, F features, D = 256.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from foveal_train.model.backbones import Family, VisionTransformer
from foveal_train.model.profile import EMBEDDING_DIM


def _learnable(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * 0.02)


class ImageEncoder(nn.Module):
    """A timm backbone, a projection to 256 and a learnable image CLS (paper, section III-B1).

    A transformer gives its patch tokens, a CNN or a Swin the cells of its last feature map. Such cells carry no position, so
    a learnable one is added here; the fusion transformer has none.
    """

    def __init__(
        self,
        backbone: nn.Module,
        family: Family,
        *,
        features: int,
        tokens: int,
        pool: int,
        pooled_cls: bool,
        dropout: float,
    ) -> None:
        """Args:
        backbone: of timm.
        family: which reads it.
        features: width of what it puts out.
        tokens: cells of its map after pooling; 0 for a transformer, whose tokens know their place.
        pool: cells of the map a side that become one token.
        pooled_cls: see `ImageEncoderConfig`.
        dropout: of the projection.
        """
        super().__init__()
        self.backbone = backbone
        self.family = family
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.project = nn.Linear(features, EMBEDDING_DIM)
        self.dropout = nn.Dropout(dropout)
        self.cls_1D = _learnable(1, 1, EMBEDDING_DIM)
        self.type_1D = _learnable(1, 1, EMBEDDING_DIM)
        self.position_TD = None if family.is_transformer else _learnable(1, tokens, EMBEDDING_DIM)
        self.summarise = nn.Linear(features, EMBEDDING_DIM) if pooled_cls else None

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """`pixels_BCHW` to `tokens_BTD`, T = 1 + patches or cells."""
        return self._tokens(self.family.features(self.backbone, pixels_BCHW))

    def frozen_part(self, pixels_BCHW: Tensor) -> Tensor:
        """What the frozen blocks of a vision transformer make of `pixels_BCHW`: `states_BTF`, without gradients."""
        backbone: Any = self.backbone
        with torch.no_grad():
            x_BTF = backbone.norm_pre(backbone.patch_drop(backbone._pos_embed(backbone.patch_embed(pixels_BCHW))))
            for block in backbone.blocks[: leading_frozen(backbone.blocks)]:
                x_BTF = block(x_BTF)
        return torch.as_tensor(x_BTF)

    def trained_part(self, states_BTF: Tensor) -> Tensor:
        """The rest of `forward`, from `frozen_part`'s states to `tokens_BTD`."""
        backbone: Any = self.backbone
        x_BTF = states_BTF
        for block in backbone.blocks[leading_frozen(backbone.blocks) :]:
            x_BTF = block(x_BTF)
        assert isinstance(self.family, VisionTransformer)
        return self._tokens(self.family.patches(backbone, backbone.norm(x_BTF)))

    def _tokens(self, features: Tensor) -> Tensor:
        transformer = self.family.is_transformer
        features_BTF = features if transformer else self.pool(features).flatten(2).transpose(1, 2)
        tokens_BTD: Tensor = self.project(self.dropout(features_BTF))
        if self.position_TD is not None:
            tokens_BTD = tokens_BTD + self.position_TD
        cls_B1D = self.cls_1D.expand(features_BTF.shape[0], -1, -1)
        if self.summarise is not None:
            cls_B1D = cls_B1D + self.summarise(self.dropout(features_BTF.mean(dim=1, keepdim=True)))
        return torch.cat([cls_B1D, tokens_BTD], dim=1) + self.type_1D


class TextEncoder(nn.Module):
    """A BERT encoder, a projection to 256; its [CLS] state is the text CLS (paper, section III-B2)."""

    def __init__(self, bert: nn.Module, *, hidden: int, kept_tokens: int) -> None:
        super().__init__()
        self.bert = bert
        self.kept = 1 + kept_tokens
        self.project = nn.Linear(hidden, EMBEDDING_DIM)
        self.type_1D = _learnable(1, 1, EMBEDDING_DIM)

    def forward(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Token ids and mask (1 = token) to `tokens_BTD`, T = min(tokens, 1 + kept_tokens)."""
        states_BTF = self.bert(input_ids=input_ids_BT, attention_mask=attention_mask_BT).last_hidden_state
        return torch.as_tensor(self.project(states_BTF[:, : self.kept]) + self.type_1D)

    def frozen_part(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """What the embeddings and the frozen layers make of a note: `states_BTF`, without gradients."""
        layers: Any = self.bert.encoder.layer  # type: ignore[union-attr]
        with torch.no_grad():
            part = _with_layers(self.bert, layers[: leading_frozen(layers)])
            return torch.as_tensor(part(input_ids=input_ids_BT, attention_mask=attention_mask_BT).last_hidden_state)

    def trained_part(self, states_BTF: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """The rest of `forward`, from `frozen_part`'s states to `tokens_BTD`."""
        layers: Any = self.bert.encoder.layer  # type: ignore[union-attr]
        part = _with_layers(self.bert, layers[leading_frozen(layers) :], embeddings=_Given())
        states_BTF = part(inputs_embeds=states_BTF, attention_mask=attention_mask_BT).last_hidden_state
        return torch.as_tensor(self.project(states_BTF[:, : self.kept]) + self.type_1D)


class _Given(nn.Module):
    """Stands in for BERT's embeddings where the states are given."""

    def forward(self, *, inputs_embeds: Tensor, **_: object) -> Tensor:
        return inputs_embeds


def _with_layers(bert: nn.Module, layers: Sequence[nn.Module], embeddings: nn.Module | None = None) -> nn.Module:
    """A BERT of some of another's layers, weights shared: its own forward pass makes the attention masks."""
    part, encoder = _shallow(bert), _shallow(bert.get_submodule("encoder"))
    encoder.layer = nn.ModuleList(layers)
    part.encoder = encoder
    if embeddings is not None:
        part.embeddings = embeddings
    return part


def _shallow(module: nn.Module) -> nn.Module:
    """A copy whose children can be replaced without touching the original's."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


class StructuredEncoder(nn.Module):
    """A three-layer perceptron over the record's features and a learnable CLS (paper, section III-B3)."""

    def __init__(self, *, features: int, dropout: float) -> None:
        """Args:
        features: how many a record has.
        dropout: after each hidden layer.
        """
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(features, 64),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(64, 128),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(128, EMBEDDING_DIM),
        )
        self.cls_1D = _learnable(1, 1, EMBEDDING_DIM)
        self.type_1D = _learnable(1, 1, EMBEDDING_DIM)

    def forward(self, features_BF: Tensor) -> Tensor:
        """`features_BF` to `tokens_BTD`, T = 2: CLS and the feature vector."""
        vector_B1D: Tensor = self.mlp(features_BF).unsqueeze(1)
        return torch.cat([self.cls_1D.expand(features_BF.shape[0], -1, -1), vector_B1D], dim=1) + self.type_1D


def leading_frozen(blocks: Any) -> int:
    """How many of the first blocks no gradient reaches."""
    count = 0
    for block in blocks:
        if any(parameter.requires_grad for parameter in block.parameters()):
            break
        count += 1
    return count


def rest_frozen(module: nn.Module) -> None:
    """Put wholly frozen parts in evaluation mode: dropout in a part that can't adapt is noise, and no cache could hold it."""
    for child in module.children():
        parameters = list(child.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            child.eval()
        else:
            rest_frozen(child)


def freeze_leading(blocks: Any, count: int, *others: nn.Module) -> None:
    """Stop gradients of the first `count` of `blocks`, and of `others` (embeddings) when any block is frozen."""
    if count <= 0:
        return
    for module in (*others, *list(blocks)[:count]):
        for parameter in module.parameters():
            parameter.requires_grad_(False)
