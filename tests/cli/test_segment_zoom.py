import json

import nibabel as nib
import numpy as np
import pytest

from napari_medicosam.errors import InputError

TINY = ("--model", "sam_test", "--device", "cpu")


def segment(medicosam, scan, folder, *more):
    out, report = folder / "labels.nii.gz", folder / "report.json"
    medicosam(
        "segment", scan, "-o", out, *TINY, "--box", "6,14,20,20,27", "--json", report, "--overwrite", *more
    )
    return np.asanyarray(nib.load(out).dataobj).T, json.loads(report.read_text())["zoom"]


def test_small_objects_are_looked_at_in_a_view(medicosam, scan, tmp_path):
    plain, rule = segment(medicosam, scan, tmp_path, "--zoom", "never")
    assert rule == "never"
    assert segment(medicosam, scan, tmp_path)[1] == "auto"
    zoomed, rule = segment(medicosam, scan, tmp_path, "--zoom", "always")
    assert rule == "always"
    assert zoomed.any()
    assert np.any(zoomed != plain)
    occupied = np.argwhere(zoomed[6])
    assert np.ptp(occupied, axis=0).max() < 32


def test_a_zoom_that_is_none_is_said_before_any_work(medicosam, scan, tmp_path):
    with pytest.raises(InputError, match="'often': wanted never, auto, always"):
        segment(medicosam, scan, tmp_path, "--zoom", "often")
    assert not list(tmp_path.glob("labels*"))
