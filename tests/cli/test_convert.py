"""`medicosam convert`: what it takes for labels, and that nothing is replaced or lost on the way."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from cli_helpers import nothing_left
from PIL import Image

from napari_medicosam.errors import FileError
from napari_medicosam.io.volumes import read_volume


def labels_beside(scan, name="scan_seg.nii.gz"):
    """A label map of 16 bits with small ids."""
    array = np.zeros((50, 40, 12), np.int16)
    array[10:20, 5:9, 3:7] = 7
    nib.save(nib.Nifti1Image(array, nib.load(scan).affine), scan.with_name(name))
    return scan.with_name(name)


def test_there_and_back_again(medicosam, scan, tmp_path):
    there, back = tmp_path / "there.nrrd", tmp_path / "back.nii.gz"
    medicosam("convert", scan, there)
    medicosam("convert", there, back)
    before, after = nib.load(scan), nib.load(back)
    assert np.array_equal(np.asanyarray(after.dataobj), np.asanyarray(before.dataobj))
    assert after.get_data_dtype() == before.get_data_dtype()
    assert np.allclose(after.affine, before.affine, rtol=0, atol=1e-5)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(there))), np.asanyarray(before.dataobj).T)


@pytest.mark.parametrize(
    ("words", "dtype"), [((), np.uint8), (("--labels",), np.uint8), (("--image",), np.int16)]
)
def test_labels_are_known_by_their_name_or_by_what_is_said(medicosam, scan, tmp_path, words, dtype):
    given, out = labels_beside(scan), tmp_path / "out.mha"
    said = medicosam("convert", given, out, *words).stderr
    assert read_volume(out).array.dtype == dtype
    assert np.array_equal(read_volume(out).array, read_volume(given).array)
    assert ("image" if "--image" in words else "labels") in said


def test_fractions_are_no_labels(medicosam, tmp_path):
    fractions = tmp_path / "fractions.nii"
    nib.save(nib.Nifti1Image(np.full((3, 4, 5), 0.5, np.float32), np.eye(4)), fractions)
    with pytest.raises(FileError, match="no labels"):
        medicosam("convert", fractions, tmp_path / "out.nii", "--labels")
    assert nothing_left(tmp_path, besides={"fractions.nii"})


def test_indices_of_a_class_map_are_its_labels(medicosam, tmp_path):
    picture = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) % 3, mode="P")
    picture.putpalette([0, 0, 0, 250, 10, 10, 10, 250, 10])
    picture.save(tmp_path / "classes.png")
    medicosam("convert", tmp_path / "classes.png", tmp_path / "colours.tif")
    assert read_volume(tmp_path / "colours.tif").is_rgb
    medicosam("convert", tmp_path / "classes.png", tmp_path / "labels.tif", "--labels")
    assert read_volume(tmp_path / "labels.tif").array.max() == 2


def test_nothing_is_replaced_without_being_asked_and_never_what_is_read(medicosam, scan, tmp_path):
    out = tmp_path / "out.nrrd"
    out.write_text("mine")
    with pytest.raises(FileError, match="--overwrite"):
        medicosam("convert", scan, out)
    assert out.read_text() == "mine"
    before = scan.read_bytes()
    with pytest.raises(FileError, match="is the file that is read"):
        medicosam("convert", scan, scan, "--overwrite")
    assert scan.read_bytes() == before
    medicosam("convert", scan, out, "--overwrite")
    assert read_volume(out).array.shape == (12, 40, 50)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.tif", "no position or orientation"),
        ("out.jpg", "wanted a name ending in"),
        ("no/out.nii", "does not exist"),
    ],
)
def test_what_cannot_be_written_is_said_and_nothing_is_left(medicosam, scan, tmp_path, name, message):
    with pytest.raises(FileError, match=message):
        medicosam("convert", scan, tmp_path / name)
    assert nothing_left(tmp_path, besides={"scan.nii.gz"})
