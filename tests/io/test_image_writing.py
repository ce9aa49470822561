"""Images written: every voxel as it is, on the same grid, or nothing at all. Judged by the libraries."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from scipy.spatial.transform import Rotation

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError
from napari_medicosam.io import image_writing
from napari_medicosam.io.image_writing import write_volume
from napari_medicosam.io.records import FileHeader
from napari_medicosam.io.volumes import Volume, read_volume

SHAPE = (4, 5, 6)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", (0.3, -0.2, 0.1)).as_matrix() * (-0.9, 0.8, 2.5)
OBLIQUE[:3, 3] = (40, -20.5, 7)
LIBRARIES = {
    **dict.fromkeys([".nii", ".nii.gz"], lambda path: np.asanyarray(nibabel.load(path).dataobj).T),
    **dict.fromkeys([".nrrd", ".mha"], lambda path: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))),
    ".tif": tifffile.imread,
}
INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]


def values(dtype, shape=SHAPE):
    """With the ends of what the type holds."""
    if np.dtype(dtype).kind == "f":
        array = np.random.default_rng(0).normal(0, 1e3, shape).astype(dtype)
        array.flat[:4] = np.nan, np.inf, np.finfo(dtype).max, np.finfo(dtype).tiny
        return array
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    array = np.random.default_rng(0).integers(low, high, shape, dtype=dtype, endpoint=True)
    array.flat[:2] = low, high
    return array


def image(array, suffix=".nii", unit="mm"):
    """On a grid that the format can hold."""
    shape = array.shape[:3]
    geometry = (
        Geometry.from_spacing(shape, (2.5, 0.7, 0.8))
        if suffix in (".tif", ".tiff")
        else Geometry(shape, OBLIQUE)
    )
    return Volume(array, geometry, array.ndim == 4, header=FileHeader(unit=unit))


@pytest.mark.parametrize("suffix", LIBRARIES)
@pytest.mark.parametrize("dtype", [*INTEGERS, np.float32, np.float64], ids=lambda one: one.__name__)
def test_every_value_comes_back(tmp_path, suffix, dtype):
    path, wanted = tmp_path / f"image{suffix}", image(values(dtype), suffix)
    write_volume(path, wanted)
    found = read_volume(path)
    assert found.array.dtype == dtype
    np.testing.assert_array_equal(found.array, wanted.array)
    np.testing.assert_allclose(found.geometry.affine_ras, wanted.geometry.affine_ras, rtol=0, atol=1e-5)
    assert found.header.unit == "mm"
    np.testing.assert_array_equal(LIBRARIES[suffix](str(path)), wanted.array)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".tif"])
@pytest.mark.parametrize("is_2d", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours(tmp_path, suffix, is_2d, dtype):
    array = values(dtype, (1 if is_2d else 4, 5, 6, 3))
    path, wanted = tmp_path / f"image{suffix}", replace(image(array, ".tif", None), is_2d=is_2d)
    if suffix == ".nii.gz" and dtype == np.uint16:
        with pytest.raises(FileError, match="colours of 8 bits, got uint16"):
            write_volume(path, wanted)
        return
    write_volume(path, wanted)
    found = read_volume(path)
    assert (found.is_rgb, found.is_2d) == (True, is_2d)
    np.testing.assert_array_equal(found.array, array)


def test_the_files_own_grid_is_kept_bit_for_bit_and_nothing_else_of_its_header(tmp_path):
    source = nibabel.Nifti1Image(values(np.int16).T, OBLIQUE)
    source.header["descrip"], source.header["db_name"] = b"Jane Doe", b"Jane Doe"
    source.header.set_xyzt_units("mm", "sec")
    nibabel.save(source, tmp_path / "scan.nii")
    write_volume(tmp_path / "copy.nii.gz", read_volume(tmp_path / "scan.nii"))
    before, after = nibabel.load(tmp_path / "scan.nii"), nibabel.load(tmp_path / "copy.nii.gz")
    assert after.affine.tobytes() == before.affine.tobytes()
    assert after.header["xyzt_units"] == before.header["xyzt_units"]
    assert (bytes(after.header["descrip"].item()), bytes(after.header["db_name"].item())) == (b"", b"")


@pytest.mark.parametrize(
    ("name", "volume", "message"),
    [
        ("a.png", image(values(np.uint8)), "wanted a name ending in .nii.gz"),
        ("a.jpg", image(values(np.uint8)), "wanted a name ending in .nii.gz"),
        ("a", image(values(np.uint8)), "wanted a name ending in .nii.gz"),
        ("a.tif", image(values(np.uint8)), "TIFF holds a spacing but no position"),
        ("a.nii", image(values(np.float16)), "float16"),
        ("a.tif", image(values(np.float16), ".tif"), "its float32 voxels are not the float16 ones"),
        ("no/a.nii", image(values(np.uint8)), "does not exist"),
    ],
)
def test_what_cannot_be_held_is_refused_and_nothing_is_left(tmp_path, name, volume, message):
    with pytest.raises(FileError, match=message):
        write_volume(tmp_path / name, volume)
    assert not list(tmp_path.iterdir())


def test_an_old_file_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "scan.nrrd"
    path.write_text("mine")
    with pytest.raises(FileError, match="--overwrite"):
        write_volume(path, image(values(np.int16)))
    assert path.read_text() == "mine"
    write_volume(path, image(values(np.int16)), overwrite=True)
    assert read_volume(path).array.dtype == np.int16


@pytest.mark.parametrize("change", ["a voxel", "the dtype", "the place"])
def test_a_library_that_writes_something_else_is_caught(tmp_path, monkeypatch, change):
    wanted = image(values(np.int16))

    def write_wrong(path, array, record):
        affine = OBLIQUE.copy()
        affine[0, 3] += 0.002 if change == "the place" else 0
        array = array.astype(np.int32 if change == "the dtype" else np.int16)
        array[-1, -1, -1] += change == "a voxel"
        image_writing.write_nifti(path, array, replace(record, geometry=Geometry(SHAPE, affine)))

    monkeypatch.setitem(image_writing._WRITERS, ".nii", write_wrong)
    with pytest.raises(FileError, match="read back, its"):
        write_volume(tmp_path / "a.nii", wanted)
    assert not list(tmp_path.iterdir())
