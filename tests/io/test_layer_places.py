"""Labels of layers that no file of ours stands behind: where the layer lies is where the saved labels lie."""

import numpy as np
import pytest
from napari.layers import Labels
from PIL import Image

from napari_medicosam.errors import FileError
from napari_medicosam.io.layer_grids import layer_place
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.volumes import read_volume
from napari_medicosam.io.writer import write_labels_layer

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")

DATA = np.random.default_rng(0).integers(0, 5, (4, 5, 6)).astype(np.uint8)
PLACED = ("nii.gz", "nrrd", "mha", "ome.zarr")
TURN = np.array([[1, 0, 0, 4], [0, 0, -1, 5], [0, 1, 0, 6], [0, 0, 0, 1.0]])


def save(path, data, **place):
    layer = Labels(data, **place)
    write_labels_layer(str(path), *layer.as_layer_data_tuple()[:2])
    return layer


def opened(path):
    ((data, arguments, _),) = get_reader(str(path))(str(path))
    names = ("scale", "affine", "translate", "units")
    kept = {name: arguments[name] for name in names if name in arguments}
    return Labels(np.asarray(data), **kept)


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (2, -0.5, 1), "translate": (3, 20, 5)},
        {"scale": (2, 0.5, 1), "rotate": (10, 20, 30), "shear": (0.1, 0, 0.2), "affine": TURN},
        {"scale": (1, 1, 3), "shear": np.array([[1, 0, 0], [0.3, 1, 0], [0, 0.2, 1]])},
    ],
)
def test_the_place_of_a_layer_is_napari_s(place):
    for data in (DATA, DATA[None]):
        layer = Labels(data, **place)
        steps = layer_place(layer.as_layer_data_tuple()[1], layer.ndim)
        for index in ((0, 0, 0), (1, 2, 3), (3, 0, 5)):
            world = layer.data_to_world((0, *index)[-layer.ndim :])[-3:]
            np.testing.assert_allclose((steps @ (*index, 1))[:3], world, atol=1e-9)


def test_what_a_2d_layer_does_not_have_changes_nothing():
    np.testing.assert_array_equal(layer_place({}, 2), np.eye(4))
    layer = Labels(DATA[0], scale=(-2, 3), translate=(5, 6))
    wanted = [[1, 0, 0, 0], [0, -2, 0, 5], [0, 0, 3, 6], [0, 0, 0, 1]]
    np.testing.assert_array_equal(layer_place(layer.as_layer_data_tuple()[1], 2), wanted)


@pytest.mark.parametrize("ending", PLACED)
def test_an_axis_that_runs_backwards_does_so_in_the_file(tmp_path, ending):
    path = tmp_path / f"labels.{ending}"
    save(path, DATA, scale=(2, -0.5, 1), translate=(3, 20, 5), units=("mm", "mm", "mm"))
    volume = read_volume(path)
    np.testing.assert_array_equal(np.asarray(volume.array), DATA)
    assert volume.geometry.spacing_zyx == pytest.approx((2, 0.5, 1))
    wanted = [[1, 0, 0, 5], [0, -0.5, 0, 20], [0, 0, 2, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.geometry.affine_ras, wanted, atol=1e-6)


@pytest.mark.parametrize("ending", PLACED)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_saved_labels_overlay_those_of_the_same_voxels_the_other_way_round(tmp_path, ending, axis):
    """Turned round twice, in the array and by the scale, is not at all."""
    straight, turned = tmp_path / f"straight.{ending}", tmp_path / f"turned.{ending}"
    signs, start = np.ones(3), np.zeros(3)
    signs[axis], start[axis] = -1, 2.0 * (DATA.shape[axis] - 1)
    save(straight, DATA, scale=(2, 2, 2), affine=TURN)
    save(turned, np.flip(DATA, axis).copy(), scale=2 * signs, translate=start, affine=TURN)
    layer, twin = opened(straight), opened(turned)
    for index in np.ndindex(DATA.shape):
        other = twin.world_to_data(layer.data_to_world(index))
        assert twin.data[tuple(np.rint(other).astype(int))] == layer.data[index]


def test_what_holds_no_directions_gets_voxels_in_their_order_and_their_spacing(tmp_path):
    save(tmp_path / "labels.tif", DATA, scale=(2, -0.5, 1), translate=(3, 20, 5), units=("mm",) * 3)
    volume = read_volume(tmp_path / "labels.tif")
    np.testing.assert_array_equal(volume.array, DATA)
    assert volume.geometry.spacing_zyx == pytest.approx((2, 0.5, 1))
    save(tmp_path / "labels.png", DATA[0], scale=(-1, 1), translate=(7, 0))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "labels.png")), DATA[0])


def test_a_format_that_cannot_hold_a_place_says_so(tmp_path):
    with pytest.raises(FileError, match=r"turned. Use .nii.gz"):
        save(tmp_path / "labels.ome.zarr", DATA, rotate=30)
    with pytest.raises(FileError, match=r"sheared affine.*Write NIfTI"):
        save(tmp_path / "labels.nrrd", DATA, shear=(0, 0, 0.2))
    with pytest.raises(FileError, match="DICOM"):
        save(tmp_path / "labels.dcm", DATA, scale=(1, -1, 1))
    save(tmp_path / "labels.nii", DATA, shear=(0, 0, 0.2), rotate=30)
    assert not list(tmp_path.glob("*.nrrd"))


@pytest.mark.parametrize("ending", PLACED)
def test_2d_layers_and_volumes_over_time_that_run_backwards(tmp_path, ending):
    save(tmp_path / f"flat.{ending}", DATA[0], scale=(-2, 3))
    volume = read_volume(tmp_path / f"flat.{ending}")
    np.testing.assert_array_equal(np.squeeze(volume.array), DATA[0])
    np.testing.assert_allclose(volume.geometry.affine_ras, np.diag([3, -2, 1, 1]), atol=1e-6)
    if ending in ("nii.gz", "ome.zarr"):
        path = tmp_path / f"times.{ending}"
        save(path, np.stack([DATA, DATA]), scale=(1, 2, 3, -4))
        lies = opened(path).data_to_world((0, 0, 0, 2))
        assert np.abs(lies[-1]) == 8
