"""Sizes of voxels: of tilted scans as their file has them, of other layers as they lie."""

import nibabel
import numpy as np
import pytest
from napari.layers import Image

from napari_medicosam.io.reader import get_reader
from napari_medicosam.ui.spacing import spacing_mm, spacing_zyx, voxel_volume_mm3

TILT = np.radians(20)


@pytest.fixture
def tilted(tmp_path):
    """Slices of 0.5 x 0.8 mm, each 2 mm behind the last along the table, which is 20 degrees off their normal."""
    affine = np.diag([0.5, 0.8, 2 * np.cos(TILT), 1])
    affine[1, 2] = 2 * np.sin(TILT)
    image = nibabel.Nifti1Image(np.zeros((5, 6, 4), np.int16), affine)
    image.header.set_xyzt_units("mm")
    path = tmp_path / "tilted.nii"
    nibabel.save(image, path)
    ((data, arguments, _),) = get_reader(str(path))(str(path))
    return Image(data, **arguments)


def test_slices_of_a_tilted_scan_are_closer_together_than_they_lie(tilted):
    assert voxel_volume_mm3(tilted) == pytest.approx(0.5 * 0.8 * 2 * np.cos(TILT), rel=1e-6)
    assert spacing_mm(tilted) == pytest.approx((2, 0.8, 0.5), rel=1e-6)
    assert spacing_zyx(tilted) == pytest.approx((2 * np.cos(TILT), 0.8, 0.5), rel=1e-6)


def test_a_layer_that_was_scaled_since_is_as_it_lies(tilted):
    tilted.affine = np.eye(4)
    tilted.scale = (3, 1, 1)
    assert voxel_volume_mm3(tilted) == pytest.approx(3)
    assert spacing_zyx(tilted) == pytest.approx((3, 1, 1))


def test_without_a_length_unit_nothing_is_said_in_mm():
    image = Image(np.zeros((4, 5, 6)), scale=(3, 2, 1))
    assert (voxel_volume_mm3(image), spacing_mm(image)) == (None, None)
    assert spacing_zyx(image) == (3, 2, 1)


def test_an_axis_that_runs_backwards_has_the_size_that_it_has():
    image = Image(np.zeros((4, 5, 6)), scale=(3, -2, 1), units=("mm",) * 3, affine=np.diag([-1, 1, 1, 1]))
    assert spacing_mm(image) == spacing_zyx(image) == (3, 2, 1)
    assert voxel_volume_mm3(image) == pytest.approx(6)
