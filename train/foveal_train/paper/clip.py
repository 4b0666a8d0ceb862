"""CLIP as the paper's baseline: load it, embed photographs and notes, train it further. Measures nothing.

transformers' CLIPModel from the hub or from a local folder in the hub's layout (config.json, weights, tokenizer files,
preprocessor_config.json). Photographs are squeezed to its square and notes cut to its 77 tokens, as everything else is
read: the arrays are the model's own. Shapes: N studies, B rows of a batch, K prompts, E CLIP's own width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor

from foveal_runtime.errors import ConfigError, DataError
from foveal_runtime.photo.imaging import Crop, ImageSpec
from foveal_runtime.study.labels import CLASSES, Head
from foveal_runtime.study.notes import NoteTokeniser, TextSpec, pad_notes
from foveal_runtime.study.study import Modality
from foveal_train.model.weights import canonical_tokenizer
from foveal_train.paper.fitting import Rows, fit_best
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.augment import augment
from foveal_train.training.recipe import ClipConfig, Recipe

Vectors = npt.NDArray[np.float32]
_BATCH = 32
_MAX_LOG_SCALE = math.log(100)
"""CLIP never scales its logits by more than 100 while it trains (Radford et al. 2021, section 2.5)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """CLIP with what prepares its inputs."""

    model: Any
    """transformers.CLIPModel."""
    image_spec: ImageSpec
    tokenise: NoteTokeniser

    @property
    def parameters(self) -> int:
        """Parameters of both encoders."""
        return sum(p.numel() for p in self.model.parameters())


def load_clip(config: ClipConfig) -> Clip:
    """CLIP from the hub or a local folder.

    Raises:
        ConfigError: it can't be had, or is no CLIP.
    """
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

    local = config.weights != "hub"
    source = config.weights if local else config.model
    try:
        model = CLIPModel.from_pretrained(source, local_files_only=local)
        processor = CLIPImageProcessor.from_pretrained(source, local_files_only=local)
        tokenizer = CLIPTokenizerFast.from_pretrained(source, local_files_only=local)
    except Exception as error:  # noqa: BLE001 - hub clients raise many kinds
        where = f"folder {source}" if local else f"the hub ({source})"
        raise ConfigError(
            f"CLIP can't be had from {where} ({type(error).__name__}); let the hub be reached, or name a folder in the hub's "
            "layout (--set clip.weights=PATH)"
        ) from None
    spec = ImageSpec(
        side_px=int(model.config.vision_config.image_size),
        crop=Crop.NONE,
        mean=_per_channel(processor.image_mean),
        std=_per_channel(processor.image_std),
    )
    longest = int(model.config.text_config.max_position_embeddings)
    text = canonical_tokenizer(tokenizer.backend_tokenizer.to_str(), lowercase=True)
    tokenise = NoteTokeniser(text, TextSpec(max_tokens=longest, kept_tokens=longest - 1))
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return Clip(model=model, image_spec=spec, tokenise=tokenise)


def save_weights(clip: Clip, path: Path) -> None:
    """Write both encoders' weights, whole or not at all.

    Raises:
        DataError: the disk is full or the folder can't be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(clip.model, str(part))
    except (OSError, SafetensorError):
        part.unlink(missing_ok=True)
        raise DataError(f"{path} can't be written; free space or name another folder with --out") from None
    part.replace(path)


def load_weights(clip: Clip, path: Path) -> None:
    """Take weights that `save_weights` wrote.

    Raises:
        ConfigError: they are not of this CLIP.
    """
    try:
        load_model(clip.model, path)
    except (OSError, SafetensorError, RuntimeError):
        raise ConfigError(f"{path} does not hold the weights of this CLIP; remove it, and the sweep trains it again") from None


def _per_channel(values: Any) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)


def _tokens(clip: Clip, notes: Sequence[npt.NDArray[np.int64]]) -> dict[str, Tensor]:
    ids_BT, mask_BT = pad_notes(list(notes))
    device = clip.model.device
    return {"input_ids": torch.from_numpy(ids_BT).to(device), "attention_mask": torch.from_numpy(mask_BT).to(device)}


def _projected(features: Any) -> Tensor:
    """The projected vectors, which transformers 4 returns as they are and 5 as an output's `pooler_output`."""
    return features if isinstance(features, Tensor) else torch.as_tensor(features.pooler_output)


def embed_images(clip: Clip, arrays: StudyArrays) -> Vectors:
    """Unit vectors of every study's photograph, `[N, E]`; zeros where there is none."""
    vectors_NE = np.zeros((len(arrays), int(clip.model.config.projection_dim)), np.float32)
    able = np.flatnonzero(arrays.rows(Modality.IMAGE))
    with torch.inference_mode():
        for start in range(0, len(able), _BATCH):
            rows = able[start : start + _BATCH]
            pixels = arrays.inputs(rows, subset=frozenset({Modality.IMAGE})).pixels_BCHW
            assert pixels is not None
            found = _projected(clip.model.get_image_features(pixel_values=pixels.to(clip.model.device)))
            vectors_NE[rows] = F.normalize(found.float(), dim=-1).cpu().numpy()
    return vectors_NE


def embed_texts(clip: Clip, texts: Sequence[npt.NDArray[np.int64]]) -> Vectors:
    """Unit vectors of token sequences, `[K, E]`."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(texts), _BATCH):
            found = _projected(clip.model.get_text_features(**_tokens(clip, texts[start : start + _BATCH])))
            parts.append(F.normalize(found.float(), dim=-1).cpu().numpy())
    return np.concatenate(parts)


def embed_notes(clip: Clip, arrays: StudyArrays) -> Vectors:
    """Unit vectors of every study's note, `[N, E]`: one and the same for the same note, zeros where there is none."""
    vectors_NE = np.zeros((len(arrays), int(clip.model.config.projection_dim)), np.float32)
    able = np.flatnonzero(arrays.rows(Modality.TEXT))
    if len(able):
        _, first, back = np.unique(arrays.note_groups_N[able], return_index=True, return_inverse=True)
        vectors_NE[able] = embed_texts(clip, [arrays.notes[able[row]] for row in first])[back]
    return vectors_NE


def grade_by_prompts(clip: Clip, images_NE: Vectors, head: Head, prompt: str) -> npt.NDArray[np.int64]:
    """The grade whose prompt lies nearest to each photograph."""
    prompts = [clip.tokenise(prompt.format(grade=name)).ids_T for name in CLASSES[head]]
    return np.asarray((images_NE @ embed_texts(clip, prompts).T).argmax(1), np.int64)


def fine_tune(
    clip: Clip, recipe: Recipe, train: StudyArrays, validation: StudyArrays, *, report: Callable[[int], None] | None = None
) -> int:
    """Train CLIP further on photographs with notes, in place, with its own loss and temperature.

    As in CLIP every other pair of the batch is a negative, identical notes included.

    Args:
        clip: changed in place; holds the epoch of least validation loss afterwards.
        recipe: epochs, batch size, rate, decay, clipping, early stop, augmentation and seed.
        train: training studies; those without photograph or note are left out.
        validation: for the best epoch; when it has no pair the last epoch is kept.
        report: called with every finished epoch.

    Returns:
        The epoch that was kept.

    Raises:
        CheckFailed: the loss is NaN or infinite.
    """
    config, model = recipe.optimiser, clip.model
    torch.manual_seed(recipe.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    pair = frozenset({Modality.IMAGE, Modality.TEXT})
    rows, held_out = np.flatnonzero(train.has(pair)), np.flatnonzero(validation.has(pair))

    def validate() -> float | None:
        if len(held_out) < 2:
            return None
        with torch.inference_mode():
            parts = [held_out[start : start + _BATCH] for start in range(0, len(held_out), _BATCH)]
            return sum(float(_loss(clip, validation, part, None)) * len(part) for part in parts)

    def clamp() -> None:
        with torch.no_grad():
            model.logit_scale.clamp_(max=_MAX_LOG_SCALE)

    return fit_best(
        model,
        optimiser,
        config,
        rows,
        loss=lambda batch: _loss(clip, train, batch, recipe),
        validate=validate,
        advice=lambda epoch: f"CLIP's loss is not finite in epoch {epoch}; lower optimiser.learning_rate",
        least=2,
        stepped=clamp,
        report=report,
    )


def _loss(clip: Clip, arrays: StudyArrays, rows: Rows, recipe: Recipe | None) -> Tensor:
    """CLIP's symmetric cross-entropy over a batch; a recipe augments."""
    images = arrays.images(rows)
    pixels = arrays.inputs(rows, images_BCSS=images if recipe is None else augment(images, recipe.augmentation)).pixels_BCHW
    assert pixels is not None
    answer = clip.model(pixel_values=pixels.to(clip.model.device), **_tokens(clip, [arrays.notes[row] for row in rows]))
    similarity_BB = answer.logits_per_text.float()
    own_B = torch.arange(len(rows), device=similarity_BB.device)
    return (F.cross_entropy(similarity_BB, own_B) + F.cross_entropy(similarity_BB.T, own_B)) / 2
