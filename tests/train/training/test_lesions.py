"""Lesion masks as a target: they lie where the photograph shows them, whatever is cut, turned or zoomed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from foveal_runtime.errors import ConfigError, DataError
from foveal_runtime.photo.imaging import Crop, ImageSpec, load_square
from foveal_runtime.study.labels import ICDR, MISSING, SDRG
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample, load
from foveal_train.data.lesions import KINDS, read_masks
from foveal_train.model.weights import build_model
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.augment import augment_with
from foveal_train.training.lesions import LESIONS_LOSS, BatchLesions, LesionMaps, lesion_loss, lesion_maps
from foveal_train.training.recipe import AugmentationConfig, Recipe
from foveal_train.training.recipe_file import load_recipe
from foveal_train.training.trainer import Studies, Trainer

SPEC = ImageSpec(side_px=64, crop=Crop.FIELD)
EXUDATES = KINDS.index("hard_exudates")


def _drawn(folder: Path) -> Sample:
    """A field of view off the centre of a wide photograph, with one bright lesion up left in it, and its mask."""
    photograph, mask = Image.new("RGB", (300, 200)), Image.new("1", (300, 200))
    ImageDraw.Draw(photograph).ellipse((20, 10, 200, 190), fill=(150, 70, 40))
    for image, colour in ((photograph, (255, 255, 200)), (mask, 1)):
        ImageDraw.Draw(image).rectangle((58, 48, 74, 64), fill=colour)
    (folder / "hard_exudates").mkdir(parents=True)
    mask.save(folder / "hard_exudates" / "one.png")
    photograph.save(folder / "photograph.png")
    return Sample(id="one", patient_id="p", image_path=folder / "photograph.png")


def _shared(bright_SS: np.ndarray, map_RR: np.ndarray) -> float:
    """Share of the map's cells that are bright in the square as well, over those of either (Jaccard)."""
    side = len(bright_SS) // len(map_RR)
    cells = bright_SS.reshape(len(map_RR), side, len(map_RR), side).max((1, 3)) > 0
    return float((cells & (map_RR > 0)).sum() / (cells | (map_RR > 0)).sum())


def test_a_lesion_lies_in_the_map_where_the_square_shows_it(tmp_path: Path) -> None:
    sample = _drawn(tmp_path)
    maps = lesion_maps([Sample(id="other", patient_id="q", image_path=None), sample], SPEC, tmp_path)
    assert maps.places == {1: 0}
    square = load_square((tmp_path / "photograph.png").read_bytes(), SPEC)
    assert _shared(square[..., 2] > 150, maps.maps_LKRR[0, EXUDATES]) > 0.6
    assert maps.maps_LKRR.sum() == maps.maps_LKRR[0, EXUDATES].sum() > 0
    assert maps.batch(np.asarray([0, 2])) is None
    batch = maps.batch(np.asarray([5, 1, 0]))
    assert batch is not None
    assert batch.rows.tolist() == [1]


def test_maps_are_turned_as_their_photographs_are(tmp_path: Path) -> None:
    sample = _drawn(tmp_path)
    maps = lesion_maps([sample], SPEC, tmp_path)
    square = torch.from_numpy(load_square((tmp_path / "photograph.png").read_bytes(), SPEC).copy())
    images = (square.permute(2, 0, 1)[None] / 255).repeat(6, 1, 1, 1)
    config = AugmentationConfig(rotation_degrees=180, zoom=0.2, shift=0.05, brightness=0, contrast=0)
    rows = torch.tensor([1, 3, 5])
    given = BatchLesions(rows=rows, maps_BKRR=torch.from_numpy(maps.maps_LKRR).float().repeat(3, 1, 1, 1))
    torch.manual_seed(0)
    turned, lesions = augment_with(images, config, given)
    assert lesions is not None
    moved = 0
    for image, map_KRR in zip(turned[rows], lesions.maps_BKRR, strict=True):
        assert _shared((image[2] > 0.55).numpy(), (map_KRR[EXUDATES] > 0.3).numpy()) > 0.4
        moved += _shared((image[2] > 0.55).numpy(), maps.maps_LKRR[0, EXUDATES]) < 0.2
    assert moved == 3


def test_what_is_drawn_for_photographs_does_not_depend_on_maps() -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    config = AugmentationConfig(rotation_degrees=90, colour=0.2, noise=0.1)
    given = BatchLesions(rows=torch.tensor([2]), maps_BKRR=torch.zeros(1, 4, 8, 8))
    seen = []
    for lesions in (None, given):
        torch.manual_seed(0)
        seen.append(augment_with(images, config, lesions)[0])
    assert torch.equal(*seen)


def test_masks_are_found_under_the_names_of_their_twins_and_their_absence_is_said(tmp_path: Path) -> None:
    _drawn(tmp_path)
    (tmp_path / "same_as.csv").write_text("image,twin\none,IDRiD_102\nother,IDRiD_007\n")
    masks = read_masks(tmp_path)
    assert masks.names == {"IDRiD_102": "one"}
    assert masks.places("IDRiD_102", "haemorrhages").shape == (0, 2)
    with pytest.raises(ConfigError, match="no training study has lesion masks"):
        lesion_maps([Sample(id="one", patient_id="p", image_path=tmp_path / "photograph.png")], SPEC, tmp_path)
    with pytest.raises(DataError, match="holds no lesion masks"):
        read_masks(tmp_path / "hard_exudates")
    with pytest.raises(ConfigError, match=r"losses\.lesion_masks=PATH"):
        load_recipe("tiny", ("losses.lesions=0.5",))


def test_the_loss_asks_of_each_cell_whether_a_lesion_reaches_into_it() -> None:
    maps = torch.zeros(1, 4, 8, 8)
    maps[0, 1, 0, 7] = 1
    right = torch.full((1, 2, 2, 4), -9.0)
    right[0, 0, 1, 1] = 9.0
    assert float(lesion_loss(right.flatten(1, 2), maps)) < 1e-3
    assert float(lesion_loss(right.transpose(1, 2).flatten(1, 2), maps)) > 0.5
    with pytest.raises(ConfigError, match="no square map"):
        lesion_loss(torch.zeros(1, 5, 4), maps)


def test_a_training_learns_where_lesions_are(tmp_path: Path) -> None:
    count = 16
    overrides = ("optimiser.epochs=8", "optimiser.batch_size=8", "image_spec.side_px=64", "modalities=['image']")
    recipe = load_recipe("tiny", (*overrides, "losses.lesions=1.0", f"losses.lesion_masks={tmp_path}"))
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 90, (count, 64, 64, 3), dtype=np.uint8)
    maps = np.zeros((count, len(KINDS), 16, 16), np.uint8)
    for row in range(count):
        y, x = rng.integers(0, 2, 2) * 32
        squares[row, y : y + 24, x : x + 24] = 240
        maps[row, EXUDATES, y // 4 : y // 4 + 6, x // 4 : x // 4 + 6] = 1
    arrays = StudyArrays(
        ids=tuple(str(i) for i in range(count)),
        squares_NSSC=squares,
        notes=tuple(np.zeros(0, np.int64) for _ in range(count)),
        features_NF=np.zeros((count, 6), np.float32),
        present_NM=np.tile(np.asarray([m is Modality.IMAGE for m in Modality]), (count, 1)),
        labels={ICDR: rng.integers(0, 5, count).astype(np.int64), SDRG: np.full(count, MISSING, np.int64)},
        note_groups_N=np.zeros(count, np.int64),
        image_spec=ImageSpec(side_px=64),
        samples=tuple(Sample(id=str(i), patient_id=str(i), image_path=None) for i in range(count)),
    )

    def losses(lesions: LesionMaps | None, recipe: Recipe) -> list[float | None]:
        model = build_model(recipe.model, seed=0).model
        fitted = Trainer(model, recipe, Studies(train=arrays, lesions=lesions), (ICDR,)).fit()
        return [row["train"].get(LESIONS_LOSS) for row in fitted.history]

    half = LesionMaps(places={row: row for row in range(0, count, 2)}, maps_LKRR=maps)
    seen = losses(half, recipe)
    assert seen[0] is not None and seen[-1] is not None and seen[-1] < 0.7 * seen[0]  # noqa: PT018 - for the type checker
    assert set(losses(half, replace(recipe, losses=replace(recipe.losses, lesions=0.0)))) == {None}


def test_real_hard_exudates_are_brighter_than_what_lies_around_them(idrid: Path) -> None:
    folder = idrid.parent / "idrid-lesions"
    if not folder.is_dir():
        pytest.skip(f"lesion masks are absent: no {folder}")
    masks = read_masks(folder)
    samples = load(f"idrid:{idrid}").samples
    assert len({sample.id for sample in samples} & masks.names.keys()) == 41
    chosen = [sample for sample in samples if len(masks.names) and sample.id in masks.names][:8]
    spec = ImageSpec(side_px=288)
    maps = lesion_maps(chosen, spec, folder)
    brighter = []
    for place, sample in enumerate(chosen):
        data = sample.image_bytes()
        assert data is not None
        green = load_square(data, spec)[..., 1].astype(float).reshape(72, 4, 72, 4).mean((1, 3))
        here = maps.maps_LKRR[place, EXUDATES] > 0
        near = np.asarray(Image.fromarray(here).convert("L").resize((18, 18), Image.Resampling.BOX).resize((72, 72))) > 0
        brighter.append(green[here].mean() - green[near & ~here].mean())
    assert min(brighter) > 0
