"""Transfer syntaxes, photometric interpretations, planes and depths of DICOM: the photograph they were made of and what pydicom
makes of them, or refused. Encoders: imagecodecs, Pillow, pydicom."""

from __future__ import annotations

import io
import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from bundles import photograph as drawn
from PIL import Image

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.dicom import read_dicom
from foveal_runtime.photo.imaging import ImageLimits

pydicom = pytest.importorskip("pydicom")
imagecodecs = pytest.importorskip("imagecodecs")

RGB_HWC = np.asarray(Image.open(io.BytesIO(drawn(2))).convert("RGB"))[:180, :256]
GREY_HW = np.asarray(Image.fromarray(RGB_HWC).convert("L"))
GREY_HWC = np.repeat(GREY_HW[..., None], 3, axis=2)
YBR_HWC = np.asarray(Image.fromarray(RGB_HWC).convert("YCbCr"))
LOSSY, ROUNDED, EXACT = 3.0, 1.0, 0.0
"""Mean difference from the photograph that a way of writing it explains."""


@dataclass(frozen=True)
class Variant:
    """One way to write the photograph."""

    name: str
    syntax: str
    pixels: np.ndarray | bytes
    """Samples as they are stored, or the frame of a compressed file."""
    header: dict[str, Any]
    expected: np.ndarray
    off: float = EXACT
    readable: bool = True
    """False: it has to be refused, whatever decoders are installed."""
    by_the_book: bool = True
    """Whether the header is true, so that pydicom's pixels are right."""


NATIVE = ("ImplicitVRLittleEndian", "ExplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian")


def deep(samples: np.ndarray, bits: int) -> np.ndarray:
    """Samples of so many bits."""
    return samples if bits == 8 else np.round(samples * ((2**bits - 1) / 255)).astype(np.uint16)


def planes(samples_HWC: np.ndarray, planar: int) -> np.ndarray:
    return np.moveaxis(samples_HWC, -1, 0) if planar else samples_HWC


def halved_colour() -> np.ndarray:
    """YBR_FULL_422 without compression: two luminances, then one pair of colours for both."""
    pairs = YBR_HWC.reshape(YBR_HWC.shape[0], -1, 2, 3)
    colour = pairs[..., 1:].mean(axis=2).round().astype(np.uint8)
    return np.concatenate([pairs[..., 0], colour], axis=2)


def palette(bits: int, entry_bits: int) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Places in a table of 256 colours, the table, and the colours that it gives."""
    image = Image.fromarray(RGB_HWC).quantize(256)
    colours_NC = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    colours_NC = np.vstack([colours_NC, np.zeros((256 - len(colours_NC), 3), np.uint8)])
    places = np.asarray(image).astype(np.uint16 if bits == 16 else np.uint8)
    table: dict[str, Any] = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        table[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, entry_bits]
        entries = colours_NC[:, channel]
        entries = entries.astype("<u2") * 257 if entry_bits == 16 else entries
        table[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    return places, table, colours_NC[np.asarray(image)]


def uncompressed() -> Iterator[Variant]:
    for syntax in NATIVE:
        readable = "Deflated" not in syntax
        for planar, bits in itertools.product((0, 1), (8, 12, 16)):
            header = {"PhotometricInterpretation": "RGB", "PlanarConfiguration": planar, "BitsStored": bits}
            pixels = planes(deep(RGB_HWC, bits), planar)
            yield Variant(f"RGB {bits} {planar}", syntax, pixels, header, RGB_HWC, EXACT, readable)
        for planar in (0, 1):
            header = {"PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": planar}
            yield Variant(f"YBR_FULL {planar}", syntax, planes(YBR_HWC, planar), header, RGB_HWC, ROUNDED, readable)
        header = {"PhotometricInterpretation": "YBR_FULL_422"}
        yield Variant("YBR_FULL_422", syntax, halved_colour(), header, RGB_HWC, LOSSY, readable)
        for kind, bits in itertools.product(("MONOCHROME1", "MONOCHROME2"), (8, 10, 12, 16)):
            stored = deep(GREY_HW, bits)
            stored = stored if kind == "MONOCHROME2" else 2**bits - 1 - stored
            header = {"PhotometricInterpretation": kind, "BitsStored": bits}
            yield Variant(f"{kind} {bits}", syntax, stored, header, GREY_HWC, EXACT, readable)
        for bits, entry_bits in itertools.product((8, 16), (8, 16)):
            places, table, colours = palette(bits, entry_bits)
            header = {"PhotometricInterpretation": "PALETTE COLOR", **table}
            yield Variant(f"PALETTE {bits} {entry_bits}", syntax, places, header, colours, EXACT, readable)
        yield from refused(syntax)


def refused(syntax: str) -> Iterator[Variant]:
    """What has no agreed meaning as RGB, or can't be told."""
    for kind in ("YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "HSV", "XYB", ""):
        yield Variant(f"{kind} refused", syntax, YBR_HWC, {"PhotometricInterpretation": kind}, RGB_HWC, readable=False)
    for kind, signed in (("MONOCHROME2", GREY_HW), ("RGB", RGB_HWC)):
        header = {"PhotometricInterpretation": kind, "PixelRepresentation": 1, "BitsStored": 16}
        yield Variant(f"{kind} signed", syntax, deep(signed, 16), header, RGB_HWC, readable=False)
    for kind, samples in (("MONOCHROME2", GREY_HW), ("RGB", RGB_HWC)):
        header = {"PhotometricInterpretation": kind, "BitsStored": 12, "HighBit": 15}
        yield Variant(f"{kind} high", syntax, deep(samples, 12) << 4, header, RGB_HWC, readable=False)


def run_length() -> Iterator[Variant]:
    for variant in uncompressed():
        if variant.syntax != "ExplicitVRLittleEndian" or not variant.readable or "422" in variant.name:
            continue
        dataset = pydicom.dcmread(io.BytesIO(file_of(variant)))
        assert isinstance(variant.pixels, np.ndarray)
        planar = variant.pixels.ndim == 3 and variant.header["PlanarConfiguration"]
        samples = np.moveaxis(variant.pixels, 0, -1) if planar else variant.pixels
        dataset.compress(pydicom.uid.RLELossless, samples, encoding_plugin="pydicom")
        frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        yield Variant(variant.name, "RLELossless", frame, variant.header, variant.expected, variant.off)


def jpeg() -> Iterator[Variant]:
    for syntax, label, planar, (way, options) in itertools.product(
        ("JPEGBaseline8Bit", "JPEGExtended12Bit"), ("RGB", "YBR_FULL", "YBR_FULL_422"), (0, 1),
        (("4:2:0", {"subsampling": 2}), ("4:4:4", {"subsampling": 0}), ("RGB", {"keep_rgb": True})),
    ):  # fmt: skip
        buffer = io.BytesIO()
        Image.fromarray(RGB_HWC).save(buffer, "JPEG", quality=95, **options)
        true = not planar and (label == "RGB") == (way == "RGB")
        header = {"PhotometricInterpretation": label, "PlanarConfiguration": planar}
        yield Variant(f"{way} as {label} {planar}", syntax, buffer.getvalue(), header, RGB_HWC, LOSSY, by_the_book=true)
    for syntax, kind in itertools.product(("JPEGBaseline8Bit", "JPEGExtended12Bit"), ("MONOCHROME1", "MONOCHROME2")):
        buffer = io.BytesIO()
        Image.fromarray(GREY_HW if kind == "MONOCHROME2" else 255 - GREY_HW).save(buffer, "JPEG", quality=95)
        yield Variant(kind, syntax, buffer.getvalue(), {"PhotometricInterpretation": kind}, GREY_HWC, LOSSY)
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        stored = deep(GREY_HW if kind == "MONOCHROME2" else 255 - GREY_HW, 12)
        frame = bytes(imagecodecs.jpeg8_encode(stored, 95, bitspersample=12))
        header = {"PhotometricInterpretation": kind, "BitsStored": 12}
        yield Variant(f"{kind} 12", "JPEGExtended12Bit", frame, header, GREY_HWC, LOSSY)


def lossless_jpeg() -> Iterator[Variant]:
    """Frames that Pillow reads none of: JPEG's lossless process, and JPEG-LS."""

    def process_14(samples: np.ndarray, bits: int) -> bytes:
        return bytes(imagecodecs.ljpeg_encode(samples, bitspersample=bits))

    def jpeg_ls(samples: np.ndarray, bits: int) -> bytes:
        return bytes(imagecodecs.jpegls_encode(samples))

    ways: list[tuple[str, Callable[[np.ndarray, int], bytes], tuple[int, ...]]] = [
        ("JPEGLossless", process_14, (8, 12, 16)), ("JPEGLosslessSV1", process_14, (8, 12, 16)),
        ("JPEGLSLossless", jpeg_ls, (8, 16)), ("JPEGLSNearLossless", jpeg_ls, (8, 16)),
    ]  # fmt: skip
    for syntax, encode, depths in ways:
        for bits, kind in itertools.product(depths, ("MONOCHROME1", "MONOCHROME2")):
            stored = deep(GREY_HW if kind == "MONOCHROME2" else 255 - GREY_HW, bits)
            header = {"PhotometricInterpretation": kind, "BitsStored": bits}
            yield Variant(f"{kind} {bits}", syntax, encode(stored, bits), header, GREY_HWC)
        if encode is jpeg_ls:
            for label, samples, off in (("RGB", RGB_HWC, EXACT), ("YBR_FULL", YBR_HWC, ROUNDED)):
                header = {"PhotometricInterpretation": label}
                yield Variant(label, syntax, encode(samples, 8), header, RGB_HWC, off)


def jpeg_2000() -> Iterator[Variant]:
    for syntax, reversible in (("JPEG2000Lossless", True), ("JPEG2000", False), ("HTJ2KLossless", True), ("HTJ2K", False)):
        off = EXACT if reversible else LOSSY

        def encode(samples: np.ndarray, mct: bool, syntax: str = syntax, reversible: bool = reversible) -> bytes:
            samples = np.ascontiguousarray(samples)
            if "HT" in syntax:
                return bytes(imagecodecs.htj2k_encode(samples, reversible=reversible, rgb=mct))
            level = None if reversible else 60
            return bytes(imagecodecs.jpeg2k_encode(samples, level, codecformat="j2k", reversible=reversible, mct=mct))

        own = "YBR_RCT" if reversible else "YBR_ICT"
        for label, planar, mct in itertools.product(("RGB", own, "YBR_FULL"), (0, 1), (True, False)):
            samples = YBR_HWC if label == "YBR_FULL" and not mct else RGB_HWC
            header = {"PhotometricInterpretation": label, "PlanarConfiguration": planar}
            true = not planar and (label == own) == mct and not (label == "YBR_FULL" and mct)
            slack = max(off, ROUNDED) if label == "YBR_FULL" else off
            name = f"{label} {'mct' if mct else 'plain'} {planar}"
            yield Variant(name, syntax, encode(samples, mct), header, RGB_HWC, slack, by_the_book=true)
        for bits, kind in itertools.product((8, 16), ("MONOCHROME1", "MONOCHROME2")):
            stored = deep(GREY_HW if kind == "MONOCHROME2" else 255 - GREY_HW, bits)
            header = {"PhotometricInterpretation": kind, "BitsStored": bits}
            yield Variant(f"{kind} {bits}", syntax, encode(stored, False), header, GREY_HWC, off)
        header = {"PhotometricInterpretation": "RGB", "BitsStored": 16}
        yield Variant("RGB 16", syntax, encode(deep(RGB_HWC, 16), False), header, RGB_HWC, off)


def file_of(variant: Variant) -> bytes:
    """The DICOM file."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    syntax = getattr(pydicom.uid, variant.syntax)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1", "2.25.1"
    meta.TransferSyntaxUID = syntax
    how = {"is_implicit_VR": syntax.is_implicit_VR, "is_little_endian": syntax.is_little_endian}
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, **how)
    dataset.Rows, dataset.Columns = RGB_HWC.shape[:2]
    header = {"PlanarConfiguration": 0, "PixelRepresentation": 0, "BitsStored": 8, **variant.header}
    grey = header["PhotometricInterpretation"].startswith(("MONOCHROME", "PALETTE"))
    header.setdefault("SamplesPerPixel", 1 if grey else 3)
    header.setdefault("BitsAllocated", 8 if header["BitsStored"] == 8 else 16)
    header.setdefault("HighBit", header["BitsStored"] - 1)
    for name, value in header.items():
        setattr(dataset, name, value)
    big = "Big" in variant.syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is written here
        if isinstance(variant.pixels, bytes):
            dataset.PixelData = encapsulate([variant.pixels])
            dataset["PixelData"].VR = "OB"
        else:
            pixels = variant.pixels
            dataset.PixelData = (pixels.astype(">u2") if big and pixels.itemsize == 2 else pixels).tobytes()
            dataset["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def reference(data: bytes) -> np.ndarray | None:
    """What pydicom makes of it, as 8-bit RGB; None where it can't."""
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(data))
        try:
            array = pixel_array(dataset)
        except Exception:  # noqa: BLE001 - whatever it stumbles over
            return None
    most = 2.0**dataset.BitsStored - 1
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        array = apply_color_lut(array, dataset)
        most = 2.0 ** (8 * array.itemsize) - 1
    eight = np.round(array * (255 / most))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        eight = 255 - eight
    return np.repeat(eight[..., None], 3, axis=2) if eight.ndim == 2 else eight


def outcome(variant: Variant) -> str:
    """`read`, `refused`, or what is wrong."""
    data = file_of(variant)
    try:
        found = np.asarray(read_dicom(data, ImageLimits()).picture).astype(int)
    except ImageError as error:
        return "refused" if "DICOM" in str(error) else f"refused without a name: {error}"
    if not variant.readable:
        return "read, and has no agreed meaning"
    if found.shape != variant.expected.shape:
        return f"of another shape: {found.shape}"
    if (off := np.abs(found - variant.expected).mean()) > variant.off:
        return f"off by {off:.2f} from the photograph"
    theirs = reference(data)
    if variant.by_the_book and theirs is not None and (off := np.abs(found - theirs).mean()) > ROUNDED:
        return f"off by {off:.2f} from pydicom"
    return "read"


FAMILIES: dict[str, tuple[Callable[[], Iterator[Variant]], int, int]] = {
    "uncompressed": (uncompressed, 128, 63), "run length": (run_length, 20, 20), "JPEG": (jpeg, 42, 40),
    "lossless JPEG": (lossless_jpeg, 24, 0), "JPEG 2000": (jpeg_2000, 68, 32),
}  # fmt: skip
"""Variants, and how many at least are read without further decoders."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_variant_gives_the_photograph_or_is_refused(family: str) -> None:
    make, variants, readable = FAMILIES[family]
    outcomes = {f"{each.syntax} {each.name}": outcome(each) for each in make()}
    wrong = {name: found for name, found in outcomes.items() if found not in ("read", "refused")}
    assert not wrong
    assert len(outcomes) >= variants
    counts = Counter(outcomes.values())
    assert counts["read"] >= readable, [name for name, found in outcomes.items() if found == "refused"]
