"""A picture sheet: what a search found, as one HTML or PNG file. Draws cards; searches nothing and knows no server.

The photographs come from a local folder: the archive keeps none. A sheet shows photographs of patients and is for its owner
alone (0600); patient references are not on it.
"""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path

from foveal_runtime.errors import ConfigError

SUFFIXES = (".html", ".png")
_SIDE_PX = 280
_COLUMNS = 4
_GAP_PX = 16
_LINE_PX = 20
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); gap: 1rem }
figure { margin: 0; padding: .5rem; border: 1px solid #ddd; border-radius: 6px }
img, .none { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #000; color: #999 }
.none { display: grid; place-items: center; text-align: center }
figcaption { margin-top: .5rem; overflow-wrap: anywhere }
h2, figcaption b { font-weight: 600 }
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One photograph with what is written under it."""

    picture: bytes | None
    """The photograph's file; None draws an empty place."""
    lines: tuple[str, ...]
    """The first is the title."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A query and its hits."""

    title: str
    query: Card | None
    """The query's own photograph, where it has one."""
    hits: tuple[Card, ...]
    remark: str
    """How the hits were found."""


def check_target(target: Path) -> Path:
    """`target` itself.

    Raises:
        ConfigError: neither HTML nor PNG, or its folder does not exist. Told before the search, not after it.
    """
    if target.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"a picture sheet is {' or '.join(SUFFIXES)}, got {target.name!r}; name such a file")
    if not target.parent.is_dir():
        raise ConfigError(f"folder {target.parent} does not exist; make it first")
    return target


def write(target: Path, sheet: Sheet) -> None:
    """Write the sheet in the form that the file's suffix says, readable for its owner alone."""
    data = _html(sheet).encode() if target.suffix.lower() == ".html" else _png(sheet)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)


def _thumbnail(data: bytes | None) -> bytes | None:
    """A JPEG of at most `_SIDE_PX` a side; None for what can't be read."""
    from PIL import Image, ImageOps

    from foveal_runtime.errors import ImageError
    from foveal_runtime.photo.imaging import open_header

    if data is None:
        return None
    try:
        picture = open_header(data)
        picture.draft("RGB", (_SIDE_PX, _SIDE_PX))
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    except (ImageError, OSError):
        return None
    upright.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    upright.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _html(sheet: Sheet) -> str:
    query = f"<main>{_figure(sheet.query)}</main><h2>Found</h2>" if sheet.query is not None else ""
    hits = "".join(_figure(card) for card in sheet.hits) or "<p>Nothing stored fits.</p>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(sheet.title)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(sheet.title)}</h1>{query}<main>{hits}</main><p>{escape(sheet.remark)}</p></html>\n"
    )


def _figure(card: Card) -> str:
    thumbnail = _thumbnail(card.picture)
    if thumbnail is None:
        picture = '<div class="none">photograph not at hand</div>'
    else:
        picture = f'<img alt="{escape(card.lines[0])}" src="data:image/jpeg;base64,{base64.b64encode(thumbnail).decode()}">'
    first, *rest = (escape(line) for line in card.lines)
    return f"<figure>{picture}<figcaption>{'<br>'.join([f'<b>{first}</b>', *rest])}</figcaption></figure>"


def _png(sheet: Sheet) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    cards = [*([sheet.query] if sheet.query is not None else []), *sheet.hits]
    most_lines = max((len(card.lines) for card in cards), default=0)
    width_px, height_px = _SIDE_PX + _GAP_PX, _SIDE_PX + _GAP_PX + most_lines * _LINE_PX
    rows = -(-len(cards) // _COLUMNS)
    top_px = 3 * _LINE_PX
    size_px = (_GAP_PX + _COLUMNS * width_px, top_px + rows * height_px + 2 * _LINE_PX)
    canvas = Image.new("RGB", size_px, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)

    def fitting(text: str, room_px: int) -> str:
        while text and draw.textlength(text, font) > room_px:
            text = text[:-2] + "…" if text.endswith("…") else text[:-1] + "…"
        return text

    draw.text((_GAP_PX, _GAP_PX), fitting(sheet.title, size_px[0] - 2 * _GAP_PX), "black", ImageFont.load_default(18))
    for number, card in enumerate(cards):
        left, top = _GAP_PX + number % _COLUMNS * width_px, top_px + number // _COLUMNS * height_px
        thumbnail = _thumbnail(card.picture)
        if thumbnail is None:
            draw.rectangle((left, top, left + _SIDE_PX, top + _SIDE_PX), "black")
            draw.text((left + 20, top + _SIDE_PX // 2), "photograph not at hand", "gray", font)
        else:
            canvas.paste(Image.open(io.BytesIO(thumbnail)), (left, top))
        for place, line in enumerate(card.lines):
            draw.text((left, top + _SIDE_PX + 2 + place * _LINE_PX), fitting(line, _SIDE_PX), "black", font)
    draw.text((_GAP_PX, size_px[1] - 2 * _LINE_PX), fitting(sheet.remark, size_px[0] - 2 * _GAP_PX), "gray", font)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
