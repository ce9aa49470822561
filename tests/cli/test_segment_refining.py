"""What is done with the whole mask of an object: three planes vote, and clean-up. And objects that go together."""

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_medicosam.core.post_processing import CleanUp, clean_up
from napari_medicosam.errors import InputError
from napari_medicosam.predict.encoder import SliceEncoder

TINY = ("--model", "sam_test", "--device", "cpu")
BOX = ("--box", "6,8,13,32,37")
POINT = ("--point", "6,20,25,+")
FAR = ("--propagate", "--iou-threshold", "0", "--min-confidence", "0")
PROMPTS = [
    {"id": 3, "name": "ball", "boxes": [[6, 8, 13, 32, 37]]},
    {"id": 1, "points": [[3, 5, 5, "+"], [3, 20, 25, "-"]], "boxes": [[5, 1, 1, 12, 10]]},
    {"id": 2, "points": [[6, 30, 44, "+"]]},
]


@pytest.fixture
def segmented(medicosam, scan, tmp_path):
    """Labels (z, y, x) and the report of a run."""

    def run(*words):
        out, report = tmp_path / "labels.nii.gz", tmp_path / "report.json"
        medicosam("segment", scan, "-o", out, *TINY, "--json", report, "--overwrite", *words)
        return np.asanyarray(nib.load(out).dataobj).T, json.loads(report.read_text())

    return run


def prompts_file(folder, objects):
    path = folder / "prompts.json"
    path.write_text(json.dumps(objects))
    return "--prompts", path


@pytest.mark.parametrize("rule", ["first", "last"])
def test_objects_together_are_the_objects_one_by_one(segmented, tmp_path, rule, monkeypatch):
    single = [segmented(*prompts_file(tmp_path, [one]), *FAR) for one in PROMPTS]
    encoded, encode = [], SliceEncoder.encode
    monkeypatch.setattr(SliceEncoder, "encode", lambda self, image: encoded.append(1) or encode(self, image))
    labels, report = segmented(*prompts_file(tmp_path, PROMPTS), *FAR, "--overlap", rule, "--zoom", "never")
    assert len(encoded) == 12, "each slice once"
    wanted = np.zeros_like(labels)
    for one, (alone, _) in list(zip(PROMPTS, single, strict=True))[:: 1 if rule == "last" else -1]:
        wanted[alone != 0] = one["id"]
    assert set(np.unique(wanted)) == {0, 1, 2, 3}
    assert sum(np.count_nonzero(alone) for alone, _ in single) > np.count_nonzero(wanted), "they overlap"
    assert np.array_equal(labels, wanted)
    for entry, (_, alone) in zip(report["objects"], single, strict=True):
        assert entry["iou_predictions"] == alone["objects"][0]["iou_predictions"]
        assert entry["voxels"] == np.count_nonzero(labels == entry["id"])
        assert entry["slices"] == np.flatnonzero((labels == entry["id"]).any(axis=(1, 2))).tolist()


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (("--largest",), CleanUp(largest_component=True)),
        (("--fill-holes", "slices"), CleanUp(fill_holes="slices")),
        (("--smooth", "3", "--min-size", "3"), CleanUp(smooth_mm=3, min_size_mm3=3)),
    ],
)
def test_clean_up(segmented, scan, words, settings):
    before, report = segmented(*POINT, *FAR)
    assert report["clean_up"] is None
    after, report = segmented(*POINT, *FAR, *words)
    assert report["clean_up"]["smooth_mm"] == settings.smooth_mm
    spacing = nib.affines.voxel_sizes(nib.load(scan).affine)[::-1]
    wanted = clean_up(before != 0, tuple(spacing), settings)
    assert not np.array_equal(wanted, before != 0), "there is something to clean"
    assert np.array_equal(after != 0, wanted)
    assert report["objects"][0]["voxels"] == np.count_nonzero(wanted)


def test_three_planes_vote_in_the_range_and_leave_the_prompted_slice(segmented):
    before, report = segmented(*BOX, *FAR, "--z-range", "4,10")
    assert report["three_planes"] is False
    after, report = segmented(*BOX, *FAR, "--z-range", "4,10", "--three-planes")
    assert report["three_planes"] is True
    assert 0 < report["objects"][0]["three_planes_dice"] < 1
    assert np.array_equal(after[6], before[6])
    assert not np.array_equal(after, before)
    assert not after[:4].any()
    assert not after[10:].any()


def test_three_planes_want_a_volume(medicosam, tmp_path):
    Image.fromarray(np.arange(2400, dtype=np.uint8).reshape(40, 60)).save(tmp_path / "image.png")
    with pytest.raises(InputError, match="a 2D image has one plane"):
        medicosam("segment", tmp_path / "image.png", "-o", tmp_path / "labels.png", *TINY, "--box", "5,6,30,40",
                  "--propagate", "--three-planes")  # fmt: skip
