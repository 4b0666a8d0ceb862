"""Ophthalmic DICOM files for tests. Needs pydicom when called."""

from __future__ import annotations

import io

import numpy as np


def dicom(
    pixels_HWC: np.ndarray, *, bits: int = 8, encapsulate: bytes = b"", syntax: str = "JPEGBaseline8Bit", **header: object
) -> bytes:
    """An ophthalmic photograph with this image."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate as wrap
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = getattr(pydicom.uid, syntax) if encapsulate else ExplicitVRLittleEndian
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
