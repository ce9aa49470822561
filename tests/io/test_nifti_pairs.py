"""NIfTI and Analyze 7.5 in two files."""

from __future__ import annotations

import gzip
import os

import nibabel
import numpy as np
import pytest
import SimpleITK

from napari_medicosam.errors import FileError
from napari_medicosam.io.data_report import Skipped
from napari_medicosam.io.over_time import read_over_time
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.series_files import images_in
from napari_medicosam.io.volumes import read_labels, read_volume, write_labels

SCAN = np.random.default_rng(0).integers(-900, 900, (4, 6, 7)).astype(np.int16)
AFFINE = np.array([[0, 0, 2.5, -7], [-0.5, 0, 0, 11], [0, 0.75, 0, 3], [0, 0, 0, 1.0]])
PAIRS = {1: nibabel.Nifti1Pair, 2: nibabel.Nifti2Pair}


def save_analyze(path, dtype="<i2", origin=(0, 0, 0)):
    header = nibabel.Spm99AnalyzeImage.header_class(endianness=np.dtype(dtype).byteorder.replace("=", "<"))
    header["origin"][:3] = origin
    header.set_data_dtype(np.dtype(dtype))
    header.set_data_shape(SCAN.shape[::-1])
    header.set_zooms((0.5, 0.75, 2.5))
    path.with_suffix(".hdr").write_bytes(header.binaryblock)
    path.with_suffix(".img").write_bytes(SCAN.astype(dtype).tobytes())
    return path.with_suffix(".img")


@pytest.mark.parametrize("version", PAIRS)
@pytest.mark.parametrize("ending", ["img", "img.gz"])
def test_either_file_opens_both(tmp_path, version, ending):
    image = PAIRS[version](SCAN.T, AFFINE)
    image.to_filename(tmp_path / f"t1.{ending}")
    header = next(tmp_path.glob("t1.hdr*"))
    for path in (tmp_path / f"t1.{ending}", header):
        volume = read_volume(path)
        assert np.array_equal(volume.array, SCAN)
        assert np.array_equal(volume.geometry.affine_ras, AFFINE)
        ((data, arguments, kind),) = get_reader(str(path))(str(path))
        assert (data.shape, arguments["name"], kind) == (SCAN.shape, "t1", "image")
    write_labels(tmp_path / "labels.nii.gz", SCAN > 0, volume)
    labels = nibabel.load(tmp_path / "labels.nii.gz")
    assert labels.affine.tobytes() == image.affine.tobytes()
    assert labels.header["sform_code"] == nibabel.load(header).header["sform_code"]
    with pytest.raises(FileError, match=r"two files.*\.nii\.gz"):
        write_labels(tmp_path / "labels.img", SCAN > 0, volume)


def test_a_packed_header_and_names_in_upper_case(tmp_path):
    nibabel.Nifti1Pair(SCAN.T, AFFINE).to_filename(tmp_path / "a.img")
    (tmp_path / "B.HDR").write_bytes((tmp_path / "a.hdr").read_bytes())
    (tmp_path / "B.IMG").write_bytes((tmp_path / "a.img").read_bytes())
    (tmp_path / "c.hdr.gz").write_bytes(gzip.compress((tmp_path / "a.hdr").read_bytes()))
    (tmp_path / "c.img.gz").write_bytes(gzip.compress((tmp_path / "a.img").read_bytes()))
    for name in ("B.HDR", "B.IMG", "c.hdr.gz", "c.img.gz"):
        assert np.array_equal(read_volume(tmp_path / name).array, SCAN)


def test_scaling_colours_and_time(tmp_path):
    scaled = nibabel.Nifti1Pair(SCAN.T, AFFINE)
    scaled.header.set_slope_inter(0.5, -3)
    scaled.to_filename(tmp_path / "a.img")
    assert np.array_equal(
        read_volume(tmp_path / "a.img").array, nibabel.load(tmp_path / "a.img").get_fdata().T
    )
    colours = np.zeros((7, 6, 4), [(name, "u1") for name in "RGB"])
    colours["G"] = 9
    nibabel.Nifti1Pair(colours, AFFINE).to_filename(tmp_path / "b.img")
    assert read_volume(tmp_path / "b.img").array[0, 0, 0].tolist() == [0, 9, 0]
    nibabel.Nifti1Pair(np.stack([SCAN.T, SCAN.T + 1], axis=3), AFFINE).to_filename(tmp_path / "c.img")
    assert np.array_equal([one.array for one in read_over_time(tmp_path / "c.hdr")], [SCAN, SCAN + 1])


@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4"])
def test_analyze_has_a_spacing_and_no_place(tmp_path, dtype):
    path = save_analyze(tmp_path / "old", dtype, origin=(3, 2, 1))
    with pytest.warns(
        UserWarning, match=r"old\.img is Analyze 7\.5, which does not say how the patient lies"
    ):
        volume = read_volume(path)
    assert np.array_equal(volume.array, SCAN)
    assert volume.array.dtype == np.dtype(dtype).newbyteorder("=")
    assert volume.geometry.spacing_zyx == (2.5, 0.75, 0.5)
    assert volume.header.unit == "mm"
    assert not volume.record.is_oriented
    write_labels(tmp_path / "labels.nii", SCAN > 0, volume)
    labels = nibabel.load(tmp_path / "labels.nii")
    assert (labels.header["sform_code"], labels.header["qform_code"]) == (0, 0)
    before, after = (SimpleITK.ReadImage(str(one)) for one in (path, tmp_path / "labels.nii"))
    assert (before.GetSpacing(), before.GetOrigin()) == (after.GetSpacing(), after.GetOrigin())
    assert before.GetDirection() == after.GetDirection()
    assert np.array_equal(read_labels(tmp_path / "labels.nii").array, SCAN > 0)


def test_what_is_no_pair(tmp_path):
    (tmp_path / "map.hdr").write_text("ENVI\nsamples = 7\nlines = 6\n")
    (tmp_path / "map.img").write_bytes(SCAN.tobytes())
    (tmp_path / "alone.img").write_bytes(SCAN.tobytes())
    for name in ("map.hdr", "map.img", "alone.img"):
        assert get_reader(str(tmp_path / name)) is None
        with pytest.raises(
            FileError, match=r"not a NIfTI file|wanted alone\.hdr or alone\.hdr\.gz beside it"
        ):
            read_volume(tmp_path / name)


def test_a_header_without_voxels_says_what_is_missing(tmp_path):
    nibabel.Nifti1Pair(SCAN.T, AFFINE).to_filename(tmp_path / "a.img")
    (tmp_path / "a.img").unlink()
    path = str(tmp_path / "a.hdr")
    with pytest.raises(FileError, match=r"wanted a\.img or a\.img\.gz beside it"):
        get_reader(path)(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("a.hdr", "b.img"):
        os.mkfifo(tmp_path / name)
        assert get_reader(str(tmp_path / name)) is None


def test_voxels_that_are_too_few(tmp_path):
    nibabel.Nifti1Pair(SCAN.T, AFFINE).to_filename(tmp_path / "a.img")
    (tmp_path / "a.img").write_bytes(SCAN.tobytes()[:-2])
    with pytest.raises(FileError, match="truncated"):
        read_volume(tmp_path / "a.hdr")


def test_one_file_with_the_name_of_two(tmp_path):
    nibabel.Nifti1Image(SCAN.T, AFFINE).to_filename(tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(tmp_path / "a.img")
    assert np.array_equal(read_volume(tmp_path / "a.img").array, SCAN)


def test_a_folder_lists_a_pair_once(tmp_path):
    nibabel.Nifti1Pair(SCAN.T, AFFINE).to_filename(tmp_path / "a.img")
    skipped = []
    assert images_in(tmp_path, "*", skipped) == [tmp_path / "a.img"]
    assert skipped == [Skipped("", "a.hdr", "the header of the image beside it")]
