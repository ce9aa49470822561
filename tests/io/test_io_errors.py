"""Files that are not what they should be: one clear error each, never a bare traceback."""

from __future__ import annotations

import gzip
import tracemalloc

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.dicom import DICOM_SUFFIXES
from napari_medicosam.io.nifti_pairs import PAIR_SUFFIXES
from napari_medicosam.io.volumes import FORMATS, Volume, read_labels, read_volume

NOISE = np.random.default_rng(0).integers(0, 30000, (20, 21, 22)).astype(np.int16)


def make(path):
    """A sound file of the format that the suffix names."""
    suffix = "".join(path.suffixes)
    if "nii" in suffix:
        nibabel.Nifti1Image(NOISE.T, np.eye(4)).to_filename(path)
    elif suffix in PAIR_SUFFIXES:
        nibabel.Nifti1Pair(NOISE.T, np.eye(4)).to_filename(path)
    elif suffix in (".nrrd", ".nhdr", ".mha", ".mhd"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(NOISE), str(path))
    elif suffix in (".tif", ".tiff"):
        tifffile.imwrite(
            path, NOISE, photometric="minisblack", compression="zlib" if suffix == ".tiff" else None
        )
    elif suffix in DICOM_SUFFIXES:
        SimpleITK.WriteImage(
            SimpleITK.GetImageFromArray(NOISE[0]), str(path), useCompression=False, imageIO="GDCMImageIO"
        )
    else:
        Image.fromarray((NOISE[0] >> 7).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_sound_files_read_and_damaged_ones_raise_file_errors(tmp_path, suffix):
    path = make(tmp_path / f"image{suffix}")
    assert read_volume(path).array.size > 0
    content = path.read_bytes()
    for kept in (0, 1, 10, 100, len(content) // 2):
        if kept < len(content):
            path.write_bytes(content[:kept])
            with pytest.raises(FileError):
                read_volume(path)
    path.write_bytes(b"this is no image at all, but a text of some length" * 20)
    with pytest.raises(FileError):
        read_volume(path)
    path.write_bytes(b"")
    with pytest.raises(FileError, match="0 bytes"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".tif", ".tiff", ".png", ".jpg"])
def test_a_quarter_missing_is_noticed(tmp_path, suffix):
    path = make(tmp_path / f"image{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(FileError):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_detached_voxels_missing_or_short(tmp_path, suffix):
    path = make(tmp_path / f"image{suffix}")
    (data,) = (p for p in tmp_path.iterdir() if p != path)
    data.write_bytes(data.read_bytes()[:-100] if suffix == ".mhd" else b"")
    with pytest.raises(FileError):
        read_volume(path)
    data.unlink()
    with pytest.raises(FileError, match="no such file" if suffix == ".mhd" else "NRRD"):
        read_volume(path)


def test_a_flipped_bit_in_gzip_is_noticed(tmp_path):
    path = make(tmp_path / "image.nii.gz")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the checksum
    path.write_bytes(content)
    with pytest.raises(FileError, match="CRC"):
        read_volume(path)


def test_missing_folder_and_unknown_suffix(tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        read_volume(tmp_path / "none.nii")
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        read_volume(tmp_path / "folder.nii")
    with pytest.raises(FileError, match="is a folder"):
        read_volume(tmp_path)
    (tmp_path / "scan.xyz").touch()
    with pytest.raises(FileError, match=r"\.nii\.gz, \.nii, \.nrrd.*\.png"):
        read_volume(tmp_path / "scan.xyz")


def test_suffix_case_does_not_matter(tmp_path):
    for name in ("IMAGE.NII.GZ", "IMAGE.NRRD", "IMAGE.MHA", "IMAGE.TIF", "IMAGE.PNG"):
        make(tmp_path / name.lower()).rename(tmp_path / name)
        assert read_volume(tmp_path / name).array.size


def test_four_dimensions_are_refused_with_their_shape(tmp_path):
    nibabel.Nifti1Image(np.zeros((4, 5, 6, 3), np.int16), np.eye(4)).to_filename(tmp_path / "a.nii")
    nibabel.Nifti1Image(np.zeros((4, 5, 6, 1, 3), np.float32), np.eye(4)).to_filename(tmp_path / "b.nii")
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(np.zeros((3, 6, 5, 4), np.int16), isVector=False),
        str(tmp_path / "c.nrrd"),
    )
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(np.zeros((3, 6, 5, 4), np.int16), isVector=False), str(tmp_path / "d.mha")
    )
    for name, shape in (
        ("a.nii", "4, 5, 6, 3"),
        ("b.nii", "4, 5, 6, 1, 3"),
        ("c.nrrd", "4, 5, 6, 3"),
        ("d.mha", "4, 5, 6, 3"),
    ):
        with pytest.raises(FileError, match=shape):
            read_volume(tmp_path / name)


def test_one_dimension_is_refused(tmp_path):
    nibabel.Nifti1Image(np.zeros(4, np.int16), np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(FileError, match="2D or 3D"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_vectors_are_refused(tmp_path, suffix):
    for name, channels, dtype in (("a", 2, np.uint8), ("b", 3, np.float32), ("c", 6, np.uint8)):
        image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, channels), dtype), isVector=True)
        SimpleITK.WriteImage(image, str(tmp_path / f"{name}{suffix}"))
        with pytest.raises(FileError, match=f"{channels} .*values a voxel"):
            read_volume(tmp_path / f"{name}{suffix}")


def test_complex_numbers_are_refused(tmp_path):
    values = np.zeros((4, 5, 6), np.complex64)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "a.nii")
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    for name in ("a.nii", "a.tif"):
        with pytest.raises(FileError, match="complex"):
            read_volume(tmp_path / name)


def test_empty_volume(tmp_path):
    path = make(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    content[42:44] = b"\0\0"  # dim[1]
    path.write_bytes(content)
    with pytest.raises(FileError, match="empty"):
        read_volume(path)
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 0 5\nendian: little\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_text(header)
    with pytest.raises(FileError):
        read_volume(tmp_path / "a.nrrd")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_affines_that_are_not_finite_or_invertible(tmp_path, bad):
    path = make(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    content[280:284] = np.float32(bad).tobytes()  # srow_x[0]
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"finite|inverted"):
        read_volume(path)


def test_headers_that_lie_ask_for_no_memory(tmp_path):
    nifti = bytearray(make(tmp_path / "a.nii").read_bytes())
    nifti[42:48] = np.array([30000] * 3, "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(nifti)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti))
    sizes, body = "30000 30000 30000", bytes(1000)
    for encoding in ("raw", "gzip"):
        header = (
            f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: {encoding}\n\n"
        )
        (tmp_path / f"{encoding}.nrrd").write_bytes(header.encode() + body)
    for compressed in (True, False):
        header = (
            f"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = {compressed}\n"
            f"DimSize = {sizes}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        )
        (tmp_path / f"{compressed}.mha").write_bytes(header.encode() + body)
    tracemalloc.start()
    for name in ("a.nii", "a.nii.gz", "raw.nrrd", "gzip.nrrd", "True.mha", "False.mha"):
        with pytest.raises(FileError, match="header says 54000000000000 bytes"):
            read_volume(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_rgb_is_no_label_map(tmp_path):
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(FileError, match="RGB"):
        read_labels(tmp_path / "a.png")


def test_volumes_check_themselves():
    geometry = Geometry.from_spacing((2, 3, 4))
    for array, is_rgb, is_2d in (
        (np.zeros((2, 3, 5)), False, False),
        (np.zeros((2, 3, 4)), True, False),
        (np.zeros((2, 3, 4, 3)), False, False),
        (np.zeros((2, 3, 4), complex), False, False),
        (np.zeros((2, 3, 4)), False, True),
    ):
        with pytest.raises(InputError):
            Volume(array, geometry, is_rgb, is_2d)
