"""DICOM photographs: pixels, the three facts of the header, and hostile files."""

from __future__ import annotations

import io
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from bundles import open_engine, photograph, write_bundle
from dicoms import dicom
from PIL import Image

from foveal_runtime.engine.engine import Engine
from foveal_runtime.errors import FovealError, ImageError, StudyError
from foveal_runtime.photo.dicom import is_dicom, read_dicom
from foveal_runtime.photo.header import peek_pixels
from foveal_runtime.photo.imaging import ImageLimits
from foveal_runtime.photo.quality import Quality, assess
from foveal_runtime.study.study import Eye, Modality, Record, Sex, Study

pydicom = pytest.importorskip("pydicom")


def pixels(data: bytes) -> np.ndarray:
    """`rgb_HWC` of a file."""
    return np.asarray(read_dicom(data, ImageLimits()).picture)


@pytest.fixture(scope="module")
def rgb_HWC() -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(photograph(4))).convert("RGB"))


@pytest.fixture(scope="module")
def engine(bundle_path: Path) -> Engine:
    return open_engine(bundle_path)


def test_eight_and_sixteen_bits_and_jpeg_give_the_same_picture(rgb_HWC: np.ndarray) -> None:
    plain = pixels(dicom(rgb_HWC))
    np.testing.assert_array_equal(plain, rgb_HWC)
    deep = pixels(dicom(rgb_HWC.astype("<u2") * 257, bits=16))
    np.testing.assert_array_equal(deep, rgb_HWC)
    packed = pixels(dicom(rgb_HWC, encapsulate=photograph(4)))
    assert np.abs(packed.astype(int) - rgb_HWC).mean() < 4


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_both_monochromes_of_any_depth_give_the_same_grey(rgb_HWC: np.ndarray, bits: int) -> None:
    grey_HW = rgb_HWC[..., 1]
    deep_HW = np.round(grey_HW * ((2**bits - 1) / 255)).astype("<u2" if bits > 8 else np.uint8)
    plain = pixels(dicom(deep_HW, bits=bits))
    np.testing.assert_array_equal(plain, np.repeat(grey_HW[..., None], 3, axis=2))
    inverse = pixels(dicom(2**bits - 1 - deep_HW, bits=bits, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(inverse, plain)


def test_a_photograph_without_colour_is_never_graded(rgb_HWC: np.ndarray) -> None:
    assert assess(read_dicom(dicom(rgb_HWC[..., 1]), ImageLimits()).picture) is Quality.NOT_FUNDUS


@pytest.mark.parametrize("syntax", ["RLELossless", "DeflatedExplicitVRLittleEndian"])
def test_run_length_is_read_and_deflated_is_refused_before_it_is_unpacked(rgb_HWC: np.ndarray, syntax: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(rgb_HWC)))
    if syntax == "RLELossless":
        dataset.compress(pydicom.uid.RLELossless, encoding_plugin="pydicom")
    dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    if syntax == "RLELossless":
        np.testing.assert_array_equal(pixels(buffer.getvalue()), rgb_HWC)
    else:
        with pytest.raises(ImageError, match="deflated"):
            read_dicom(buffer.getvalue(), ImageLimits())


def test_jpeg_2000_is_read_and_a_compression_without_a_decoder_is_named(rgb_HWC: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(rgb_HWC).save(buffer, "JPEG2000", no_jp2=True, irreversible=False)
    frame = buffer.getvalue()
    lossless = dicom(rgb_HWC, encapsulate=frame, syntax="JPEG2000Lossless", PhotometricInterpretation="RGB")
    np.testing.assert_array_equal(pixels(lossless), rgb_HWC)
    with pytest.raises(ImageError, match=r"JPEG-LS.*no decoder here"):
        read_dicom(dicom(rgb_HWC, encapsulate=frame, syntax="JPEGLSLossless"), ImageLimits())


def test_a_compressed_frame_larger_than_the_header_says_is_refused_before_it_is_decoded(rgb_HWC: np.ndarray) -> None:
    bomb = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(bomb, "JPEG")
    lying = dicom(rgb_HWC, encapsulate=bomb.getvalue())
    tracemalloc.start()
    with pytest.raises(ImageError, match="another size"):
        read_dicom(lying, ImageLimits())
    assert tracemalloc.get_traced_memory()[1] < 10 * len(lying)
    tracemalloc.stop()


def test_an_age_is_counted_from_the_birth_date_where_the_header_has_none(rgb_HWC: np.ndarray) -> None:
    data = dicom(rgb_HWC, PatientBirthDate="19600301", StudyDate="20210301")
    assert read_dicom(data, ImageLimits()).record.age_years == pytest.approx(61, abs=0.01)
    unborn = dicom(rgb_HWC, PatientBirthDate="20300301", StudyDate="20210301")
    assert read_dicom(unborn, ImageLimits()).record.age_years is None


def test_nothing_of_a_header_is_logged(rgb_HWC: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of what is written here
        odd = dicom(rgb_HWC, PatientAge="sixty-one", PatientSex="Doe", PatientBirthDate="no date")
    with warnings.catch_warnings(record=True) as warned:
        read_dicom(odd, ImageLimits())
        with pytest.raises(ImageError):
            read_dicom(odd[: len(odd) // 2], ImageLimits())
    assert not warned
    assert not caplog.records


def test_the_size_of_a_file_is_known_before_a_worker_opens_it(rgb_HWC: np.ndarray) -> None:
    assert peek_pixels(dicom(rgb_HWC)) == 240 * 320


def test_age_sex_and_eye_come_from_the_header_where_the_request_says_nothing(rgb_HWC: np.ndarray, engine: Engine) -> None:
    data = dicom(rgb_HWC, PatientAge="061Y", PatientSex="F", ImageLaterality="L")
    assert is_dicom(data)
    assert read_dicom(data, ImageLimits()).record == Record(age_years=61, sex=Sex.FEMALE, eye=Eye.LEFT)
    (alone,) = engine.run([engine.prepare(Study(image=data))])
    assert alone.subset == frozenset({Modality.IMAGE, Modality.STRUCTURED})
    assert alone.imputed == ("diabetes_years", "insulin", "diabetes")
    assert alone.eye is Eye.LEFT
    (more,) = engine.run([engine.prepare(Study(image=data, record=Record(eye=Eye.LEFT, age_years=61.9, insulin=True)))])
    assert more.eye is Eye.LEFT
    assert more.imputed == ("diabetes_years", "diabetes")


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (Record(eye=Eye.RIGHT), "record.eye"),
        (Record(sex=Sex.MALE), "record.sex"),
        (Record(age_years=63.0), "record.age_years"),
    ],
)
def test_a_request_that_contradicts_the_header_is_refused_by_field_and_tells_no_value(
    rgb_HWC: np.ndarray, engine: Engine, record: Record, field: str
) -> None:
    data = dicom(rgb_HWC, PatientAge="061Y", PatientSex="F", ImageLaterality="L")
    with pytest.raises(StudyError, match="contradicts the DICOM file's header") as caught:
        engine.prepare(Study(image=data, record=record))
    assert caught.value.field == field
    assert not any(word in str(caught.value).lower() for word in ("61", "63", "right", "left", "female"))


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


def test_no_value_of_the_header_is_in_an_error(rgb_HWC: np.ndarray, engine: Engine) -> None:
    for header in ({"PatientAge": "061Y"}, {"PatientAge": "061Y", "Modality": "Doe"}, {"NumberOfFrames": 61}):
        with pytest.raises(FovealError) as caught:
            engine.prepare(Study(image=dicom(rgb_HWC, **header), record=Record(age_years=20.0)))
        assert not any(word in str(caught.value) for word in ("Doe", "20"))
        assert "61 years" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        {"PatientAge": "999Y"}, {"PatientAge": "121Y"}, {"PatientBirthDate": "19000101", "StudyDate": "20200301"},
        {"PatientBirthDate": "19000101", "StudyDate": "20150301"}, {"PatientBirthDate": "18700301", "StudyDate": "20200301"},
        {"PatientBirthDate": "20300301", "StudyDate": "20200301"}, {"PatientBirthDate": "19600301"},
    ],
)  # fmt: skip
def test_an_age_that_nobody_has_is_unknown_and_the_requests_is_taken(
    rgb_HWC: np.ndarray, engine: Engine, header: dict[str, str]
) -> None:
    data = dicom(rgb_HWC, **header)
    assert read_dicom(data, ImageLimits()).record.age_years is None
    engine.prepare(Study(image=data))
    prepared = engine.prepare(Study(image=data, record=Record(age_years=61.0)))
    assert "age_years" not in prepared.imputed
    assert "sex" in prepared.imputed


def test_an_age_that_nobody_has_leaves_the_birth_date_to_tell(rgb_HWC: np.ndarray) -> None:
    data = dicom(rgb_HWC, PatientAge="999Y", PatientBirthDate="19600301", StudyDate="20200301")
    assert read_dicom(data, ImageLimits()).record.age_years == pytest.approx(60, abs=0.01)


def jpeg(rgb_HWC: np.ndarray, *, bare: bool = False, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb_HWC).save(buffer, "JPEG", quality=95, **options)
    data = buffer.getvalue()
    if not bare:
        return data
    assert data[2:4] == b"\xff\xe0"  # JFIF's segment, without which nothing says what the components are
    return data[:2] + data[4 + int.from_bytes(data[4:6], "big") :]


JPEGS = {
    "4:2:0": {"subsampling": 2}, "4:2:0, bare": {"subsampling": 2, "bare": True},
    "4:2:2, bare": {"subsampling": 1, "bare": True},
    "4:4:4": {"subsampling": 0}, "4:4:4, bare": {"subsampling": 0, "bare": True}, "RGB": {"keep_rgb": True},
    "progressive": {"subsampling": 2, "progressive": True},
}  # fmt: skip


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_frames_give_the_true_colours_whatever_the_header_says_of_them(
    rgb_HWC: np.ndarray, kind: str, label: str, planar: int
) -> None:
    data = dicom(rgb_HWC, encapsulate=jpeg(rgb_HWC, **JPEGS[kind]), PhotometricInterpretation=label, PlanarConfiguration=planar)  # type: ignore[arg-type]
    got_HWC = np.asarray(read_dicom(data, ImageLimits()).picture).astype(int)
    assert np.abs(got_HWC - rgb_HWC).mean() < 3


@pytest.mark.parametrize("planar", [0, 1])
def test_planes_of_uncompressed_files_are_put_together(rgb_HWC: np.ndarray, planar: int) -> None:
    pixels = np.moveaxis(rgb_HWC, -1, 0) if planar else rgb_HWC
    data = dicom(rgb_HWC, PlanarConfiguration=planar, PixelData=pixels.tobytes())
    if planar:
        import pydicom

        dataset = pydicom.dcmread(io.BytesIO(data))
        dataset.PixelData = pixels.tobytes()
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        data = buffer.getvalue()
    np.testing.assert_array_equal(np.asarray(read_dicom(data, ImageLimits()).picture), rgb_HWC)


def test_a_file_that_only_mentions_the_deflated_syntax_is_read(rgb_HWC: np.ndarray) -> None:
    data = dicom(rgb_HWC, ImageComments="never 1.2.840.10008.1.2.1.99")
    assert read_dicom(data, ImageLimits()).picture.size == (320, 240)


def test_a_data_set_without_a_preamble_is_refused_by_name(rgb_HWC: np.ndarray) -> None:
    whole = dicom(rgb_HWC)
    assert is_dicom(whole[132:])
    with pytest.raises(ImageError, match="no preamble"):
        read_dicom(whole[132:], ImageLimits())


@pytest.mark.parametrize(
    ("modality", "read"), [("OP", True), ("XC", True), ("OT", True), ("OPT", False), ("CT", False), ("SR", False)]
)
def test_modalities_that_take_no_photographs_are_refused_by_name(rgb_HWC: np.ndarray, modality: str, read: bool) -> None:
    data = dicom(rgb_HWC, Modality=modality)
    if read:
        assert read_dicom(data, ImageLimits()).picture.size == (320, 240)
    else:
        with pytest.raises(ImageError, match="OP, XC or OT"):
            read_dicom(data, ImageLimits())


@pytest.mark.parametrize("file", ["birth-19000101.dcm", "jpeg-planar1.dcm"])
def test_files_that_were_misread_give_the_photograph_they_were_made_of(cases: Path, file: str) -> None:
    found = np.asarray(read_dicom((cases / file).read_bytes(), ImageLimits()).picture).astype(int)
    plain = np.asarray(Image.open(cases / "plain.jpg").convert("RGB")).astype(int)
    assert np.abs(found - plain).mean() < 3
