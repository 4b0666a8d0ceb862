"""A photograph on paper is cropped like the same eye on camera black, and one on black exactly as ever. Generated eyes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.engine.engine import Engine
from foveal_runtime.photo.imaging import ImageSpec, field_box, load_square, photograph, square
from foveal_runtime.study.labels import ICDR, softmax
from foveal_runtime.study.study import Eye, Study
from foveal_train.data.synthetic.render import render_fundus

ROOT = Path(__file__).parents[3]
MODEL, EXAMPLES = ROOT / "models" / "edge", ROOT / "examples" / "photographs"
SPEC = ImageSpec(side_px=288)


def eye(seed: int, grade: int = 0) -> np.ndarray:
    """A drawn eye on black, cut above and below, small in its frame."""
    drawn = render_fundus(seed=seed, eye=Eye.LEFT, side_px=560, icdr=grade)
    frame = np.zeros((520, 760, 3), np.uint8)
    frame[:, 100:660] = drawn[20:540]
    return frame


def on_paper(rgb_HWC: np.ndarray, level: int = 250, spread: float = 1.5) -> np.ndarray:
    """The same eye, cut out along its edge and put on paper."""
    outside = rgb_HWC.max(axis=2) <= 18
    # Dark vessels inside are no ground.
    ground = outside & ~(np.maximum.accumulate(~outside, 1) & np.maximum.accumulate(~outside[:, ::-1], 1)[:, ::-1])
    paper = np.random.default_rng(0).normal(level, spread, rgb_HWC.shape).clip(0, 255).astype(np.uint8)
    return np.where(ground[..., None], paper, rgb_HWC)


def file_of(rgb_HWC: np.ndarray, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb_HWC).save(buffer, kind, quality=95)
    return buffer.getvalue()


def old_box(picture: Image.Image) -> tuple[float, float, float, float]:
    """`field_box` as it was before there was paper."""
    width, height = picture.size
    step = max(1, max(height, width) // 256)
    lit_HW = np.asarray(picture)[::step, ::step].max(axis=2) > 18
    columns, rows = np.flatnonzero(lit_HW.mean(axis=0) > 0.02), np.flatnonzero(lit_HW.mean(axis=1) > 0.02)
    if columns.size < 8 or rows.size < 8:
        left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    else:
        left, right = float(columns[0] * step), min(float((columns[-1] + 1) * step), float(width))
        top, bottom = float(rows[0] * step), min(float((rows[-1] + 1) * step), float(height))
    side, x, y = max(right - left, bottom - top), (left + right) / 2, (top + bottom) / 2
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


@pytest.mark.parametrize("level", [110, 180, 235, 250, 255])
@pytest.mark.parametrize(
    ("kind", "seeds"), [("JPEG", 1), ("PNG", 1), *(pytest.param(kind, 4, marks=pytest.mark.slow) for kind in ("JPEG", "PNG"))]
)
def test_an_eye_on_paper_gives_nearly_the_square_of_the_same_eye_on_black(kind: str, seeds: int, level: int) -> None:
    for seed in range(seeds):
        black_HWC = eye(seed, grade=seed)
        left, top, right, bottom = field_box(Image.fromarray(black_HWC))
        found = field_box(Image.fromarray(on_paper(black_HWC, level)))
        assert np.abs(np.subtract(found, (left, top, right, bottom))).max() <= 6
        ours = load_square(file_of(on_paper(black_HWC, level), kind), SPEC).astype(int)
        theirs = load_square(file_of(black_HWC, kind), SPEC).astype(int)
        assert np.abs(ours - theirs).mean() < 3
        assert (ours[:20, :20] == 0).all()


def test_an_eye_on_paper_gets_nearly_the_embedding_and_grade_of_the_same_eye_on_black() -> None:
    """Real eyes: what a model makes of drawn ones, which it never saw, differs from training to training."""
    photographs = sorted(EXAMPLES.glob("grade-*.jpg"))
    if not (photographs and MODEL.is_dir()):
        pytest.skip(f"no photographs in {EXAMPLES} or no model in {MODEL}: a source archive holds neither")
    engine = Engine(Bundle.open(MODEL))
    cosines, apart = [], []
    for file in photographs:
        black_HWC = np.asarray(Image.open(file).convert("RGB"))
        studies = [engine.prepare(Study(image=file_of(each))) for each in (black_HWC, on_paper(black_HWC))]
        on_black, pale = engine.run(studies, kinds=frozenset({VectorKind.IMAGE}))
        cosines.append(float(np.dot(on_black.vectors[VectorKind.IMAGE], pale.vectors[VectorKind.IMAGE])))
        apart.append(float(np.abs(softmax(on_black.logits[ICDR]) - softmax(pale.logits[ICDR])).max()))
    assert len(cosines) == 5
    assert min(cosines) > 0.98, cosines
    assert sum(cosines) / len(cosines) > 0.99, cosines
    assert max(apart) < 0.1, apart


def test_a_photograph_on_black_is_cropped_exactly_as_before(idrid: Path) -> None:
    for file in sorted(idrid.rglob("*.jpg"))[::40]:
        picture = photograph(file.read_bytes(), SPEC)
        assert field_box(picture) == old_box(picture)
    for seed in range(6):
        assert field_box(Image.fromarray(eye(seed))) == old_box(Image.fromarray(eye(seed)))


def test_a_page_without_an_eye_and_a_pale_retina_that_fills_its_frame_are_left_whole() -> None:
    page = np.full((300, 400, 3), 250, np.uint8)
    page[100:110, 40:200] = 20  # a line of text
    retina = eye(3)[120:400, 240:520]
    for rgb_HWC in (page, retina, np.maximum(retina, 90)):
        picture = Image.fromarray(np.ascontiguousarray(rgb_HWC))
        assert field_box(picture) == old_box(picture)


def test_a_dark_photograph_on_a_white_page_is_cropped_to_its_field() -> None:
    page = np.full((700, 1000, 3), 252, np.uint8)
    page[90:610, 120:880] = eye(5)
    found = square(Image.fromarray(page), SPEC).astype(int)
    assert np.abs(found - square(Image.fromarray(eye(5)), SPEC)).mean() < 6
