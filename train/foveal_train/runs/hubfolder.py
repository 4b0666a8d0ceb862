"""A plain BERT or ViT in the hub's layout (config.json, weights, tokenizer or preprocessor) as a run. Trains nothing.

What comes out has one modality subset, no head and no data of its own: it embeds. Whatever would make its vectors differ from
transformers' own in silence is refused by name.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from foveal_runtime import __version__
from foveal_runtime.bundle.bundle import sha256_file
from foveal_runtime.errors import ConfigError
from foveal_runtime.photo.imaging import Crop, ImageSpec
from foveal_runtime.study.notes import TextSpec
from foveal_runtime.study.record import FeatureStats
from foveal_runtime.study.study import Modality
from foveal_train.model.model import MultimodalModel
from foveal_train.model.plain import Absent, PlainFusion, PlainImage, PlainText, Pooling
from foveal_train.model.profile import ImageEncoderConfig, ModelConfig, TextEncoderConfig
from foveal_train.model.weightfiles import local_weights
from foveal_train.model.weights import canonical_tokenizer, quiet_transformers, shape_of
from foveal_train.runs.run import Run, RunInfo

CONFIG, PREPROCESSOR, POOLING = "config.json", "preprocessor_config.json", "1_Pooling/config.json"
KINDS = ("bert", "vit")
WEIGHTS_SHA256 = "weights_sha256"
"""Key of a run's recipe that is none."""


def open_hub_folder(folder: Path) -> Run:
    """The model of a folder, in evaluation mode, in FP32, on the CPU.

    Raises:
        ConfigError: no such folder, another kind of model, or settings that foveal does not reproduce; the message names them.
    """
    document = _read(folder / CONFIG, f"{folder} is no folder in the hub's layout")
    kind = document.get("model_type")
    if kind not in KINDS:
        raise ConfigError(f"{folder} is a {kind} model; {' and '.join(KINDS)} are exported")
    weights = local_weights(folder, "model")
    with quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            # One attention for both: sdpa, which torch.onnx turns into one operator.
            model = AutoModel.from_pretrained(
                folder, local_files_only=True, add_pooling_layer=False, attn_implementation="sdpa"
            )
        except Exception as error:  # noqa: BLE001 - transformers raises many kinds
            raise ConfigError(
                f"the {kind} in {folder} can't be loaded by transformers ({type(error).__name__}); name an intact folder"
            ) from None
    model = model.float().eval()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ConfigError(f"weights of {folder} hold NaN or infinity in {name}; name an intact folder")
    if kind == "bert":
        return _text_run(folder, weights, config, model)
    return _image_run(folder, weights, config, model)


def _text_run(folder: Path, weights: Path, config: Any, bert: nn.Module) -> Run:
    _refuse(folder, "is_decoder", bool(getattr(config, "is_decoder", False)), False)
    _refuse(folder, "position_embedding_type", getattr(config, "position_embedding_type", "absolute"), "absolute")
    pooling = _pooling(folder)
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True).backend_tokenizer.to_str()
        except Exception as error:  # noqa: BLE001 - transformers raises many kinds
            raise ConfigError(
                f"the tokenizer in {folder} can't be loaded ({type(error).__name__}); put its tokenizer.json there"
            ) from None
    normalizer = json.loads(tokenizer).get("normalizer") or {}
    tokenizer_json = canonical_tokenizer(tokenizer, lowercase=bool(normalizer.get("lowercase")))
    longest = min(int(config.max_position_embeddings), _sentence_length(folder) or int(config.max_position_embeddings))
    model = ModelConfig(
        profile="bert",
        text=TextEncoderConfig(model=folder.resolve().name, weights=str(folder), shape=shape_of(config)),
        text_spec=TextSpec(max_tokens=longest, kept_tokens=1),
    )
    built = MultimodalModel(Absent(), PlainText(bert, pooling), Absent(), PlainFusion(config.hidden_size))  # type: ignore[arg-type]
    return _run(folder, weights, Modality.TEXT, model, built, tokenizer_json, pooling)


def _image_run(folder: Path, weights: Path, config: Any, vit: nn.Module) -> Run:
    _refuse(folder, "num_channels", config.num_channels, 3)
    side = config.image_size
    if not isinstance(side, int):
        raise ConfigError(f"{folder} has image_size {side!r}; a square of one number is exported")
    model = ModelConfig(
        profile="vit",
        image=ImageEncoderConfig(backbone=folder.resolve().name, weights=str(folder)),
        image_spec=_image_spec(folder, side),
    )
    built = MultimodalModel(PlainImage(vit), Absent(), Absent(), PlainFusion(config.hidden_size))  # type: ignore[arg-type]
    return _run(folder, weights, Modality.IMAGE, model, built, b"", Pooling.CLS)


def _run(
    folder: Path,
    weights: Path,
    modality: Modality,
    config: ModelConfig,
    model: MultimodalModel,
    tokenizer_json: bytes,
    pooling: Pooling,
) -> Run:
    features, weights_sha256 = FeatureStats(), sha256_file(weights)
    digest = hashlib.sha256()
    for part in (asdict(config.image_spec), asdict(config.text_spec), pooling.value, modality.value):
        digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    digest.update(hashlib.sha256(tokenizer_json).digest())
    digest.update(weights_sha256.encode())
    info = RunInfo(
        foveal_version=__version__,
        recipe={"hub_folder": config.profile, WEIGHTS_SHA256: weights_sha256},
        model=config,
        data=(),
        seed=0,
        features=features,
        trained_heads=(),
        trained_subsets=(modality.value,),
        space_id=digest.hexdigest(),
        embedding_dim=model.embedding_dim,
    )
    return Run(folder, info, model.eval(), tokenizer_json)


def _pooling(folder: Path) -> Pooling:
    """As sentence-transformers' own file says; the CLS state where there is none."""
    if not (folder / POOLING).is_file():
        return Pooling.CLS
    document = _read(folder / POOLING, "")
    modes = {
        name.removeprefix("pooling_mode_") for name, on in document.items() if name.startswith("pooling_mode_") and on is True
    }
    known = {frozenset({"cls_token"}): Pooling.CLS, frozenset({"mean_tokens"}): Pooling.MEAN}
    try:
        return known[frozenset(modes)]
    except KeyError:
        raise ConfigError(
            f"{folder / POOLING} pools by {', '.join(sorted(modes)) or 'nothing'}; cls_token or mean_tokens alone is exported"
        ) from None


def _sentence_length(folder: Path) -> int | None:
    """Tokens that sentence-transformers reads of a text; None where its file is not there."""
    path = folder / "sentence_bert_config.json"
    length = _read(path, "").get("max_seq_length") if path.is_file() else None
    return length if isinstance(length, int) else None


def _image_spec(folder: Path, side_px: int) -> ImageSpec:
    document = _read(folder / PREPROCESSOR, f"{folder} does not say how photographs are prepared")
    _refuse(folder, "do_center_crop", bool(document.get("do_center_crop", False)), False)
    for step in ("do_resize", "do_rescale", "do_normalize"):
        _refuse(folder, step, bool(document.get(step, True)), True)
    factor = document.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float) or abs(factor * 255 - 1) > 1e-3:
        raise ConfigError(f"{folder / PREPROCESSOR} has rescale_factor {factor!r}; 1/255 is what foveal does")
    size = document.get("size", side_px)
    sides = set(size.values()) if isinstance(size, dict) else {size}
    if sides != {side_px} or (isinstance(size, dict) and not size.keys() <= {"height", "width"}):
        raise ConfigError(f"{folder / PREPROCESSOR} has size {size!r}; the model reads a square of {side_px}")
    return ImageSpec(
        side_px=side_px,
        crop=Crop.NONE,
        mean=_channels(folder, document, "image_mean"),
        std=_channels(folder, document, "image_std"),
    )


def _channels(folder: Path, document: dict[str, Any], name: str) -> tuple[float, float, float]:
    values = document.get(name)
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(value, int | float) for value in values):
        raise ConfigError(f"{folder / PREPROCESSOR} has {name} {values!r}; three numbers are needed")
    red, green, blue = map(float, values)
    return red, green, blue


def _refuse(folder: Path, name: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise ConfigError(f"{folder} has {name} {got!r}; only {wanted!r} is exported")


def _read(path: Path, what: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{what}: {path.name} is missing; name a folder that save_pretrained wrote") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read ({type(error).__name__}); name an intact folder") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} is no JSON object; name an intact folder")
    return document
