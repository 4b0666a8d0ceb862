"""Names of file formats that are not read, by how their files begin: "send a JPEG" helps who knows what was sent."""

from __future__ import annotations

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop's PSD"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"<", "HTML, XML or SVG"),
)
_BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"heim": "HEIC",
    b"mif1": "HEIC",
    b"msf1": "HEIC",
    b"avif": "AVIF",
    b"avis": "AVIF",
}
"""Major brands of ISO base media files (ISO/IEC 23008-12)."""


def foreign_format(data: bytes) -> str:
    """What a file that is not read seems to be; empty when nobody knows."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a film")
    return next((name for start, name in _BEGINNINGS if data.startswith(start)), "")
