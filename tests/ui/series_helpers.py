"""What tests of an image series need: small folders of images, and a series with a fake service."""

from __future__ import annotations

import nibabel
import numpy as np
from imageio.v3 import imwrite

from napari_medicosam.io.image_series import ImageSeries
from napari_medicosam.io.volumes import read_labels
from napari_medicosam.ui.factory import adopt
from napari_medicosam.ui.runner import Runner
from napari_medicosam.ui.series import SeriesSession
from napari_medicosam.ui.session import AnnotationSession


def picture(number):
    return np.random.default_rng(number).integers(0, 255, (40, 50), dtype=np.uint8)


def pictures(folder, count=3):
    """a1.png, a2.png and so on, 40 x 50."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        imwrite(folder / f"a{number}.png", picture(number))
    return folder


def volumes(folder, count=2):
    """v1.nii.gz and so on: 6 slices of 20 x 30, oblique and anisotropic."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.array([[0.8, 0.1, 0, -9], [-0.1, 0.8, 0, 4], [0, 0, 3.0, 50], [0, 0, 0, 1]])
    for number in range(1, count + 1):
        voxels = np.random.default_rng(number).normal(size=(30, 20, 6)).astype(np.float32)
        image = nibabel.Nifti1Image(voxels, affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / f"v{number}.nii.gz")
    return folder


def labels_in(path):
    """A label file: (y, x) of a picture, (z, y, x) of a volume."""
    read = read_labels(path)
    return read.array[0] if read.is_2d else read.array


def on_disk(folder, output=None):
    """Name to status, as another program would see it."""
    series = ImageSeries(folder, output)
    return {item.name: series.status(item) for item in series}


class Engine:
    def __init__(self, service):
        self._service = service

    def service(self, settings, report):
        return self._service


def make_series_session(viewer, service, *, synchronous):
    """The series of a viewer, with a session of its own and a fake service."""
    session = AnnotationSession(viewer, runner=Runner(synchronous=synchronous), engine=Engine(service))
    adopt(session)
    session.set_model("sam_test")
    return SeriesSession(session)
