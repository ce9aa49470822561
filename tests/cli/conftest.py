import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from napari_medicosam.cli.app import app

AFFINE = np.eye(4)
AFFINE[:3, :3] = Rotation.from_euler("xyz", (0.3, -0.2, 0.1)).as_matrix() * (-0.9, 0.8, 2.5)
AFFINE[:3, 3] = (40, -20.5, 7)
"""Oblique, flipped and anisotropic: what a label map must bring back exactly."""


@pytest.fixture
def medicosam():
    """Runs the command in this process; errors come out as they are."""

    def run(*words):
        result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return run


@pytest.fixture
def scan(tmp_path):
    """A 3D scan (z, y, x) = (12, 40, 50) with a bright ball."""
    z, y, x = np.mgrid[:12, :40, :50]
    array = np.random.default_rng(0).normal(100, 10, (12, 40, 50))
    array[((z - 6) * 3) ** 2 + (y - 20) ** 2 + (x - 25) ** 2 < 12**2] += 300
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(array.astype(np.int16).T, AFFINE), path)
    return path
