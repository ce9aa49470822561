"""The reader and writer that napari calls."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import nibabel
import npe2
import numpy as np
import pytest
from PIL import Image

import napari_medicosam
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.reader import get_reader, layer_name
from napari_medicosam.io.volumes import read_labels
from napari_medicosam.io.writer import write_labels_layer

AFFINE = np.array([[0, 0, 2.5, -7], [-0.5, 0, 0, 11], [0, 0.75, 0, 3], [0, 0, 0, 1.0]])
DATA = np.arange(120, dtype=np.int16).reshape(4, 5, 6)


def save(path, data=DATA, units="mm"):
    image = nibabel.Nifti1Image(data, AFFINE)
    image.header.set_xyzt_units(units)
    image.to_filename(path)
    return str(path)


def read(path):
    ((data, arguments, layer_type),) = get_reader(str(path))(str(path))
    return data, arguments, layer_type


def test_volume_as_image_layer(tmp_path):
    data, arguments, layer_type = read(save(tmp_path / "scan.nii.gz"))
    assert layer_type == "image"
    assert np.array_equal(data, DATA.T)
    assert arguments["name"] == "scan"
    assert arguments["scale"] == (2.5, 0.75, 0.5)
    assert arguments["units"] == ("mm", "mm", "mm")
    # Sagittal slices: axis 0 runs to the right, rows to the feet (those of the file to the head), columns to the back.
    assert np.array_equal(arguments["affine"], [[1, 0, 0, -7], [0, -1, 0, -3], [0, 0, 1, -11], [0, 0, 0, 1]])
    assert arguments["rgb"] is False
    shown = resolve_intensity("auto", DATA.T)
    assert arguments["contrast_limits"] == (shown.low, shown.high)
    record = arguments["metadata"]["medicosam"]["record"]
    assert np.array_equal(record.geometry.affine_ras, AFFINE)


def test_no_units_when_the_file_has_none(tmp_path):
    assert "units" not in read(save(tmp_path / "scan.nii", units="unknown"))[1]


def test_picture_as_2d_layer(tmp_path):
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "photo.png")
    data, arguments, layer_type = read(tmp_path / "photo.png")
    assert (data.shape, layer_type, arguments["rgb"]) == ((5, 7, 3), "image", True)
    assert arguments["scale"] == (1.0, 1.0)
    assert "units" not in arguments


@pytest.mark.parametrize(
    "name", ["ct_seg.nii", "labels.nii", "LIVER-Mask.nii", "a.segmentation.nii", "label01.nii"]
)
def test_integer_files_named_as_labels_are_labels(tmp_path, name):
    data, arguments, layer_type = read(save(tmp_path / name))
    assert layer_type == "labels"
    assert "rgb" not in arguments
    assert np.array_equal(data, DATA.T)


@pytest.mark.parametrize("name", ["unmasked.nii", "segmented_by_eye.nii", "scan.nii", "labelled.nii"])
def test_other_names_are_images(tmp_path, name):
    assert read(save(tmp_path / name))[2] == "image"


def test_named_as_labels_but_holding_something_else_is_an_image(tmp_path):
    assert read(save(tmp_path / "a_mask.nii", DATA.astype(np.float32)))[2] == "image"
    assert read(save(tmp_path / "b_mask.nii", DATA - 50))[2] == "image"
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "c_mask.png")
    assert read(tmp_path / "c_mask.png")[2] == "image"
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(tmp_path / "d_mask.jpg")
    assert read(tmp_path / "d_mask.jpg")[2] == "image"


def test_palette_class_map_gives_its_indices(tmp_path):
    indices = np.arange(35, dtype=np.uint8).reshape(5, 7)
    picture = Image.fromarray(indices, mode="P")
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    picture.save(tmp_path / "mask.png")
    data, _, layer_type = read(tmp_path / "mask.png")
    assert layer_type == "labels"
    assert np.array_equal(data, indices)


def test_what_is_not_ours_is_left_to_others(tmp_path):
    assert get_reader(str(tmp_path / "a.xyz")) is None
    assert get_reader(str(tmp_path)) is None
    assert get_reader([str(tmp_path / "a.nii"), str(tmp_path / "b.nii")]) is None


def test_a_damaged_file_raises_our_error(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"damaged")
    with pytest.raises(FileError):
        read(tmp_path / "a.nii")


def test_layer_names():
    assert [layer_name(p) for p in ("/x/a.b.nii.gz", "C:\\x\\scan.NRRD", "photo.jpeg", ".png")] == [
        "a.b", "scan", "photo", ".png",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_labels_layer_gets_the_images_geometry_through_its_metadata(tmp_path, suffix):
    path = save(tmp_path / "scan.nii")
    data, arguments, _ = read(path)
    meta = {"name": "labels", "scale": (9, 9, 9), "metadata": copy.deepcopy(arguments["metadata"])}
    out = str(tmp_path / f"out{suffix}")
    assert write_labels_layer(out, (data > 50).astype(np.int32), meta) == [out]
    assert nibabel.load(out).affine.tobytes() == nibabel.load(path).affine.tobytes()
    assert write_labels_layer(out, data, meta) == [out]  # napari's dialog has asked
    assert np.array_equal(read_labels(out).array, data)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".tif"])
@pytest.mark.parametrize(("units", "factor"), [(("mm",) * 3, None), (("micrometer",) * 3, 1e-3), (None, 1)])
def test_a_layer_without_our_metadata_is_saved_with_its_scale(tmp_path, suffix, units, factor):
    meta = {"scale": [2.5, 0.75, 0.5], "metadata": {}}
    if units is not None:
        meta["units"] = units if factor else ("millimeter",) * 3
    out = str(tmp_path / f"out{suffix}")
    write_labels_layer(out, DATA, meta)
    assert np.allclose(read_labels(out).geometry.spacing_zyx, np.array([2.5, 0.75, 0.5]) * (factor or 1))


def test_2d_layers_and_shapes_that_do_not_fit(tmp_path):
    out = str(tmp_path / "out.png")
    write_labels_layer(out, DATA[0], {"scale": (1, 1)})
    assert np.array_equal(np.asarray(Image.open(out)), DATA[0])
    with pytest.raises(InputError, match="2D and 3D"):
        write_labels_layer(str(tmp_path / "out.nii"), DATA[None, None], {})
    _, arguments, _ = read(save(tmp_path / "scan.nii"))
    with pytest.raises(InputError, match="shape"):
        write_labels_layer(str(tmp_path / "out.nii"), DATA, {"metadata": arguments["metadata"]})


def test_a_real_layer_goes_there_and_back(tmp_path):
    layers = pytest.importorskip("napari.layers")
    path = save(tmp_path / "scan.nii")
    data, arguments, _ = read(path)
    image = layers.Image(data, **arguments)
    assert [f"{unit:~}" for unit in image.units] == ["mm"] * 3
    labels = layers.Labels(np.zeros(data.shape, np.uint8), scale=image.scale, metadata=dict(image.metadata))
    labels.data[1, 2, 3] = 7
    layer_data, meta, _ = labels.as_layer_data_tuple()
    write_labels_layer(str(tmp_path / "out.nii"), layer_data, meta)
    assert nibabel.load(tmp_path / "out.nii").affine.tobytes() == nibabel.load(path).affine.tobytes()
    bare = layers.Labels(labels.data, scale=(2.5, 0.75, 0.5), units=("um",) * 3)
    layer_data, meta, _ = bare.as_layer_data_tuple()
    write_labels_layer(str(tmp_path / "bare.nii"), layer_data, meta)
    assert np.allclose(read_labels(tmp_path / "bare.nii").geometry.spacing_zyx, (2.5e-3, 0.75e-3, 0.5e-3))


def test_the_room_imports_neither_napari_nor_qt_nor_torch():
    code = (
        "import sys, napari_medicosam.io.reader, napari_medicosam.io.writer\n"
        "print([m for m in ('napari', 'qtpy', 'torch', 'zarr') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "is_offered"),
    [
        ("a.nii.gz", True), ("A.HDR", True), ("a.img.gz", True), ("a.dcm", True), ("DICOMDIR", True),
        ("IM000001", True),
        ("IM-0001-0001", True), ("1.2.840.113619.2.5", True), ("MR.1.3.12.2.1107.5.2", True), ("a.tif", False),
        ("IM000001.png", False), ("notes.txt", False), ("fig.1.2.png", False),
    ],
)  # fmt: skip
def test_napari_asks_for_files_with_names_of_scanners(name, is_offered):
    manager = npe2.PluginManager()
    manager.register(npe2.PluginManifest.from_file(Path(napari_medicosam.__file__).with_name("napari.yaml")))
    assert bool(list(manager.iter_compatible_readers(name))) == is_offered
