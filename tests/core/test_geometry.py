import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medicosam.core.geometry import Geometry, SlicePlane, SliceStack
from napari_medicosam.errors import InputError


def rotation(angles):
    a, b, c = angles
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rz @ ry @ rx


@st.composite
def affines(draw):
    """Oblique, flipped, permuted, anisotropic."""
    angles = [draw(st.floats(-3.1, 3.1)) for _ in range(3)]
    spacing = np.array([draw(st.floats(0.05, 12)) for _ in range(3)])
    flips = np.array([draw(st.sampled_from([-1, 1])) for _ in range(3)])
    order = draw(st.permutations(range(3)))
    affine = np.eye(4)
    affine[:3, :3] = (rotation(angles) * spacing * flips)[:, list(order)]
    affine[:3, 3] = draw(hnp.arrays(float, 3, elements=st.floats(-500, 500)))
    return affine


@given(affines())
def test_world_positions_are_nibabels(affine):
    geometry = Geometry((4, 5, 6), affine)
    ijk = np.array([[0, 0, 0], [5, 4, 3], [2, 1, 3]])
    expected = nib.affines.apply_affine(affine, ijk)
    np.testing.assert_allclose(geometry.index_to_ras_mm(ijk[:, ::-1]), expected, atol=1e-9)


@given(affines())
def test_index_to_world_and_back(affine):
    geometry = Geometry((4, 5, 6), affine)
    points_zyx = np.array([[0.0, 0, 0], [3, 4, 5], [1.5, -2, 7.25]])
    back = geometry.ras_mm_to_index(geometry.index_to_ras_mm(points_zyx))
    np.testing.assert_allclose(back, points_zyx, atol=1e-6)


@given(affines())
def test_spacing_is_the_distance_of_neighbouring_voxels(affine):
    geometry = Geometry((4, 5, 6), affine)
    for axis in range(3):
        step = np.eye(3)[axis]
        distance = np.linalg.norm(geometry.index_to_ras_mm(step) - geometry.index_to_ras_mm(np.zeros(3)))
        assert geometry.spacing_zyx[axis] == pytest.approx(distance)


@given(affines())
def test_each_plane_has_its_own_axis_and_follows_nibabels_orientation(affine):
    geometry = Geometry((4, 5, 6), affine)
    names = [geometry.plane_name(axis) for axis in range(3)]
    assert sorted(names) == ["axial", "coronal", "sagittal"]
    assert [geometry.axis_of(name) for name in names] == [0, 1, 2]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASL", "SRP", "IPR"])
def test_planes_of_axis_aligned_scans(codes):
    affine = np.eye(4)
    for column, code in enumerate(codes):
        affine[:3, column] = np.eye(3)["RAS".find(code)] if code in "RAS" else -np.eye(3)["LPI".find(code)]
    assert "".join(nib.aff2axcodes(affine)) == codes
    geometry = Geometry((4, 5, 6), affine)
    along_xyz = [("LR", "sagittal"), ("PA", "coronal"), ("IS", "axial")]
    for xyz, code in enumerate(codes):
        plane = next(name for letters, name in along_xyz if code in letters)
        assert geometry.axis_of(plane) == 2 - xyz


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((0, 5, 5), np.eye(4), "three positive sizes"),
        ((5, 5), np.eye(4), "three positive sizes"),
        ((5, 5, 5), np.full((4, 4), np.nan), "finite 4 x 4"),
        ((5, 5, 5), np.eye(3), "finite 4 x 4"),
        ((5, 5, 5), np.diag([1.0, 0, 1, 1]), "cannot be inverted"),
        ((5, 5, 5), np.diag([1.0, 1, 1, 2]), "last row"),
    ],
)
def test_bad_grids_are_refused(shape, affine, message):
    with pytest.raises(InputError, match=message):
        Geometry(shape, affine)


def test_unknown_axis():
    with pytest.raises(InputError, match="wanted 0, 1, 2, axial, coronal or sagittal"):
        Geometry.from_spacing((2, 2, 2)).axis_of("transversal")


def test_equals_sees_a_shift_a_flip_and_a_shape():
    grid = Geometry.from_spacing((4, 5, 6), (3, 1, 1))
    shifted = grid.affine_ras.copy()
    shifted[0, 3] += 0.01
    assert grid.equals(Geometry((4, 5, 6), grid.affine_ras.copy()))
    assert not grid.equals(Geometry((4, 5, 6), shifted))
    assert not grid.equals(Geometry((4, 5, 6), grid.affine_ras @ np.diag([-1, 1, 1, 1])))
    assert not grid.equals(Geometry.from_spacing((4, 5, 7), (3, 1, 1)))


def test_slices_cut_along_every_axis():
    array = np.arange(24).reshape(2, 3, 4)
    assert SlicePlane(0, 1).cut(array).tolist() == array[1].tolist()
    assert SlicePlane(1, 2).cut(array).tolist() == array[:, 2].tolist()
    assert SlicePlane(2, 3).cut(array).tolist() == array[:, :, 3].tolist()
    assert [SlicePlane(axis, 0).size_yx((2, 3, 4)) for axis in range(3)] == [(3, 4), (2, 4), (2, 3)]
    assert [SlicePlane(axis, 1).point_zyx((5, 6)) for axis in range(3)] == [(1, 5, 6), (5, 1, 6), (5, 6, 1)]


def test_stack_reads_rgb_slices_and_refuses_what_is_not_there():
    stack = SliceStack(np.zeros((2, 3, 4, 3), np.uint8), 1)
    assert len(stack) == 3
    assert stack.pixels(2).shape == (2, 4, 3)
    with pytest.raises(InputError, match=r"slices 0\.\.2"):
        stack.pixels(3)
    with pytest.raises(InputError, match="axis must be 0, 1 or 2"):
        SliceStack(np.zeros((2, 3, 4)), 3)


def test_a_stack_knows_its_spacing_or_says_so():
    array = np.zeros((2, 3, 4))
    stack = SliceStack(array, 1, (3.0, 2.0, 0.5))
    assert (stack.slice_spacing, stack.pixel_spacing_yx) == (2.0, (3.0, 0.5))
    unknown = SliceStack(array, 1)
    assert unknown.slice_spacing is unknown.pixel_spacing_yx is None
    for bad in ((1.0, 2.0), (1.0, 0.0, 1.0), (1.0, np.nan, 1.0)):
        with pytest.raises(InputError, match="three positive numbers"):
            SliceStack(array, 0, bad)
