"""How often the gradability checks are right: real fundus photographs that must pass, and made failures that must not.

    python benchmarks/runtime_quality.py /data/idrid --json benchmarks/results/runtime_quality.json

From every n-th photograph it makes blurred, darkened, blanked and cropped-away ones, and it draws pictures that are no
fundus: noise, gradients, grey scans, text pages, colour charts, skies and skin. Prints the share refused of each kind.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from foveal_runtime.imaging import ImageSpec, decode
from foveal_runtime.quality import Quality, measure, verdict

Picture = Image.Image


def photographs(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif", ".tiff"))


def spoilt(photo: Picture, rng: np.random.Generator) -> Iterator[tuple[str, Picture]]:
    """What a screening clinic throws away, made of a good photograph."""
    width, height = photo.size
    unit = max(width, height) / 384
    for radius in (1.5, 2.5, 5.0, 10.0):
        yield f"blurred {radius:g}", photo.filter(ImageFilter.GaussianBlur(radius * unit))
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
        return Image.fromarray(np.stack(rng.permutation(planes), -1).astype(np.uint8))

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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=10, help="spoil every n-th photograph")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    spec = ImageSpec()
    refused: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    files = photographs(args.folder)
    extremes: dict[str, list[float]] = collections.defaultdict(list)
    for i, file in enumerate(files):
        rgb_HWC = decode(file.read_bytes(), spec)
        measures = measure(rgb_HWC)
        for name in measures.__slots__:
            extremes[name].append(float(getattr(measures, name)))
        refused["real photographs"][verdict(measures).name] += 1
        if i % args.every == 0:
            for name, picture in spoilt(Image.fromarray(rgb_HWC), rng):
                refused[name][verdict(measure(np.asarray(picture))).name] += 1
    for name, make in others(rng).items():
        for _ in range(20):
            refused[name][verdict(measure(np.asarray(make()))).name] += 1
    bad = total = 0
    for name, counts in refused.items():
        share = 1 - counts[Quality.GRADABLE.name] / counts.total()
        print(f"{name:32s} refused {share:7.2%} of {counts.total():4d}  {dict(counts)}")
        if name != "real photographs":
            bad, total = bad + counts.total() - counts[Quality.GRADABLE.name], total + counts.total()
    print(f"{'all that must be refused':32s} refused {bad / total:7.2%} of {total:4d}")
    print({name: (round(min(values), 3), round(max(values), 3)) for name, values in extremes.items()})
    if args.json:
        document = {"refused": {name: dict(counts) for name, counts in refused.items()}, "share_of_bad_refused": bad / total}
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
