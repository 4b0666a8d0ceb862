"""Make examples/photographs from IDRiD: five photographs as they are, one blurred on purpose, a table and the attribution.

    python scripts/example_photographs.py PATH_OF_IDRID

One photograph a grade, chosen by eye before any model had seen them; two are likely the eyes of one person (IDRiD names no
persons: consecutive numbers, mirrored, the same ground). The sixth is blurred here, to be refused. `LEFT_OUT` names these six
and the photographs that may show the same persons: the shipped model is trained without any of them (scripts/shipped_model.py).
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFilter

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "examples" / "photographs"
TABLE = TARGET / "labels.csv"
IMAGES = Path("1. Original Images") / "a. Training Set"
MAX_BYTES = 100_000
BLUR_PX = 7.0
"""Radius of the Gaussian blur, on a photograph of 1,024 px."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One photograph of the data set, and what it is here."""

    idrid: str
    file: str
    icdr: int
    patient: str
    eye: str
    blurred: bool = False


EXAMPLES = (
    Example(idrid="IDRiD_249", file="grade-0.jpg", icdr=0, patient="example-1", eye="right"),
    Example(idrid="IDRiD_301", file="grade-1.jpg", icdr=1, patient="example-2", eye="right"),
    Example(idrid="IDRiD_245", file="grade-2-right.jpg", icdr=2, patient="example-3", eye="right"),
    Example(idrid="IDRiD_308", file="grade-3.jpg", icdr=3, patient="example-4", eye="right"),
    Example(idrid="IDRiD_246", file="grade-4-left.jpg", icdr=4, patient="example-3", eye="left"),
    Example(idrid="IDRiD_222", file="blurred.jpg", icdr=0, patient="example-5", eye="left", blurred=True),
)
OTHER_EYES = ("IDRiD_250", "IDRiD_302", "IDRiD_309", "IDRiD_221")
"""Likely the other eyes of the same persons."""
LEFT_OUT = frozenset({*(example.idrid for example in EXAMPLES), *OTHER_EYES})

ATTRIBUTION = """# Where these photographs come from

Six fundus photographs of the **Indian Diabetic Retinopathy Image Dataset (IDRiD)**, training set of part B:
P. Porwal, S. Pachade, R. Kamble, M. Kokare, G. Deshmukh, V. Sahasrabuddhe, F. Meriaudeau, "Indian Diabetic Retinopathy Image
Dataset (IDRiD): A Database for Diabetic Retinopathy Screening Research", *Data* 3(3), 25, 2018, https://doi.org/10.3390/data3030025.
Camera: Kowa VX-10 alpha, 50 degrees, Nanded, India. Licence: [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/).

Changed: scaled to 1,024 px on the long side and compressed again, EXIF removed; `blurred.jpg` was also blurred on purpose
(`scripts/example_photographs.py`, which made this folder), so that there is a photograph that must be refused.

| file | in IDRiD | grade in IDRiD | |
| --- | --- | --- | --- |
{rows}

The model in `models/edge` has seen none of them, nor IDRiD_250, 302, 309 and 221, likely the other eyes of the same persons.
IDRiD names no persons: that `grade-2-right.jpg` and `grade-4-left.jpg` are two eyes of one is our guess, from their numbers
and looks. The `patient` and `eye` columns of `labels.csv` are ours, for the example of an exam.
"""


def main() -> int:
    """Write the folder anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("idrid", type=Path, help="folder that holds 'B. Disease Grading', or that part itself")
    root: Path = parser.parse_args().idrid
    images = next((base / IMAGES for base in (root / "B. Disease Grading", root) if (base / IMAGES).is_dir()), None)
    if images is None:
        parser.error(f"{root} holds no '{IMAGES}'; give the folder that contains 'B. Disease Grading'")
    TARGET.mkdir(parents=True, exist_ok=True)
    rows = []
    for example in EXAMPLES:
        source, target = images / f"{example.idrid}.jpg", TARGET / example.file
        if example.blurred:
            target.write_bytes(blurred(source.read_bytes()))
        else:
            shutil.copyfile(source, target)
        assert target.stat().st_size <= MAX_BYTES, f"{target} has {target.stat().st_size} bytes, at most {MAX_BYTES}"
        remark = "blurred on purpose" if example.blurred else ""
        rows.append(f"| {example.file} | {example.idrid} | {example.icdr} | {remark} |")
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "icdr", "patient", "eye"))
        writer.writerows((e.file, e.icdr, e.patient, e.eye) for e in EXAMPLES)
    (TARGET / "ATTRIBUTION.md").write_text(ATTRIBUTION.format(rows="\n".join(rows)), encoding="utf-8")
    print(f"{len(EXAMPLES)} photographs in {TARGET}")
    return 0


def blurred(data: bytes) -> bytes:
    """A JPEG out of focus."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").filter(ImageFilter.GaussianBlur(BLUR_PX)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
