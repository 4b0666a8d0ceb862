"""Mutated photographs, DICOM files, notes, records and raw frames to a real server: every answer is typed, and it lives on."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from bundles import photograph
from dicoms import dicom
from google.rpc import code_pb2
from PIL import Image
from servers import RunningServer

from foveal_runtime._proto import screening_pb2, study_pb2

pytest.importorskip("pydicom")

TYPED = {"INVALID_ARGUMENT", "FAILED_PRECONDITION"}


def seeds() -> list[bytes]:
    """A photograph in every format."""
    picture = Image.open(io.BytesIO(photograph(1, width=96, height=72)))
    files = []
    for kind, options in (
        ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("GIF", {}), ("BMP", {}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    rgb_HWC = np.asarray(picture)
    files += [
        dicom(rgb_HWC, PatientAge="061Y", PatientSex="F"),
        dicom(rgb_HWC[..., 1].astype("<u2") * 16, bits=12),
        dicom(rgb_HWC, encapsulate=files[0], PatientBirthDate="19600301", StudyDate="20210301"),
    ]
    return files


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut, doubled or spliced, mostly near the beginning where headers are."""
    bad = bytearray(data)
    for _ in range(int(rng.integers(1, 12))):
        reach = len(bad) if rng.random() < 0.3 else min(len(bad), 1024 if bad[128:132] == b"DICM" else 256)
        if reach < 4:
            break
        place = int(rng.integers(0, reach))
        action = rng.integers(0, 5)
        if action == 0:
            bad[place] = int(rng.integers(0, 256))
        elif action == 1:
            bad[place : place + 4] = bytes(rng.choice([0, 0x7F, 0x80, 0xFF], 4).astype(np.uint8))
        elif action == 2:
            del bad[place : place + int(rng.integers(1, 64))]
        elif action == 3:
            bad[place:place] = bad[place : place + int(rng.integers(1, 64))]
        else:
            bad = bad[: max(4, int(rng.integers(0, len(bad))))]
    return bytes(bad)


def study(files: list[bytes], rng: np.random.Generator) -> study_pb2.Study:
    message = study_pb2.Study(id=str(rng.integers(1 << 30)))
    kind = rng.integers(0, 6)
    if kind <= 2:
        message.image.encoded = mutated(files[int(rng.integers(len(files)))], rng)
    elif kind == 3:
        raw = message.image.raw
        raw.width, raw.height = (int(v) for v in rng.choice([0, 1, 31, 40, 65_536, 2**32 - 1], 2))
        raw.sample_type = int(rng.integers(0, 6))  # type: ignore[assignment]
        raw.pixels = rng.bytes(int(rng.choice([0, 1, 40 * 40 * 3, 40 * 40 * 12])))
    elif kind == 4:
        size = int(rng.choice([0, 5, 200, 3000]))
        message.note = "".join(chr(int(c)) for c in rng.integers(1, 0xD7FF, size)) if rng.random() < 0.8 else "\0" * size
    if kind == 5 or rng.random() < 0.3:
        record = message.record
        for name in ("age_years", "diabetes_years"):
            if rng.random() < 0.6:
                setattr(record, name, float(rng.choice([-1, 0, 61, 1e308, np.nan, np.inf, 125, 126])))
        record.sex, record.eye = (int(v) for v in rng.integers(-2, 5, 2))  # type: ignore[assignment]
    return message


def fuzz(bundle: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    files = seeds()
    with RunningServer(bundle, "--cache-entries", "0") as server, server.client(timeout_s=60) as client:
        worker = server.workers()
        graded = 0
        for _ in range(0, count, 50):
            request = screening_pb2.GradeRequest(studies=[study(files, rng) for _ in range(50)])
            response = client._call(client._screening.Grade, request)
            for sent, result in zip(request.studies, response.results, strict=True):
                assert result.id == sent.id
                if result.HasField("error"):
                    assert code_pb2.Code.Name(result.error.code) in TYPED, result.error
                    assert result.error.message
                else:
                    graded += 1
        assert 0 < graded < count
        assert server.workers() == worker, "a worker was lost"
        assert server.process.poll() is None
        assert "Traceback" not in server.log


def test_five_hundred_mutated_studies_are_answered_typed(bundle_path: Path) -> None:
    fuzz(bundle_path, 500, seed=0)


@pytest.mark.slow
def test_twenty_thousand_mutated_studies_are_answered_typed(bundle_path: Path) -> None:
    fuzz(bundle_path, 20_000, seed=int(os.environ.get("FOVEAL_FUZZ_SEED", "1")))
