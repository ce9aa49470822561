"""Layers that no file of ours stands behind, turned or run backwards: they are worked on like others, and saved so."""

import nibabel
import numpy as np
import pytest

from napari_medicosam.io.volumes import read_labels
from napari_medicosam.ui.layers import LABELS_NAME

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")


@pytest.fixture
def flipped(make_session):
    _, session = make_session(scale=(2, -0.5, 1), units=("mm",) * 3)
    session.add_box(4, (5, 5, 20, 20))
    return session


def test_a_flipped_image_is_measured_as_if_it_were_not(flipped, tmp_path):
    assert (flipped.voxel_volume_mm3, flipped.length_unit) == (1.0, "mm")
    stack = flipped._annotation.stack(0)
    assert (stack.slice_spacing, stack.pixel_spacing_yx) == (2.0, (0.5, 1.0))
    flipped.propagate(z_range=(3, 6))
    assert flipped._annotation.num_open_voxels == 3 * 15 * 15
    flipped.save_measurements(tmp_path / "measured.csv")
    names, values = (line.split(",") for line in (tmp_path / "measured.csv").read_text().splitlines())
    measured = dict(zip(names, values, strict=True))
    assert float(measured["volume_ml"]) == pytest.approx(3 * 15 * 15 / 1000)
    assert float(measured["longest_diameter_mm"]) == pytest.approx(np.sqrt((2 * 2) ** 2 + 7**2 + 14**2))
    flipped.clean_up(smooth_mm=1.0)
    assert 0 < flipped._annotation.num_open_voxels < 3 * 15 * 15


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha", "tif", "ome.zarr"])
def test_labels_of_a_flipped_image_are_saved(flipped, tmp_path, ending):
    path = tmp_path / f"labels.{ending}"
    flipped.save_labels(path)
    volume = read_labels(path)
    np.testing.assert_array_equal(volume.array, flipped.label_map())
    wanted = np.diag([1, 0.5 if ending == "tif" else -0.5, 2, 1])
    np.testing.assert_allclose(volume.geometry.affine_ras, wanted, atol=1e-6)


def test_a_session_on_a_flipped_image_comes_back(flipped, make_session, tmp_path):
    flipped.save(tmp_path / "work.zip")
    _, other = make_session(flipped.image.data, scale=(2, -0.5, 1), units=("mm",) * 3)
    other.load(tmp_path / "work.zip")
    np.testing.assert_array_equal(other.label_map(), flipped.label_map())


def test_volumes_over_time_that_go_to_a_file_each_lie_where_they_are(make_session, tmp_path):
    data = np.zeros((2, 4, 20, 20), np.uint8)
    _, session = make_session(data, scale=(1, 2, -3, 4), translate=(0, 5, 6, 7))
    session.add_box(1, (5, 5, 10, 10))
    session.save_labels(tmp_path / "labels.nrrd")
    wanted = [[4, 0, 0, 7], [0, -3, 0, 6], [0, 0, 2, 5], [0, 0, 0, 1]]
    for name in ("labels_t0.nrrd", "labels_t1.nrrd"):
        np.testing.assert_allclose(read_labels(tmp_path / name).geometry.affine_ras, wanted, atol=1e-6)


def test_the_file_is_the_same_while_our_layers_lie_elsewhere(make_session, tmp_path):
    """They lie where napari draws a turned image while they are painted on, and it may be laid along its own axes."""
    viewer, session = make_session(scale=(2, 0.5, 1), rotate=(0, 10, 20))
    session.add_box(4, (5, 5, 20, 20))
    session.commit()
    affines = []

    def save():
        session.save_labels(tmp_path / "labels.nii")
        affines.append(nibabel.load(tmp_path / "labels.nii").affine)

    save()
    labels, place = viewer.layers[LABELS_NAME], session.image._data_to_world.affine_matrix
    labels.mode = "paint"
    assert not np.allclose(labels._data_to_world.affine_matrix, place), "elsewhere"
    save()
    labels.mode = "pan_zoom"
    session.lay("own")
    assert not np.allclose(session.image._data_to_world.affine_matrix, place), "elsewhere"
    save()
    for affine in affines:
        np.testing.assert_allclose(affine[:3, :3], place[2::-1, 2::-1], atol=1e-6)
