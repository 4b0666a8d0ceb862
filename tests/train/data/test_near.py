"""Photographs that are nearly the same: found at another exposure and with a box, never between two eyes; and only reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from foveal_train.cli.data import check
from foveal_train.data import load
from foveal_train.data.near import MIN_AGREEMENT, near_pairs, perceptual_hash

Pixels = npt.NDArray[np.uint8]


def brighter(pixels: Pixels, gamma: float) -> Pixels:
    return np.asarray(255 * (pixels / 255.0) ** gamma, np.uint8)


def boxed(pixels: Pixels, value: int) -> Pixels:
    spoiled = pixels.copy()
    spoiled[: len(pixels) // 6, : len(pixels) // 3] = value
    return spoiled


def agreement(one: Pixels, other: Pixels) -> float:
    first, second = perceptual_hash(one), perceptual_hash(other)
    assert first is not None
    assert second is not None
    return float((first == second).mean())


def test_real_photographs_agree_with_themselves_alone(idrid: Path) -> None:
    files = [s.image_path for s in load(f"idrid:{idrid}").samples[:40] if s.image_path is not None]
    photographs = [np.asarray(Image.open(file).convert("RGB").resize((600, 400))) for file in files]
    for pixels in photographs[:10]:
        for other in (
            brighter(pixels, 0.6),
            brighter(pixels, 1.6),
            (pixels * 0.5).astype(np.uint8),
            boxed(pixels, 0),
            boxed(pixels, 255),
        ):
            assert agreement(pixels, other) > 0.9
    hashes = [bits for pixels in photographs if (bits := perceptual_hash(pixels)) is not None]
    assert len(hashes) == len(photographs)
    assert near_pairs(hashes) == []
    assert near_pairs([*hashes, hashes[3]]) == [(3, len(hashes), 1.0)]
    assert MIN_AGREEMENT < 0.9


def test_a_plain_picture_has_no_hash() -> None:
    assert perceptual_hash(np.full((80, 80, 3), 90, np.uint8)) is None
    assert near_pairs([]) == []


def test_near_duplicates_are_reported_and_fail_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(4)
    for name in "ab":
        noise = rng.integers(40, 200, (24, 24, 3), np.uint8)
        Image.fromarray(noise).resize((160, 160), Image.Resampling.BICUBIC).save(tmp_path / f"{name}.png")
    Image.fromarray(brighter(np.asarray(Image.open(tmp_path / "a.png")), 0.7)).save(tmp_path / "c.png")
    check(f"folder:{tmp_path}")
    told = capsys.readouterr().out
    assert "nearly the same: 1" in told
    assert "a.png and c.png agree by" in told
    assert "duplicates: none" in told
