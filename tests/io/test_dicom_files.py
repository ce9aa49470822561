"""DICOM files of old archives: without the letters DICM, without a transfer syntax, from before DICOM."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from dicom_helpers import CT, compressed, dataset, save, write_series
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from napari_medicosam.errors import FileError
from napari_medicosam.io.dicom_files import is_dicom_file
from napari_medicosam.io.over_time import read_over_time
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.volumes import read_volume, write_labels


def bare(made, is_implicit, is_little=True):
    """The data set alone, as old archives keep it."""
    if not is_little:
        made.PixelData = np.frombuffer(made.PixelData, "<i2").astype(">i2").tobytes()
        made["PixelData"].VR = "OW"
    del made.file_meta
    made.preamble = None
    stream = io.BytesIO()
    pydicom.dcmwrite(
        stream, made, implicit_vr=is_implicit, little_endian=is_little, enforce_file_format=False
    )
    content = stream.getvalue()
    assert content[:2] == (b"\x08\0" if is_little else b"\0\x08")
    return content


@pytest.mark.parametrize(("is_implicit", "is_little"), [(True, True), (False, True), (False, False)])
def test_a_series_without_dicm(tmp_path, is_implicit, is_little):
    folder = tmp_path / "series"
    for path in write_series(folder, CT, FrameOfReferenceUID="1.2.9"):
        path.write_bytes(bare(pydicom.dcmread(path), is_implicit, is_little))
    ((data, arguments, _),) = get_reader(str(folder))(str(folder))
    assert np.array_equal(data, CT - 1024)
    assert arguments["scale"] == (2.5, 0.7, 0.8)
    labels = (CT > 3000).astype(np.uint8)
    write_labels(tmp_path / "labels.dcm", labels, read_volume(folder))
    segmentation = pydicom.dcmread(tmp_path / "labels.dcm")
    assert segmentation.pixel_array.sum() == labels.sum()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_only_the_preamble_is_missing(tmp_path, syntax):
    made = dataset(CT[0])
    if syntax == RLELossless:
        path = save(compressed(made, syntax), tmp_path / "a")
    elif syntax == ExplicitVRBigEndian:
        made.file_meta.TransferSyntaxUID = syntax
        made.PixelData = CT[0].astype(">i2").tobytes()
        made["PixelData"].VR = "OW"
        path = tmp_path / "a"
        pydicom.dcmwrite(path, made, implicit_vr=False, little_endian=False, enforce_file_format=True)
    else:
        made.file_meta.TransferSyntaxUID = syntax
        path = save(made, tmp_path / "a")
    path.write_bytes(path.read_bytes()[132:])
    assert np.array_equal(read_volume(path).array[0], CT[0] - 1024)


def test_acr_nema(tmp_path):
    made = dataset(
        CT[0].astype(np.uint16), SOPClassUID=None, SamplesPerPixel=None, PhotometricInterpretation=None,
        ImagePositionPatient=None, ImageOrientationPatient=None,
    )  # fmt: skip
    made.add_new(0x00080010, "SH", "ACR-NEMA 2.0")
    path = tmp_path / "00000001"
    path.write_bytes(bare(made, is_implicit=True))
    volume = read_volume(path)
    assert np.array_equal(volume.array[0], CT[0] - 1024)
    assert volume.geometry.spacing_zyx[1:] == (0.7, 0.8)


def test_a_file_that_does_not_say_how_it_is_written(tmp_path):
    path = save(dataset(CT[0]), tmp_path / "a")
    made = pydicom.dcmread(path)
    del made.file_meta.TransferSyntaxUID
    with path.open("wb") as stream:
        stream.write(bytes(128) + b"DICM")
        pydicom.filewriter.write_file_meta_info(stream, made.file_meta, enforce_standard=False)
        stream.write(bare(made, is_implicit=False))
    assert np.array_equal(read_volume(path).array[0], CT[0] - 1024)


FOREIGN = {
    "text": b"\x08\0 is a backspace" * 20,
    "zeros": bytes(400),
    "numbers": np.arange(8, 900, dtype="<u2").tobytes(),
    "one-element": b"\x08\0\x60\0CS\x02\0CT\x10\0\x10\0PN\x02\0A ",
    "modality-no-word": b"\x08\0\x05\0CS\x02\0\x01\x02\x08\0\x60\0CS\x02\0\x01\x02" + bytes(40),
    "backwards": b"\x08\0\x60\0CS\x02\0CT\x08\0\x16\0UI\x1a\x001.2.840.10008.5.1.4.1.1.2\0" + bytes(40),
    "too-long": b"\x08\0\x16\0UI\xff\xff1.2.840.10008.5.1.4.1.1.2" + bytes(40),
    "meta-alone": b"\2\0\0\0UL\4\0\0\0\0\0\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0",
    "short": b"\x08\0",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_files_are_not_taken_for_dicom(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert not is_dicom_file(tmp_path / "a")
    assert get_reader(str(tmp_path / "a")) is None
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(FileError, match="not a DICOM file"):
        read_volume(tmp_path / "a.dcm")


def test_without_preamble_nothing_is_inflated(tmp_path):
    made = dataset(CT[0])
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save(made, tmp_path / "a")
    assert is_dicom_file(path)
    path.write_bytes(path.read_bytes()[132:])
    assert not is_dicom_file(path)  # how large it would become is not checked for these


def test_dicom_with_the_ending_of_another_format(tmp_path):
    path = save(dataset(CT[0]), tmp_path / "im1.img")
    ((data, _, _),) = get_reader(str(path))(str(path))
    assert np.array_equal(data, CT[0] - 1024)
    assert np.array_equal(read_volume(path).array[0], CT[0] - 1024)
    (one,) = read_over_time(path)
    assert np.array_equal(one.array[0], CT[0] - 1024)
