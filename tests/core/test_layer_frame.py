from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.core.layer_frame import (
    as_sliced,
    scaled_to_frame,
    scaled_to_world,
    turned_back,
)

angles = st.tuples(*[st.floats(-35, 35)] * 3)
numbers = st.tuples(*[st.floats(-600, 600)] * 3)
steps = st.tuples(*[st.floats(0.3, 6)] * 3)


@st.composite
def places(draw):
    """Turned, scaled and shifted: of volumes, and of volumes over time."""
    place = np.eye(5)
    place[1:4, 1:4] = Rotation.from_euler("xyz", draw(angles), degrees=True).as_matrix() * draw(steps)
    place[1:4, 4] = draw(numbers)
    return place if draw(st.booleans()) else place[1:, 1:]


@given(places(), st.permutations(range(3)), numbers)
@settings(deadline=None)
def test_a_layer_is_where_napari_chooses_and_draws_its_slices(place, order, numbers):
    ndim = len(place) - 1
    displayed = [axis + ndim - 3 for axis in order[1:]]
    hidden = [axis for axis in range(ndim) if axis not in displayed]
    sliced = as_sliced(place, displayed)
    point = np.array((1.0, 0.0, *numbers, 1.0))[-ndim - 1 :]
    point[-1] = 1
    on_axis, in_slice = point.copy(), point.copy()
    on_axis[displayed] = in_slice[hidden] = 0
    # The slice is that of the point whose displayed coordinates are 0; it is drawn as if it were slice 0.
    np.testing.assert_allclose(
        (np.linalg.inv(sliced) @ point)[hidden], (np.linalg.inv(place) @ on_axis)[hidden], atol=1e-6
    )
    np.testing.assert_allclose((sliced @ point)[displayed], (place @ in_slice)[displayed], atol=1e-6)
    for rows, columns in ((hidden, displayed), (displayed, hidden)):
        np.testing.assert_allclose(sliced[np.ix_(rows, columns)], 0, atol=1e-8)
    assert as_sliced(sliced, displayed) is sliced


def test_what_is_not_turned_out_of_the_slice_is_left_as_it_is():
    place = np.diag([3.0, -0.7, 0.7, 1])
    place[1:3, 1:3] = Rotation.from_euler("z", 30, degrees=True).as_matrix()[:2, :2]
    place[:3, 3] = 5, -600, 7
    assert as_sliced(place, [1, 2]) is place
    assert as_sliced(place, [0, 2]) is not place
    assert as_sliced(place, [0, 1, 2]) is place


@pytest.mark.parametrize(("degrees", "is_seen"), [(85, True), (88, False), (90, False)])
def test_slices_seen_from_the_side_are_nowhere(degrees, is_seen):
    place = np.eye(4)
    place[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix() * (3, 1, 0.5)
    assert (as_sliced(place, [1, 2]) is not None) == is_seen
    assert as_sliced(place, [0, 1]) is place


@st.composite
def geometries(draw):
    affine = np.eye(4)
    axes = np.eye(3)[:, draw(st.permutations(range(3)))] * draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))
    affine[:3, :3] = Rotation.from_euler("xyz", draw(angles), degrees=True).as_matrix() @ axes * draw(steps)
    affine[:3, 3] = draw(numbers)
    return Geometry((4, 6, 5), affine)


@given(geometries(), numbers)
@settings(deadline=None)
def test_the_world_is_one_for_all_scans(geometry, voxel):
    x, y, z = geometry.index_to_ras_mm(voxel)
    there = scaled_to_world(geometry) @ (*np.multiply(voxel, geometry.spacing_zyx), 1)
    np.testing.assert_allclose(there, (z, -y, -x, 1), atol=1e-6)


def test_axial_scans_lie_in_the_world_from_the_start():
    affine = np.diag([-0.7, 0.7, 3, 1.0])
    affine[:3, 3] = 100, -200, -500
    geometry = Geometry((4, 6, 5), affine)
    np.testing.assert_array_equal(scaled_to_world(geometry), scaled_to_frame(geometry))


@given(places())
@settings(deadline=None)
def test_turned_back_a_layer_lies_along_the_axes_of_the_world(place):
    place = place[-4:, -4:]
    back = (turned_back(place) @ place)[:3, :3]
    steps = np.linalg.norm(place[:3, :3], axis=0)
    np.testing.assert_allclose(abs(back), np.diag(steps), atol=1e-9)
