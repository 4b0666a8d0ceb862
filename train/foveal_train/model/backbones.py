"""Image backbones by family: how timm's are built, read and frozen. Loads no weights.

A family is told by timm's own module of the architecture, not by letters of its name: EfficientViT is no vision transformer.
Shapes: B studies, H and W pixels, T tokens, F features.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.models import is_model, is_model_in_modules
from torch import Tensor, nn

from foveal_runtime.errors import ConfigError

Unit = Sequence[nn.Module]
"""Modules that are frozen together."""


class Family:
    """One family of backbones; its instances know no backbone, methods are given one."""

    name = ""
    modules: tuple[str, ...] = ()
    """timm's modules whose architectures belong to it."""
    takes_side = False
    """Whether a backbone is built for one resolution."""
    is_transformer = False
    """Whether its features are tokens that know their place; else they are a map of cells that do not."""
    caches_frozen = False
    """Whether `optimiser.cache_frozen` can keep what its frozen blocks put out."""

    def features(self, backbone: Any, pixels_BCHW: Tensor) -> Tensor:
        """Patch tokens `[B, T, F]`, or a map `[B, F, H, W]`."""
        return torch.as_tensor(backbone.forward_features(pixels_BCHW))

    def stem(self, backbone: Any) -> list[nn.Module | nn.Parameter]:
        """What comes before the first block: frozen with it."""
        raise NotImplementedError

    def units(self, backbone: Any) -> list[Unit]:
        """Its blocks, first to last."""
        raise NotImplementedError

    def freeze(self, backbone: nn.Module, count: int) -> None:
        """Stop the gradients of the stem and of the first `count` blocks; 0 stops none.

        Raises:
            ConfigError: it has fewer blocks.
        """
        units = self.units(backbone)
        if count > len(units):
            raise ConfigError(f"image.frozen_blocks is {count}, the backbone has {len(units)} blocks")
        if count <= 0:
            return
        frozen = [*self.stem(backbone), *(module for unit in units[:count] for module in unit)]
        for part in frozen:
            for parameter in [part] if isinstance(part, nn.Parameter) else part.parameters():
                parameter.requires_grad_(False)


class VisionTransformer(Family):
    """ViT, DeiT, DINOv2, RETFound: with and without bias of query, key and value, with registers or none."""

    name = "vision transformer"
    modules: tuple[str, ...] = ("vision_transformer", "deit")
    takes_side = is_transformer = caches_frozen = True

    def features(self, backbone: Any, pixels_BCHW: Tensor) -> Tensor:
        """Patch tokens: class, distillation and register tokens come first, and are left."""
        return self.patches(backbone, backbone.forward_features(pixels_BCHW))

    def patches(self, backbone: Any, states_BTF: Tensor) -> Tensor:
        """Normalised states without those of the tokens that are no patch."""
        return states_BTF[:, int(backbone.num_prefix_tokens) :]

    def stem(self, backbone: Any) -> list[nn.Module | nn.Parameter]:
        """Patch embedding, positions and the tokens that are no patch."""
        names = ("cls_token", "dist_token", "reg_token", "pos_embed")
        found = [getattr(backbone, name, None) for name in names]
        return [backbone.patch_embed, *(each for each in found if isinstance(each, nn.Parameter))]

    def units(self, backbone: Any) -> list[Unit]:
        """A block each."""
        return [[block] for block in backbone.blocks]


class RotaryTransformer(VisionTransformer):
    """DINOv3 and EVA: positions are rotations inside each attention, so its blocks can't be run by themselves."""

    name = "rotary vision transformer"
    modules = ("eva",)
    caches_frozen = False


class _Stages(Family):
    """Stages of blocks, a stage's downsampling being part of its first block."""

    stem_names: tuple[str, ...] = ("stem",)
    stage_name = "stages"

    def stem(self, backbone: Any) -> list[nn.Module | nn.Parameter]:
        """By their names."""
        return [getattr(backbone, name) for name in self.stem_names]

    def units(self, backbone: Any) -> list[Unit]:
        """A block each, of all stages."""
        found: list[Unit] = []
        for stage in getattr(backbone, self.stage_name):
            blocks = list(getattr(stage, "blocks", stage))
            before = [part for part in (getattr(stage, "downsample", None),) if isinstance(part, nn.Module)]
            found += [[*before, blocks[0]], *([block] for block in blocks[1:])]
        return found


class ShiftedWindow(_Stages):
    """Swin: a transformer whose features are a map of cells, channels last; places within a window are all that it knows."""

    name = "Swin transformer"
    modules = ("swin_transformer", "swin_transformer_v2")
    takes_side = True
    stem_names, stage_name = ("patch_embed",), "layers"

    def features(self, backbone: Any, pixels_BCHW: Tensor) -> Tensor:
        """The map, channels second."""
        return torch.as_tensor(backbone.forward_features(pixels_BCHW)).permute(0, 3, 1, 2)


class ConvNeXt(_Stages):
    """ConvNeXt and ConvNeXt V2."""

    name = "ConvNeXt"
    modules = ("convnext",)


class EfficientNet(_Stages):
    """EfficientNet, Lite and V2, and MobileNetV3."""

    name = "EfficientNet"
    modules = ("efficientnet", "mobilenetv3")
    stem_names, stage_name = ("conv_stem", "bn1"), "blocks"


class EfficientViT(_Stages):
    """EfficientViT of MIT: convolutions with linear attention in its later stages."""

    name = "EfficientViT"
    modules = ("efficientvit_mit",)


class CascadedEfficientViT(_Stages):
    """EfficientViT of Microsoft: its attention's biases belong to one resolution."""

    name = "EfficientViT (cascaded groups)"
    modules = ("efficientvit_msra",)
    takes_side = True
    stem_names = ("patch_embed",)


class ResNet(_Stages):
    """ResNet and its kin; FLAIR's image tower is one."""

    name = "ResNet"
    modules = ("resnet",)
    stem_names = ("conv1", "bn1")

    def units(self, backbone: Any) -> list[Unit]:
        """A residual block each."""
        return [[block] for number in range(1, 5) for block in getattr(backbone, f"layer{number}")]


FAMILIES: tuple[Family, ...] = (
    VisionTransformer(),
    RotaryTransformer(),
    ShiftedWindow(),
    ConvNeXt(),
    EfficientNet(),
    EfficientViT(),
    CascadedEfficientViT(),
    ResNet(),
)


def family_of(backbone: str) -> Family:
    """The family of a timm model.

    Args:
        backbone: timm's name, with or without the tag of its weights.

    Raises:
        ConfigError: timm has no such model, or its family is not one that foveal reads.
    """
    if not is_model(backbone):
        near = difflib.get_close_matches(backbone, timm.list_models(), n=1)
        raise ConfigError(f"image.backbone {backbone!r} is no model of timm" + (f"; did you mean {near[0]!r}?" if near else ""))
    for family in FAMILIES:
        if is_model_in_modules(backbone, family.modules):
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise ConfigError(f"image.backbone {backbone!r} is of a family that foveal does not read; it reads {known}")


def create(backbone: str, side_px: int, *, pretrained: bool = False, classifier: bool = False) -> nn.Module:
    """A backbone for photographs of `side_px`.

    Args:
        backbone: timm's name.
        side_px: of the photographs.
        pretrained: with the weights of timm's hub.
        classifier: with the classifier that its weights were trained with.

    Raises:
        ConfigError: see `family_of`; or it can't be built for that side.
    """
    family = family_of(backbone)
    kwargs: dict[str, Any] = {} if classifier else {"num_classes": 0}
    if family.takes_side:
        kwargs["img_size"] = side_px
    try:
        built: nn.Module = timm.create_model(backbone, pretrained=pretrained, **kwargs)
    except (AssertionError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(
            f"image.backbone {backbone!r} can't be built for photographs of {side_px} px ({error}); choose another "
            "image_spec.side_px, a multiple of its patches"
        ) from None
    return built
