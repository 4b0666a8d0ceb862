"""Pictures that are no fundus photograph, drawn: what must be refused as such. Drawings, each with random parts.

Many are chosen to be hard: warm colours, round fields on black, branching lines. Each kind takes a generator of random numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from recast import Picture, Pixels, Rng, picture_of

SIDE = 640
_Y, _X = (np.mgrid[:SIDE, :SIDE].astype(np.float32) + 0.5) / (SIDE / 2) - 1
_FAR = np.sqrt(_X * _X + _Y * _Y)


def _grains(rng: Rng, cells: int) -> Pixels:
    """Smooth noise, of deviation 1, so many cells wide."""
    small = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _cloud(rng: Rng, finest: int = 160, *, roughness: float = 0.5) -> Pixels:
    """Noise of many scales, -1 to 1 or so."""
    total, weight, cells = np.zeros((SIDE, SIDE), np.float32), 1.0, 4
    while cells <= finest:
        total += np.float32(weight) * _grains(rng, cells)
        weight, cells = weight * roughness, cells * 2
    return total / 2


def _warm(rng: Rng) -> npt.NDArray[np.float64]:
    """A colour that a retina might have."""
    red = rng.uniform(130, 235)
    green = red * rng.uniform(0.35, 0.75)
    return np.array([red, green, green * rng.uniform(0.35, 0.95)])


def _any(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
    return red, green, blue


def _tinted(plane: Pixels, colour: npt.ArrayLike) -> Picture:
    return picture_of(plane[..., None] * np.asarray(colour))


def _round(picture: Picture, rng: Rng, *, soft: bool = False) -> Picture:
    """In a round field on black, as scopes show it."""
    radius = rng.uniform(0.75, 0.98)
    inside = ((radius - _FAR) * (8 if soft else 120) + 0.5).clip(0, 1)
    return picture_of(np.asarray(picture, np.float32) * inside[..., None])


def noise(rng: Rng) -> Picture:
    return Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))


def blank(rng: Rng) -> Picture:
    return Image.new("RGB", (SIDE, SIDE), _any(rng))


def black(rng: Rng) -> Picture:
    return Image.fromarray(rng.integers(0, int(rng.integers(2, 16)), (SIDE, SIDE, 3), dtype=np.uint8))


def gradient(rng: Rng) -> Picture:
    angle, phase = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.3, 1.0, 3)
    return picture_of(
        np.stack([127 * (1 + p * (np.cos(a) * _X + np.sin(a) * _Y)) for a, p in zip(angle, phase, strict=True)], -1)
    )


def page(rng: Rng) -> Picture:
    image = Image.new("RGB", (SIDE, SIDE * 5 // 4), tuple(int(v) for v in rng.uniform(215, 256, 3)))
    draw, size = ImageDraw.Draw(image), int(rng.integers(9, 18))
    for y in range(20, image.height - 20, int(size * 1.4)):
        letters = "".join(chr(int(c)) for c in rng.integers(97, 123, int(rng.integers(20, 90))))
        draw.text((20, y), letters, fill=(30, 30, int(rng.integers(30, 120))), font_size=size)
    return image


def bar_chart(rng: Rng) -> Picture:
    image = Image.new("RGB", (SIDE, SIDE * 3 // 4), "white" if rng.random() < 0.7 else "black")
    draw = ImageDraw.Draw(image)
    for i in range(int(rng.integers(4, 12))):
        draw.rectangle((40 + 48 * i, int(rng.uniform(40, 420)), 76 + 48 * i, 440), fill=_any(rng))
    draw.line((30, 20, 30, 440, 620, 440), fill=(120, 120, 120), width=3)
    return image


def pie_chart(rng: Rng) -> Picture:
    image = Image.new("RGB", (SIDE, SIDE), "white" if rng.random() < 0.5 else "black")
    draw, ends = ImageDraw.Draw(image), np.sort(rng.uniform(0, 360, int(rng.integers(2, 7))))
    for start, end in zip(ends, np.roll(ends, -1), strict=True):
        colour = tuple(int(v) for v in _warm(rng)) if rng.random() < 0.6 else _any(rng)
        draw.pieslice((60, 60, SIDE - 60, SIDE - 60), start, end if end > start else end + 360, fill=colour)
    return image


def scan(rng: Rng) -> Picture:
    """An X-ray or the like: grey shapes on black."""
    image = Image.new("RGB", (SIDE, SIDE))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y, w, h = (int(v) for v in rng.integers(20, SIDE - 100, 4))
        draw.ellipse((x, y, x + w // 4, y + h // 4), fill=(int(rng.integers(20, 255)),) * 3)
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 6))))


def ultrasound(rng: Rng) -> Picture:
    """A grey fan of speckle."""
    angle = np.arctan2(_X, _Y + 1.1)
    far = np.hypot(_X, _Y + 1.1)
    inside = (np.abs(angle) < rng.uniform(0.4, 0.8)) & (far > 0.25) & (far < 1.9)
    return _tinted((90 + 70 * _cloud(rng) + rng.normal(0, 25, _FAR.shape)) * inside, (1, 1, 1))


def oct_slice(rng: Rng) -> Picture:
    """Layers of a retina in section, speckled; in grey or in hues."""
    depth = _Y - 0.25 * _grains(rng, 4) - 0.3 * np.exp(-((_X / 0.3) ** 2))
    layers = sum(
        rng.uniform(40, 160) * np.exp(-(((depth - d) / rng.uniform(0.02, 0.07)) ** 2)) for d in np.linspace(-0.4, 0.4, 7)
    )
    plane = (layers + 12) * rng.gamma(3, 1 / 3, _FAR.shape).astype(np.float32)
    return _tinted(plane, (1, 1, 1) if rng.random() < 0.6 else (1.3, rng.uniform(0.5, 0.9), rng.uniform(0, 0.4)))


def chart(rng: Rng) -> Picture:
    cells = int(rng.integers(3, 14))
    return Image.fromarray(rng.integers(0, 255, (cells, cells, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.NEAREST
    )


def screen(rng: Rng) -> Picture:
    """Windows and lines, as a screenshot has them."""
    image = Image.new("RGB", (SIDE * 3 // 2, SIDE), _any(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 14))):
        x, y, w, h = (int(v) for v in rng.integers(10, 500, 4))
        draw.rectangle((x, y, x + w, y + h // 2), fill=_any(rng), outline=(90, 90, 90))
        draw.text((x + 8, y + 8), "".join(chr(int(c)) for c in rng.integers(97, 123, 30)), fill=_any(rng), font_size=14)
    return image


def sky(rng: Rng) -> Picture:
    blue = 190 - 65 * _Y + 8 * rng.normal(0, 1, _FAR.shape)
    clouds = (60 * _cloud(rng)).clip(0, 120)
    return picture_of(np.stack([blue * 0.5 + clouds, blue * 0.7 + clouds, blue + clouds / 2], -1))


def sunset(rng: Rng) -> Picture:
    sun = np.hypot(_X - rng.uniform(-0.4, 0.4), _Y - rng.uniform(-0.1, 0.5))
    light = 0.75 - 0.35 * np.abs(_Y - 0.4) + 0.15 * _cloud(rng, 40) + 0.8 * np.exp(-((sun / rng.uniform(0.08, 0.25)) ** 2))
    return _tinted(light * (1 - 0.8 * (rng.uniform(0.5, 0.8) < _Y)), _warm(rng) * 1.2)


def skin(rng: Rng) -> Picture:
    """The hardest of the plain ones: fundus colours without a disc."""
    base = np.array([rng.uniform(120, 235), 0, 0])
    base[1:] = base[0] * rng.uniform(0.6, 0.8), base[0] * rng.uniform(0.45, 0.7)
    return picture_of(base + 14 * _cloud(rng)[..., None] + rng.normal(0, rng.uniform(2, 14), (SIDE, SIDE, 1)))


def face(rng: Rng) -> Picture:
    tone = np.array([1.0, rng.uniform(0.6, 0.78), rng.uniform(0.45, 0.65)]) * rng.uniform(110, 230)
    image = Image.new("RGB", (SIDE, SIDE), _any(rng))
    draw = ImageDraw.Draw(image)
    draw.ellipse((120, 60, 520, 600), fill=tuple(int(v) for v in tone))
    draw.pieslice((110, 30, 530, 420), 180, 360, fill=tuple(int(v) for v in rng.integers(10, 90, 3)))
    for x in (230, 400):
        draw.ellipse((x - 35, 250, x + 35, 285), fill=(235, 230, 225))
        draw.ellipse((x - 16, 252, x + 16, 284), fill=(70, 50, 40))
    draw.ellipse((260, 440, 380, 480), fill=(170, 70, 75))
    return picture_of(np.asarray(image.filter(ImageFilter.GaussianBlur(3)), np.float32) + 8 * _cloud(rng)[..., None])


def plain_disc(rng: Rng) -> Picture:
    """Fundus colours and shape, nothing in it."""
    fall = 1 - rng.uniform(0, 0.4) * _FAR**2
    return _round(_tinted(fall, _warm(rng)), rng)


def clouded_disc(rng: Rng) -> Picture:
    """Fundus colours and shape, and shapeless texture in it: a planet, a plate, a lamp."""
    plane = (
        1
        - rng.uniform(0, 0.5) * _FAR**2
        + rng.uniform(0.05, 0.3) * _cloud(rng, int(rng.choice([20, 80, 320])), roughness=rng.uniform(0.4, 0.9))
    )
    return _round(_tinted(plane, _warm(rng)), rng)


def ball(rng: Rng) -> Picture:
    """An orange or a ball: shaded from one side, a highlight, pores."""
    angle, height = rng.uniform(0, 2 * np.pi), np.sqrt((1 - (_FAR / 0.9) ** 2).clip(0, 1))
    light = 0.3 + 0.6 * height + 0.35 * (_X * np.cos(angle) + _Y * np.sin(angle)) + 0.04 * _grains(rng, 120)
    gloss = np.exp(-(((_X - 0.35 * np.cos(angle)) ** 2 + (_Y - 0.35 * np.sin(angle)) ** 2) / 0.01))
    inside = (_FAR < 0.9)[..., None]
    ground = np.array(_any(rng)) if rng.random() < 0.5 else np.zeros(3)
    return picture_of((light[..., None] * _warm(rng) + 140 * gloss[..., None]) * inside + ground * ~inside)


def moon(rng: Rng) -> Picture:
    plane = 150 + 50 * _cloud(rng)
    for _ in range(60):
        x, y, r = rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9), rng.uniform(0.01, 0.12)
        plane += 35 * np.exp(-(((np.hypot(_X - x, _Y - y) - r) / (0.25 * r)) ** 2))
    return _round(_tinted(plane, (1, rng.uniform(0.85, 1), rng.uniform(0.7, 1))), rng)


def food(rng: Rng) -> Picture:
    """A round dish of many warm pieces, on a plate or a table."""
    image = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in rng.uniform(20, 240, 3)))
    draw = ImageDraw.Draw(image)
    draw.ellipse((30, 30, SIDE - 30, SIDE - 30), fill=tuple(int(v) for v in _warm(rng)))
    for _ in range(int(rng.integers(20, 120))):
        r, a, size = 270 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi), rng.uniform(6, 45)
        x, y = SIDE / 2 + r * np.cos(a), SIDE / 2 + r * np.sin(a)
        colour = _warm(rng) if rng.random() < 0.8 else np.array([60, 130, 50])
        draw.ellipse((x - size, y - size * rng.uniform(0.5, 1), x + size, y + size), fill=tuple(int(v) for v in colour))
    return picture_of(np.asarray(image.filter(ImageFilter.GaussianBlur(1.5)), np.float32) * (1 + 0.15 * _cloud(rng)[..., None]))


def cup(rng: Rng) -> Picture:
    """Coffee from above: a brown disc in a pale ring, on a table."""
    image = wood(rng) if rng.random() < 0.6 else Image.new("RGB", (SIDE, SIDE), _any(rng))
    draw, (x, y), radius = ImageDraw.Draw(image), rng.uniform(220, 420, 2), rng.uniform(110, 240)
    for share, colour in (
        (1.5, rng.uniform(150, 250, 3)),
        (1.0, rng.uniform(180, 255, 3)),
        (0.88, _warm(rng) * rng.uniform(0.3, 0.8)),
    ):
        r = share * radius
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(int(v) for v in colour))
    return picture_of(
        np.asarray(image.filter(ImageFilter.GaussianBlur(2)), np.float32) * (1 + 0.1 * _cloud(rng, 40)[..., None])
    )


def wood(rng: Rng) -> Picture:
    stretch = np.asarray(
        Image.fromarray(rng.normal(0, 1, (6, 160)).astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    )
    rings = np.sin(rng.uniform(15, 50) * (_X + 0.15 * _grains(rng, 4)))
    made = _tinted(0.75 + 0.12 * rings + 0.1 * stretch, _warm(rng))
    return made if rng.random() < 0.5 else made.transpose(Image.Transpose.ROTATE_90)


def bricks(rng: Rng) -> Picture:
    image = Image.new("RGB", (SIDE, SIDE), (170, 160, 150))
    draw, high = ImageDraw.Draw(image), int(rng.integers(20, 60))
    for row, y in enumerate(range(0, SIDE, high)):
        for x in range(-high if row % 2 else 0, SIDE, 2 * high):
            colour = np.array([165, 80, 60]) * rng.uniform(0.8, 1.2)
            draw.rectangle((x + 2, y + 2, x + 2 * high - 3, y + high - 3), fill=tuple(int(v) for v in colour))
    return picture_of(np.asarray(image, np.float32) * (1 + 0.1 * _cloud(rng, 320)[..., None]))


def grass(rng: Rng) -> Picture:
    return picture_of(
        (110 + 45 * _cloud(rng, 320, roughness=0.95))[..., None] * np.array([rng.uniform(0.5, 1), 1, rng.uniform(0.3, 0.6)])
    )


def warm_texture(rng: Rng) -> Picture:
    """Fur, cloth, sand: warm noise of many scales that fills the picture."""
    return _tinted(0.85 + rng.uniform(0.1, 0.3) * _cloud(rng, 320, roughness=rng.uniform(0.5, 1.0)), _warm(rng))


def _branches(rng: Rng, width: float, starts: int) -> Picture:
    """Forking lines, white on black."""
    image = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(image)
    ends = [(rng.uniform(0, SIDE), float(SIDE), -np.pi / 2, width) for _ in range(starts)]
    while ends:
        x, y, angle, thick = ends.pop()
        for _ in range(int(rng.integers(4, 10))):
            angle += rng.normal(0, 0.2)
            nx, ny = x + 18 * np.cos(angle), y + 18 * np.sin(angle)
            draw.line((x, y, nx, ny), fill=255, width=max(1, int(thick)))
            x, y = nx, ny
        if thick > 1.2:
            ends += [(x, y, angle + s * rng.uniform(0.2, 0.7), thick * rng.uniform(0.55, 0.85)) for s in (-1, 1)]
    return image


def tree(rng: Rng) -> Picture:
    """Bare branches before a sky."""
    mask = np.asarray(_branches(rng, rng.uniform(8, 22), int(rng.integers(1, 4))), np.float32)[..., None] / 255
    ground = _tinted(0.9 + 0.1 * _cloud(rng, 20), _warm(rng) * 1.1 if rng.random() < 0.5 else (140, 180, 230))
    return picture_of(np.asarray(ground, np.float32) * (1 - mask) + mask * rng.uniform(10, 70))


def leaf(rng: Rng) -> Picture:
    """Light veins on green or autumn red."""
    veins = np.asarray(_branches(rng, rng.uniform(6, 12), 2).filter(ImageFilter.GaussianBlur(1)), np.float32) / 255
    colour = np.array([90, 150, 50]) if rng.random() < 0.5 else _warm(rng)
    return _tinted(0.8 + 0.1 * _cloud(rng) + 0.35 * veins, colour)


def cracks(rng: Rng) -> Picture:
    """Dry ground: cells with dark borders."""
    points = rng.uniform(-1, 1, (int(rng.integers(15, 50)), 2))
    near = np.partition(np.stack([np.hypot(_X - x, _Y - y) for x, y in points]), 1, axis=0)[:2]
    edge = 1 - 0.7 * np.exp(-(((near[1] - near[0]) / 0.015) ** 2))
    return _tinted(edge * (0.9 + 0.1 * _cloud(rng, 320)), _warm(rng))


def histology(rng: Rng) -> Picture:
    """Pink tissue with purple nuclei on a slide."""
    image = Image.new("RGB", (SIDE, SIDE), (235, 185, 210))
    draw = ImageDraw.Draw(image)
    for _ in range(500):
        x, y, r = rng.uniform(0, SIDE), rng.uniform(0, SIDE), rng.uniform(3, 9)
        draw.ellipse(
            (x - r, y - r, x + r, y + r * rng.uniform(0.5, 1)), fill=(int(rng.uniform(80, 140)), 60, int(rng.uniform(130, 170)))
        )
    made = picture_of(np.asarray(image.filter(ImageFilter.GaussianBlur(1)), np.float32) * (1 + 0.12 * _cloud(rng)[..., None]))
    return made if rng.random() < 0.5 else _round(made, rng)


def dermoscopy(rng: Rng) -> Picture:
    """A mole on skin, under a round lens."""
    tone = np.array([1.0, rng.uniform(0.65, 0.8), rng.uniform(0.55, 0.75)]) * rng.uniform(170, 230)
    edge = np.hypot(_X, _Y * rng.uniform(0.8, 1.2)) + 0.12 * _grains(rng, 6)
    mole = ((rng.uniform(0.25, 0.5) - edge) * 10).clip(0, 1)[..., None] * (0.8 + 0.2 * _cloud(rng)[..., None])
    pixels = tone * (1 + 0.04 * _cloud(rng)[..., None]) * (1 - mole) + np.array([95, 60, 45]) * mole
    hairs = np.asarray(_branches(rng, 1.5, int(rng.integers(0, 12))), np.float32)[..., None] / 255
    return _round(picture_of(pixels * (1 - 0.7 * hairs)), rng, soft=bool(rng.random() < 0.5))


def endoscopy(rng: Rng) -> Picture:
    """A tube of red folds with a dark end, wet highlights, in a round field with cut corners."""
    x, y = rng.uniform(-0.3, 0.3, 2)
    far = np.hypot(_X - x, _Y - y) + 0.08 * _grains(rng, 6)
    folds = 0.15 * np.sin(far * rng.uniform(8, 20) + 2 * _grains(rng, 4))
    light = (1 - np.exp(-((far / rng.uniform(0.25, 0.5)) ** 2))) * (0.75 + folds + 0.1 * _cloud(rng))
    gloss = 200 * (_grains(rng, 40) > 2.4)
    colour = np.array([rng.uniform(170, 230), rng.uniform(70, 120), rng.uniform(50, 100)])
    return _round(picture_of(light[..., None] * colour + gloss[..., None]), rng)


def eardrum(rng: Rng) -> Picture:
    """A pale, glossy membrane with a light cone, in a round field, skin round it."""
    drum = ((0.6 - np.hypot(_X, 1.1 * _Y) + 0.05 * _grains(rng, 5)) * 12).clip(0, 1)[..., None]
    cone = np.exp(-(((_X - 0.2 - 0.4 * (_Y - 0.2)) / 0.06) ** 2)) * (_Y > 0.05) * (_Y < 0.45)
    pixels = drum * np.array([205, 180, 160]) + (1 - drum) * np.array([190, 110, 85]) * (0.9 - 0.5 * (_FAR > 0.8)[..., None])
    return _round(picture_of(pixels * (1 + 0.08 * _cloud(rng)[..., None]) + 90 * cone[..., None]), rng)


def traffic(rng: Rng) -> Picture:
    """Lamps at night."""
    pixels = np.full((SIDE, SIDE, 3), rng.uniform(4, 25))
    for _ in range(int(rng.integers(2, 25))):
        x, y, r = rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9), rng.uniform(0.04, 0.35)
        glow = np.exp(-((np.hypot(_X - x, _Y - y) / r) ** 4))[..., None]
        pixels += glow * (_warm(rng) if rng.random() < 0.7 else np.array(_any(rng)))
    return picture_of(pixels)


DRAWN: dict[str, Callable[[Rng], Picture]] = {
    f.__name__.replace("_", " "): f
    for f in (
        noise, blank, black, gradient, page, bar_chart, pie_chart, scan, ultrasound, oct_slice, chart, screen, sky, sunset,
        skin, face, plain_disc, clouded_disc, ball, moon, food, cup, wood, bricks, grass, warm_texture, tree, leaf, cracks,
        histology, dermoscopy, endoscopy, eardrum, traffic,
    )
}  # fmt: skip
"""By name; `outer_eyes` has more."""
