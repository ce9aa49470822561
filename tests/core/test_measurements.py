import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.spatial.distance import cdist

from napari_medicosam.core.measurements import (
    Intensities,
    measure_label_map,
    measure_object,
    measurements_table,
)
from napari_medicosam.errors import InputError

CUBES = (1.0, 1.0, 1.0)
shapes = array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)
spacings = st.tuples(*[st.floats(0.1, 10)] * 3)


def longest_by_definition(mask, spacing):
    points = np.argwhere(mask) * spacing
    return cdist(points, points).max()


@given(arrays(bool, shapes).filter(np.any), spacings, st.integers(0, 2))
def test_measurements_equal_their_definition(mask, spacing, axis):
    found = measure_object(mask, spacing, axis=axis)
    points = np.argwhere(mask)
    assert found.num_voxels == len(points)
    assert found.volume_ml == pytest.approx(len(points) * np.prod(spacing) / 1000)
    assert found.centroid_zyx == pytest.approx(tuple(points.mean(axis=0)))
    assert found.longest_diameter_mm == pytest.approx(longest_by_definition(mask, spacing))
    in_slices = {
        index: longest_by_definition(np.expand_dims(part, axis), spacing)
        for index, part in enumerate(np.moveaxis(mask, axis, 0))
        if part.any()
    }
    assert found.num_slices == len(in_slices)
    assert found.largest_slice_diameter_mm == pytest.approx(max(in_slices.values()))
    assert in_slices[found.largest_slice_index] == pytest.approx(max(in_slices.values()))
    assert found.bounds == tuple(
        slice(lo, hi + 1) for lo, hi in zip(points.min(axis=0), points.max(axis=0), strict=True)
    )
    assert found.intensities is None


flat_objects = {
    "voxel": [(3, 4, 5)],
    "two voxels": [(3, 4, 5), (5, 4, 5)],
    "line": [(n, 2 * n, 10) for n in range(6)],
    "three voxels": [(0, 0, 0), (9, 0, 0), (0, 12, 0)],
    "plane": [(y, y, x) for y in range(8) for x in range(12)],
    "oblique plane": [(y, x, y + x) for y in range(8) for x in range(12)],
    "nearly flat": [(0, y, x) for y in range(12) for x in range(12)] + [(1, 5, 5)],
}


@pytest.mark.parametrize("points", flat_objects.values(), ids=flat_objects)
def test_flat_objects_have_diameters(points):
    mask = np.zeros((13, 20, 25), bool)
    mask[tuple(np.array(points).T)] = True
    spacing = (3.0, 0.7, 0.5)
    for axis in range(3):
        found = measure_object(mask, spacing, axis=axis)
        assert found.longest_diameter_mm == pytest.approx(longest_by_definition(mask, spacing))


def test_the_diameter_of_a_large_ball_is_its_own():
    z, y, x = np.ogrid[-25:26, -50:51, -50:51]
    mask = (2 * z) ** 2 + y**2 + x**2 <= 50**2
    found = measure_object(np.pad(mask, 3), (2.0, 1.0, 1.0))
    assert found.longest_diameter_mm == pytest.approx(100.0)
    assert found.largest_slice_diameter_mm == pytest.approx(100.0)
    assert found.largest_slice_index == 28
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.01)


def test_more_corners_than_fit_in_one_block_give_the_same_diameter(monkeypatch):
    rng = np.random.default_rng(1)
    mask = rng.random((9, 30, 30)) < 0.05
    whole = measure_object(mask, (2.0, 1.0, 1.0))
    monkeypatch.setattr("napari_medicosam.core.diameters._BLOCK", 3)
    assert measure_object(mask, (2.0, 1.0, 1.0)) == whole


def test_of_equal_slices_the_first_is_named():
    mask = np.zeros((9, 20, 20), bool)
    mask[2:7, 3:10, 4:12] = True
    assert [measure_object(mask, CUBES, axis=axis).largest_slice_index for axis in range(3)] == [2, 3, 4]
    crosses = np.zeros((3, 9, 9), bool)
    crosses[1, 4, :] = crosses[1, :, 4] = True
    crosses[0, 4, :] = True  # as long, though it needs less room
    assert measure_object(crosses, CUBES).largest_slice_index == 0


def test_intensities_are_those_inside():
    mask = np.zeros((3, 4, 5), bool)
    mask[1, 1:3, 2] = True
    image = np.full(mask.shape, -1000, np.int16)
    image[1, 1, 2], image[1, 2, 2] = 30_000, 32_000
    found = measure_object(mask, CUBES, image)
    assert found.intensities == Intensities(mean=31_000.0, std=1_000.0, min=30_000.0, max=32_000.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_every_object_of_a_label_map_is_measured_as_if_alone(dtype):
    rng = np.random.default_rng(0)
    labels = np.zeros((6, 20, 20), dtype)
    labels[rng.random(labels.shape) < 0.1] = 1  # all over the place
    labels[1:3, 2:9, 3:8] = 7
    labels[4, 10:12, 10:12] = 200
    image = rng.normal(size=labels.shape).astype(np.float32)
    spacing = (2.0, 0.5, 0.75)
    found = measure_label_map(labels, spacing, image, axis=1)
    assert list(found) == [1, 7, 200]
    for object_id, measured in found.items():
        assert measured == measure_object(labels == object_id, spacing, image, axis=1)


def test_large_ids_are_no_burden():
    labels = np.zeros((3, 5, 5), np.int64)
    labels[1, 1:3, 1:3] = 2**40
    labels[2, 4, 4] = 3
    found = measure_label_map(labels, CUBES)
    assert {object_id: m.num_voxels for object_id, m in found.items()} == {3: 1, 2**40: 4}
    labels[labels == 0] = 5  # no background at all
    assert list(measure_label_map(labels, CUBES)) == [3, 5, 2**40]


def test_a_table_has_one_row_an_object_with_the_same_columns():
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[1:3, 2:5, 2] = 4
    labels[0, 0, 0] = 9
    measured = measure_label_map(labels, (2.0, 1.0, 1.0), labels)
    rows = measurements_table(measured, names={4: "Leber, rechts"}, classes={9: "tumour"})
    assert [(row["object_id"], row["name"], row["class"]) for row in rows] == [
        (4, "Leber, rechts", ""),
        (9, "", "tumour"),
    ]
    first = rows[0]
    assert first["volume_ml"] == pytest.approx(0.012)
    assert (first["first_z_voxel"], first["last_z_voxel"], first["num_slices"]) == (1, 2, 2)
    assert (first["centroid_z_voxel"], first["centroid_y_voxel"]) == (1.5, 3.0)
    assert first["mean_intensity"] == 4.0
    without = measurements_table(measure_label_map(labels, CUBES))
    assert list(without[1]) == list(first)
    assert without[0]["mean_intensity"] is None


def test_what_cannot_be_measured_is_an_error():
    mask = np.ones((2, 3, 4), bool)
    with pytest.raises(InputError, match="empty"):
        measure_object(~mask, CUBES)
    with pytest.raises(InputError, match="boolean"):
        measure_object(mask.astype(int), CUBES)
    with pytest.raises(InputError, match="shape"):
        measure_object(mask, CUBES, np.zeros((3, 4)))
    with pytest.raises(InputError, match="spacing"):
        measure_object(mask, (1.0, -1.0, 1.0))
    with pytest.raises(InputError, match="axis"):
        measure_object(mask, CUBES, axis=3)
    with pytest.raises(InputError, match="integers"):
        measure_label_map(mask.astype(float), CUBES)
    with pytest.raises(InputError, match="-1"):
        measure_label_map(-mask.astype(int), CUBES)
    assert measure_label_map(np.zeros((2, 3, 4), int), CUBES) == {}
