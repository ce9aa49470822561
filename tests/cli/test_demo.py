import re

import nibabel as nib
import numpy as np
from PIL import Image

from napari_medicosam.core.metrics import dice
from napari_medicosam.io.sample import ct_abdomen


def test_the_demo_measures_what_it_writes(medicosam, tmp_path):
    """With the tiny model, whose masks mean nothing: the numbers must still be those of the files."""
    scan = ct_abdomen()
    printed = medicosam("demo", "-o", tmp_path / "out", "--model", "sam_test", "--device", "cpu").stdout
    labels = nib.load(tmp_path / "out" / "spleen.nii.gz")
    assert np.array_equal(labels.affine, nib.load(scan.image).affine)
    mask = np.asanyarray(labels.dataobj) == 1
    truth = np.asanyarray(nib.load(scan.labels).dataobj) == scan.label
    assert mask.any()
    assert float(re.search(r"3D Dice (\d\.\d+)", printed)[1]) == round(dice(mask, truth), 3)
    rows = dict(re.findall(r"│ (\d+)\s+│ \d+\s+│ \d+\s+│ (\d\.\d+) │", printed))
    assert float(rows["10"]) == round(dice(mask[..., 10], truth[..., 10]), 3)
    picture = np.asarray(Image.open(tmp_path / "out" / "demo.png"))
    assert (picture == (255, 255, 0)).all(axis=-1).sum() > 100  # the box


def test_the_samples_box_is_tight_around_its_organ():
    scan = ct_abdomen()
    truth = np.asanyarray(nib.load(scan.labels).dataobj).T[scan.slice_index] == scan.label
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    assert scan.box == (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
