"""How often the gradability checks are right: fundus photographs that must pass, and made failures that must not.

    python benchmarks/runtime_quality.py /data/idrid --half odd --json benchmarks/results/runtime_quality.json

The fitted check has seen these photographs: what it does on those that it has not seen is in fit_quality.py's report. Here the
strengths are fixed, as they were for the hand-set thresholds before it (`--half odd`: the half that these were not set on), and
`--others` adds real pictures of other things, none of which the fit has seen. Every n-th photograph is also recast as another
camera would give it (small files, soft lenses, colour casts, black level, noise, exposure, vignettes, other fields of view),
which must pass, and spoilt (blurred, darkened, cropped away, other colours), which must not. Pictures that are no fundus are
drawn: noise, gradients, grey scans, text pages, colour charts, skies, skin.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, UnidentifiedImageError

from foveal_runtime.photo.imaging import ImageSpec, field_box, photograph
from foveal_runtime.photo.quality import Quality, assess

Picture = Image.Image


def photographs(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif", ".tiff"))


def _of(values: np.ndarray) -> Picture:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _file(picture: Picture, width: int, quality: int) -> Picture:
    """As a JPEG of that width would come back."""
    buffer = io.BytesIO()
    picture.resize((width, picture.height * width // picture.width), Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=quality
    )
    return Image.open(buffer).convert("RGB")


def recast(photo: Picture, rng: np.random.Generator) -> Iterator[tuple[str, Picture]]:
    """As another camera would give it."""
    width, height = photo.size
    unit = max(width, height) / 384
    pixels_HWC = np.asarray(photo, np.float32)
    left, top, right, bottom = field_box(photo)
    middle_x, middle_y, radius = (left + right) / 2, (top + bottom) / 2, (right - left) / 2
    y, x = np.mgrid[:height, :width] - np.array([middle_y, middle_x])[:, None, None]
    far = np.sqrt(x * x + y * y) / radius

    def window(across: float, down: float) -> Picture:
        half_w, half_h = across * radius, down * radius
        box = (middle_x - half_w, max(0.0, middle_y - half_h), middle_x + half_w, min(float(height), middle_y + half_h))
        left, top, right, bottom = (int(v) for v in box)
        return photo.crop((left, top, right, bottom))

    for wide, quality in ((320, 75), (400, 50), (400, 75), (512, 75), (600, 85)):
        yield f"file {wide} px wide, quality {quality}", _file(photo, wide, quality)
    for blur in (0.4, 0.6, 0.8):
        yield f"soft {blur}", photo.filter(ImageFilter.GaussianBlur(blur * unit))
    yield "soft 0.6, 500 px wide", _file(photo.filter(ImageFilter.GaussianBlur(0.6 * unit)), 500, 80)
    for name, gains in (
        ("warm", (1.1, 0.9, 0.7)), ("green", (0.85, 1.12, 1.0)), ("blue", (0.85, 1.0, 1.4)), ("pink", (1.1, 0.8, 1.2)),
        ("pale", (0.95, 1.1, 1.25)),
    ):  # fmt: skip
        yield f"cast: {name}", _of(pixels_HWC * np.array(gains, np.float32))
    yield "less saturated", _of(0.65 * pixels_HWC + 0.35 * pixels_HWC.mean(axis=2, keepdims=True))
    for gamma in (0.7, 1.5):
        yield f"gamma {gamma}", _of(255 * (pixels_HWC / 255) ** gamma)
    for black in (12, 24):
        yield f"black raised by {black}", _of(pixels_HWC * (1 - black / 255) + black)
    for exposure in (0.55, 1.35):
        yield f"exposure {exposure}", _of(pixels_HWC * exposure)
    yield "noise", _of(pixels_HWC + rng.normal(0, 6, pixels_HWC.shape))
    yield "vignette", _of(pixels_HWC * (1 - 0.6 * far**2).clip(0.1, 1)[..., None])
    angle = rng.random() * 2 * np.pi
    yield (
        "tilted light",
        _of(pixels_HWC * (0.75 + 0.35 * (x * np.cos(angle) + y * np.sin(angle)) / radius).clip(0.2, 1.3)[..., None]),
    )
    yield "smaller field", _of(pixels_HWC * (far < 0.78)[..., None])
    yield (
        "cut to the circle",
        photo.crop((max(0, int(left)), max(0, int(top)), min(width, int(right)), min(height, int(bottom)))),
    )
    yield "cut to 4:3, corners of the circle left", window(0.85, 0.68)
    yield "cut inside the circle", window(0.63, 0.63)
    yield "turned", photo.rotate(30, Image.Resampling.BICUBIC)
    stamped = photo.copy()
    draw = ImageDraw.Draw(stamped)
    draw.text((10, 10), "OD 45 deg 12:33", fill="white", font_size=24)
    draw.text((width - 160, height - 40), "clinic 7", fill=(0, 255, 0), font_size=24)
    yield "stamped", stamped


def spoilt(photo: Picture, rng: np.random.Generator) -> Iterator[tuple[str, Picture]]:
    """What a screening clinic throws away, made of a good photograph."""
    width, height = photo.size
    unit = max(width, height) / 384
    for radius in (1.5, 2.5, 5.0, 10.0):
        yield f"blurred {radius:g}", photo.filter(ImageFilter.GaussianBlur(radius * unit))
    yield "blurred 2.5, 500 px wide", _file(photo.filter(ImageFilter.GaussianBlur(2.5 * unit)), 500, 80)
    length = int(6 * unit)
    sums = np.cumsum(np.pad(np.asarray(photo, np.float32), ((0, 0), (length, 0), (0, 0)), mode="edge"), axis=1)
    yield "blurred by motion", _of((sums[:, length:] - sums[:, :-length]) / length)
    yield "dark", Image.eval(photo, lambda v: v // 8)
    for name, box in (
        ("left third", (0, 0, width // 3, height)),
        ("bottom quarter", (0, height * 3 // 4, width, height)),
        ("corner", (0, 0, width // 3, height // 3)),
    ):
        kept = Image.new("RGB", photo.size)
        kept.paste(photo.crop(box), box[:2])
        yield f"cropped away: {name} kept", kept
    half = photo.copy()
    half.paste((0, 0, 0), (width // 2, 0, width, height))
    yield "cropped away: left half kept", half
    yield "grey", photo.convert("L").convert("RGB")
    red, green, blue = photo.split()
    yield "channels swapped", Image.merge("RGB", (blue, green, red))
    yield "inverted", Image.eval(photo, lambda v: 255 - v)


def others(rng: np.random.Generator) -> dict[str, Callable[[], Picture]]:
    """Pictures that are no fundus."""
    side = 640

    def noise() -> Picture:
        return Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8))

    def blank() -> Picture:
        return Image.new("RGB", (side, side), tuple(int(v) for v in rng.integers(0, 255, 3)))

    def black() -> Picture:
        return Image.fromarray(rng.integers(0, 12, (side, side, 3), dtype=np.uint8))

    def gradient() -> Picture:
        ramp = np.linspace(0, 255, side)
        planes = [np.outer(np.ones(side), ramp), np.outer(ramp, np.ones(side)), np.full((side, side), rng.integers(0, 255))]
        return Image.fromarray(np.stack(list(rng.permutation(planes)), -1).astype(np.uint8))

    def page() -> Picture:
        image = Image.new("RGB", (side, side), "white")
        draw = ImageDraw.Draw(image)
        for y in range(20, side - 20, 14):
            draw.text((20, y), "".join(chr(int(c)) for c in rng.integers(97, 123, 80)), fill="black")
        return image

    def scan() -> Picture:
        image = Image.new("RGB", (side, side))
        draw = ImageDraw.Draw(image)
        for _ in range(40):
            x, y, w, h = (int(v) for v in rng.integers(20, side - 100, 4))
            grey = int(rng.integers(20, 255))
            draw.ellipse((x, y, x + w // 4, y + h // 4), fill=(grey, grey, grey))
        return image

    def chart() -> Picture:
        colours = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        return Image.fromarray(colours).resize((side, side), Image.Resampling.NEAREST)

    def sky() -> Picture:
        blue = np.linspace(255, 120, side)[:, None] * np.ones((1, side))
        noise_HW = rng.normal(0, 6, (side, side))
        return Image.fromarray(np.stack([blue * 0.5 + noise_HW, blue * 0.7 + noise_HW, blue], -1).clip(0, 255).astype(np.uint8))

    def skin() -> Picture:
        """The hardest: fundus colours without a disc."""
        base = np.array([205, 150, 120]) + rng.normal(0, 10, 3)
        texture = rng.normal(0, 12, (side, side, 1))
        return Image.fromarray((base + texture).clip(0, 255).astype(np.uint8))

    def disc() -> Picture:
        """A plain orange disc: fundus colours and shape, nothing in it."""
        image = Image.new("RGB", (side, side))
        ImageDraw.Draw(image).ellipse((20, 20, side - 20, side - 20), fill=(170, 80, 40))
        return image

    return {f.__name__: f for f in (noise, blank, black, gradient, page, scan, chart, sky, skin, disc)}


def _real(folder: Path) -> Iterator[tuple[str, Picture]]:
    for file in photographs(folder):
        try:
            yield file.name, Image.open(file).convert("RGB")
        except (UnidentifiedImageError, OSError):
            continue


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=("even", "odd", "all"), default="all", help="photographs at these places")
    parser.add_argument("--every", type=int, default=10, help="recast and spoil every n-th photograph")
    parser.add_argument("--others", type=Path, help="folder of real pictures that are no fundus")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    verdicts: dict[str, dict[str, collections.Counter[str]]] = {
        group: collections.defaultdict(collections.Counter) for group in ("as they are", "recast", "spoilt", "no fundus")
    }

    def judge(group: str, name: str, picture: Picture) -> None:
        verdicts[group][name][assess(picture).name] += 1

    files = photographs(args.folder)
    files = {"even": files[::2], "odd": files[1::2], "all": files}[args.half]
    for i, file in enumerate(files):
        photo = photograph(file.read_bytes(), ImageSpec())
        judge("as they are", "photographs", photo)
        if i % args.every == 0:
            for group, made in (("recast", recast(photo, rng)), ("spoilt", spoilt(photo, rng))):
                for name, picture in made:
                    judge(group, name, picture)
    for name, make in others(rng).items():
        for _ in range(20):
            judge("no fundus", name, make())
    for _, picture in _real(args.others) if args.others else ():
        judge("no fundus", "real pictures", picture)
    document: dict[str, object] = {
        "half": args.half,
        "photographs": len(files),
        "recast and spoilt": -(-len(files) // args.every),
    }
    for group, kinds in verdicts.items():
        total = sum(counts.total() for counts in kinds.values())
        refused = total - sum(counts[Quality.GRADABLE.name] for counts in kinds.values())
        print(f"{group}: {refused} of {total} refused, {refused / total:.2%}")
        for name, counts in kinds.items():
            print(f"    {name:40s} {1 - counts[Quality.GRADABLE.name] / counts.total():7.2%}  {dict(counts)}")
        document[group] = {"total": total, "refused": refused, "kinds": {name: dict(counts) for name, counts in kinds.items()}}
    if args.json:
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
