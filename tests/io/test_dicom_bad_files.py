"""DICOM that must not be read: each time a `FileError` that says what is wrong, before memory is asked for."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_helpers import CT, dataset, enhanced, oblique, save, write_series
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_fragments
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from napari_medicosam.errors import FileError
from napari_medicosam.io.dicom_codestreams import CodestreamImage, image_in
from napari_medicosam.io.volumes import read_volume


def move(path, mm):
    made = dcmread(path)
    made.ImagePositionPatient = [float(v) + d for v, d in zip(made.ImagePositionPatient, mm, strict=True)]
    save(made, path)


def change(path, **attributes):
    made = dcmread(path)
    for keyword, value in attributes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    save(made, path)


@pytest.mark.parametrize("tilted", [False, True])
@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ([1], r"missing: 1 after 0\.00 mm\. Wanted one every 2\.50 mm"),
        ([2, 3], r"missing: 2 after 2\.50 mm"),
        ([1, 5, 6], r"missing: 1 after 0\.00 mm, 2 after 10\.00 mm"),
    ],
)
def test_missing_slices_are_named(tmp_path, removed, message, tilted):
    step = (0, 0.9, 2.5) if tilted else (0, 0, 2.5)
    array = np.concatenate([CT, CT])
    paths = write_series(tmp_path / "scan", array, step, origin=(0, 0, 0))
    for index in removed:
        paths[index].unlink()
    with pytest.raises(FileError, match=message):
        read_volume(tmp_path / "scan")


@pytest.mark.parametrize(
    ("mm", "message"),
    [
        ((0, 0, 1.2), r"not evenly spaced: 3\.70 mm after -67\.50 mm, 1\.30 mm after -63\.80 mm"),
        ((3, 0, 0), "shifted sideways"),
        ((0, 0, 2.5), "1 images lie at -70.00 mm and 2 at -62.50 mm"),
    ],
)
def test_a_slice_out_of_place(tmp_path, mm, message):
    move(write_series(tmp_path / "scan", CT)[2], mm)
    with pytest.raises(FileError, match=message):
        read_volume(tmp_path / "scan")


def test_images_beside_each_other_are_no_time_points(tmp_path):
    write_series(tmp_path / "left", CT)
    write_series(tmp_path / "right", CT, origin=(9, 12, -70))
    with pytest.raises(FileError, match="beside each other"):
        read_volume(tmp_path)


def test_positions_that_were_rounded_are_no_gaps(tmp_path):
    paths = write_series(tmp_path / "scan", np.concatenate([CT] * 4), (0, 0, 0.625))
    for path in paths:
        change(path, ImagePositionPatient=[round(float(v), 1) for v in dcmread(path).ImagePositionPatient])
    assert read_volume(tmp_path / "scan").geometry.spacing_zyx[0] == pytest.approx(0.625, rel=0.01)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"ImageOrientationPatient": None}, "do not say where they lie"),
        ({"ImagePositionPatient": None}, "do not say where they lie"),
        ({"PixelSpacing": None}, "no PixelSpacing"),
        ({"PixelSpacing": [0, 0.5]}, r"pixel spacing of 0\.0 x 0\.5 mm"),
        ({"PixelSpacing": [0.5, -0.5]}, "two positive numbers"),
        ({"PixelSpacing": [0.5]}, "wanted 2 finite numbers"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angles"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, 0]}, "unit vectors"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "mosaic"),
        ({"Rows": 65535, "Columns": 65535}, "truncated or its header is wrong"),
        ({"NumberOfFrames": 2**31 - 1}, "truncated or its header is wrong"),
        ({"NumberOfFrames": -1}, "wanted at least one"),
        ({"BitsAllocated": 64}, "cannot read the pixels"),
        ({"PixelData": None}, "no pixel data"),
    ],
)
def test_headers_that_make_no_volume(tmp_path, attributes, message):
    for path in write_series(tmp_path / "scan", CT):
        change(path, **attributes)
    with pytest.raises(FileError, match=message):
        read_volume(tmp_path / "scan")


def test_numbers_that_are_none(tmp_path):
    path = save(dataset(CT[0]), tmp_path / "scan.dcm")
    content = path.read_bytes()
    assert b"0.7\\0.8 " in content
    for text in (b"nan\\0.8 ", b"0.7\\inf ", b"0.7\\x.8 "):
        path.write_bytes(content.replace(b"0.7\\0.8 ", text))
        with pytest.raises(FileError):
            read_volume(path)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_sizes_that_cannot_be(tmp_path, syntax):
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls")
    made = dataset(CT[0])
    made.compress(syntax)
    path = save(made, tmp_path / "scan.dcm")
    for attributes in (
        {"Rows": 60_000, "Columns": 60_000},
        {"NumberOfFrames": 2**31 - 1, "Rows": 1, "Columns": 1},
    ):
        change(path, **attributes)
        with pytest.raises(FileError, match="truncated or its header is wrong"):
            read_volume(path)
    change(path, NumberOfFrames=1, Rows=8, Columns=8)
    with pytest.raises(FileError):
        read_volume(path)


@pytest.mark.parametrize(
    "name", ["SC_rgb_dcmtk_+eb+cr.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"]
)
def test_codestreams_that_lie_about_their_size(tmp_path, name):
    """JPEG, JPEG-LS and JPEG 2000 of a terabyte, in a file whose header is modest."""
    content = Path(get_testdata_file(name, download=False)).read_bytes()
    rows = dcmread(get_testdata_file(name, download=False)).Rows
    if "jp2k" in name:
        old, new = struct.pack(">2I", rows, rows), struct.pack(">2I", 1 << 20, 1 << 20)
    else:
        old, new = struct.pack(">2H", rows, rows), struct.pack(">2H", 65_000, 65_000)
    assert content.count(old) >= 1
    (tmp_path / name).write_bytes(content.replace(old, new, 1))
    with pytest.raises(FileError, match="the compressed image is of"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
def test_compressed_pixels_that_lack_a_piece(tmp_path, name):
    """Decoders make a picture of what there is, and GDCM takes what follows for the size of the next one: gigabytes."""
    content = Path(get_testdata_file(name, download=False)).read_bytes()
    (tmp_path / name).write_bytes(content[:-900] + content[-860:])
    with pytest.raises(FileError, match="is truncated: it has compressed pixels up to byte"):
        read_volume(tmp_path / name)


def test_images_in_boxes_of_jpeg_2000():
    start = b"\0\0\0\x0cjP  \r\n\x87\n"
    plain = dcmread(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    *_, codestream = generate_fragments(plain.PixelData)
    inside = start + b"\0\0\0\x0aftypXX" + struct.pack(">I4s", 8 + len(codestream), b"jp2c") + codestream
    assert image_in(inside) == image_in(codestream) == CodestreamImage((64, 64), 16, 1)
    with pytest.raises(ValueError, match="a box of JPEG 2000 that is 0 bytes long"):
        image_in(start + bytes(8) + inside)
    assert image_in(start + b"\0\0\0\x0aftypXX") is None


def test_a_deflated_file_that_unpacks_to_too_much(tmp_path):
    made = dataset(CT[0])
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save(made, tmp_path / "scan.dcm")
    assert np.array_equal(read_volume(path).array[0], CT[0] - 1024)
    start = 144 + dcmread(path).file_meta.FileMetaInformationGroupLength
    packed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packed.compress(bytes(1 << 24)) + packed.flush()
    path.write_bytes(path.read_bytes()[:start] + bomb)
    with pytest.raises(FileError, match="deflated from more than 8 MiB"):
        read_volume(path)


def test_every_truncation_is_noticed(tmp_path):
    for made in (dataset(CT[0]), enhanced(CT, [0, 1, 2, 3, 4], [1.0] * 5)):
        path = save(made, tmp_path / "scan.dcm")
        content = path.read_bytes()
        for kept in range(1, len(content), 37):
            path.write_bytes(content[:kept])
            with pytest.raises(FileError):
                read_volume(path)


def test_frames_that_are_not_described(tmp_path):
    made = enhanced(CT, [0, 1, 2, 3, 4], [1.0] * 5)
    made.PerFrameFunctionalGroupsSequence = made.PerFrameFunctionalGroupsSequence[:4]
    with pytest.raises(FileError, match="has 5 images and describes 4"):
        read_volume(save(made, tmp_path / "scan.dcm"))


def test_frames_that_are_not_parallel_are_no_volume(tmp_path):
    made = enhanced(CT, [0, 1, 2, 3, 4], [1.0] * 5)
    group = made.PerFrameFunctionalGroupsSequence[2]
    group.PlaneOrientationSequence = made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    del made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for number, other in enumerate(made.PerFrameFunctionalGroupsSequence):
        item = dataset(CT[0], ImageOrientationPatient=list(oblique()) if number == 2 else [1, 0, 0, 0, 1, 0])
        for keyword in item.dir():
            if keyword != "ImageOrientationPatient":
                delattr(item, keyword)
        other.PlaneOrientationSequence = [item]
    path = save(made, tmp_path / "scan.dcm")
    with pytest.raises(FileError, match="2 volumes or images"):
        read_volume(path)


def test_damaged_files_in_a_folder_are_not_passed_over(tmp_path):
    write_series(tmp_path, CT)
    (tmp_path / "last.dcm").write_bytes(b"no DICOM" * 30)
    with pytest.raises(FileError, match=r"last\.dcm is not a DICOM file"):
        read_volume(tmp_path)
