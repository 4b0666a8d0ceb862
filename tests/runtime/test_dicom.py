"""DICOM photographs: pixels, the three facts of the header, and hostile files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from bundles import open_engine, photograph, write_bundle
from PIL import Image

from foveal_runtime.dicom import is_dicom, read_dicom
from foveal_runtime.engine import Engine
from foveal_runtime.errors import ImageError, StudyError
from foveal_runtime.imaging import ImageLimits
from foveal_runtime.study import Eye, Modality, Record, Sex, Study

pydicom = pytest.importorskip("pydicom")


def dicom(pixels_HWC: np.ndarray, *, bits: int = 8, encapsulate: bytes = b"", **header: object) -> bytes:
    """An ophthalmic photograph with this image."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate as wrap
    from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = JPEGBaseline8Bit if encapsulate else ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.PatientName = "Doe^Jane"
    dataset.Rows, dataset.Columns = pixels_HWC.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels_HWC.ndim == 3 else 1
    dataset.PhotometricInterpretation = "YBR_FULL_422" if encapsulate else "RGB" if pixels_HWC.ndim == 3 else "MONOCHROME2"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    for name, value in header.items():
        setattr(dataset, name, value)
    dataset.PixelData = wrap([encapsulate]) if encapsulate else pixels_HWC.tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def rgb_HWC() -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(photograph(4))).convert("RGB"))


@pytest.fixture(scope="module")
def engine(bundle_path: Path) -> Engine:
    return open_engine(bundle_path)


def test_eight_and_sixteen_bits_and_jpeg_give_the_same_picture(rgb_HWC: np.ndarray) -> None:
    plain = read_dicom(dicom(rgb_HWC), ImageLimits()).rgb_HWC
    np.testing.assert_array_equal(plain, rgb_HWC)
    deep = read_dicom(dicom(rgb_HWC.astype("<u2") * 257, bits=16), ImageLimits()).rgb_HWC
    np.testing.assert_array_equal(deep, rgb_HWC)
    packed = read_dicom(dicom(rgb_HWC, encapsulate=photograph(4)), ImageLimits()).rgb_HWC
    assert np.abs(packed.astype(int) - rgb_HWC).mean() < 4


def test_age_sex_and_eye_come_from_the_header_and_the_request_wins(rgb_HWC: np.ndarray, engine: Engine) -> None:
    data = dicom(rgb_HWC, PatientAge="061Y", PatientSex="F", ImageLaterality="L")
    assert is_dicom(data)
    assert read_dicom(data, ImageLimits()).record == Record(age_years=61, sex=Sex.FEMALE, eye=Eye.LEFT)
    (alone,) = engine.run([engine.prepare(Study(image=data))])
    assert alone.subset == frozenset({Modality.IMAGE, Modality.STRUCTURED})
    assert alone.imputed == ("diabetes_years", "insulin", "diabetes")
    assert alone.eye is Eye.LEFT
    (told,) = engine.run([engine.prepare(Study(image=data, record=Record(eye=Eye.RIGHT, insulin=True)))])
    assert told.eye is Eye.RIGHT
    assert told.imputed == ("diabetes_years", "diabetes")


def test_a_header_does_not_push_a_study_into_an_untrained_subset(rgb_HWC: np.ndarray, tmp_path: Path) -> None:
    engine = open_engine(write_bundle(tmp_path / "b", trained_subsets=("image",)))
    (outcome,) = engine.run([engine.prepare(Study(image=dicom(rgb_HWC, PatientAge="061Y")))])
    assert outcome.subset == frozenset({Modality.IMAGE})


def test_damaged_and_hostile_files_are_refused_with_a_reason(rgb_HWC: np.ndarray) -> None:
    good = dicom(rgb_HWC)
    rng = np.random.default_rng(0)
    cases = [good[:200], good[: len(good) // 2], good[:132] + b"\xff" * 500, b"\0" * 128 + b"DICM"]
    for _ in range(200):
        bad = bytearray(good[:2000] + good[-100:])
        for place in rng.integers(132, len(bad), 20):
            bad[place] = rng.integers(0, 256)
        cases.append(bytes(bad))
    for case in cases:
        with pytest.raises(ImageError):
            read_dicom(case, ImageLimits())
    with pytest.raises(ImageError, match="over the limit"):
        read_dicom(dicom(rgb_HWC, Rows=60_000, Columns=60_000), ImageLimits())
    with pytest.raises(ImageError, match="frames"):
        read_dicom(dicom(rgb_HWC, NumberOfFrames=7), ImageLimits())


def test_no_value_of_the_header_is_in_an_error(rgb_HWC: np.ndarray) -> None:
    with pytest.raises(StudyError) as caught:
        read_dicom(dicom(rgb_HWC, PatientAge="999Y"), ImageLimits())
    assert "999" not in str(caught.value)
    assert "Doe" not in str(caught.value)
