"""The layout of SA-Med2D-20M."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medicosam.errors import FileError
from napari_medicosam.io.sample_sets import check_samples, find_samples

HEART = "mr_00--ACDC--patient001_frame01--x_0006"
LUNG = "x_ray--covid--16660_5_1--2d_none"
BRAIN = "mr_t1--BraTS2021--BraTS2021_00218--z_0141"


def mask(y: int, x: int, side: int = 8) -> np.ndarray:
    pixels = np.zeros((24, 20), np.uint8)
    pixels[y : y + side, x : x + side] = 255
    return pixels


def save(root: Path, name: str, pixels: np.ndarray) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    index = {}
    for name, masks in (
        (HEART, {"0000_000": mask(2, 2), "0003_001": mask(6, 6), "0005_000": mask(0, 0, side=2)}),
        (LUNG, {"0002_000": mask(4, 4)}),
        (BRAIN, {"0011_000": np.dstack([mask(4, 4)] * 3)}),
    ):
        save(tmp_path, f"images/{name}.png", rng.integers(0, 256, (24, 20), dtype=np.uint8))
        for suffix, pixels in masks.items():
            save(tmp_path, f"masks/{name}--{suffix}.png", pixels)
        index[f"images/{name}.png"] = [f"masks/{name}--{suffix}.png" for suffix in masks]
    index["images/ct_00--Left--out--x_0000.png"] = ["masks/ct_00--Left--out--x_0000--0000_000.png"]
    index[f"images/{LUNG}_b.png"] = []
    save(tmp_path, f"images/{LUNG}_b.png", rng.integers(0, 256, (24, 20), dtype=np.uint8))
    write_index(tmp_path, index)
    return tmp_path


def write_index(root: Path, index: object) -> None:
    (root / "SAMed2D_v1.json").write_text(json.dumps(index))


def test_names_give_modality_data_set_and_patient(root: Path) -> None:
    found = find_samples(root)

    assert [(s.sample_id, s.dataset, s.modality, s.patient) for s in found.samples] == [
        (HEART, "ACDC", "MRI", "patient001_frame01"),
        (BRAIN, "BraTS2021", "MRI (t1)", "BraTS2021_00218"),
        (LUNG, "covid", "X-ray", "16660_5_1"),
    ]
    assert [(d.name, d.layout, d.num_samples) for d in found.report.datasets] == [
        ("ACDC", "SA-Med2D-20M", 1),
        ("BraTS2021", "SA-Med2D-20M", 1),
        ("covid", "SA-Med2D-20M", 1),
    ]
    assert {item.name: item.reason for item in found.report.skipped} == {
        "ct_00--Left--out--x_0000": "listed in SAMed2D_v1.json, but not in images/",
        f"{LUNG}_b": "SAMed2D_v1.json lists no masks for it",
    }


def test_objects_may_overlap_and_have_the_class_of_their_name(root: Path) -> None:
    heart = find_samples(root).samples[0].load()
    first, second = heart.objects  # the third is too small
    assert (first.class_id, second.class_id) == (0, 3)
    assert (first.in_slice(heart.size_yx) & second.in_slice(heart.size_yx)).sum() == 16


def test_colour_masks_are_binary_all_the_same(root: Path) -> None:
    brain = next(s for s in find_samples(root).samples if s.sample_id == BRAIN).load()
    assert [o.num_pixels for o in brain.objects] == [64]


def test_classes_can_be_chosen(root: Path) -> None:
    checked = check_samples(find_samples(root, labels=(3, 2)))
    assert [[o.class_id for o in s.load().objects] for s in checked.samples] == [[3], [2]]
    assert "the image has no object of class 3, 2 of at least 20 pixels" in checked.report.as_text()


def test_masks_that_are_missing_or_of_another_size(root: Path) -> None:
    (root / "masks" / f"{LUNG}--0002_000.png").unlink()
    save(root, f"masks/{HEART}--0003_001.png", mask(2, 2)[:20])

    checked = check_samples(find_samples(root))

    assert [s.sample_id for s in checked.samples] == [BRAIN]
    reasons = {item.name: item.reason for item in checked.report.skipped}
    assert "one of its masks does not exist" in reasons[LUNG]
    assert "one of its masks has another size than its image: 20 x 20" in reasons[HEART]


def test_names_of_another_form_are_taken_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    save(root, "images/a.png", np.arange(480, dtype=np.uint8).reshape(24, 20))
    save(root, "masks/a1.png", mask(2, 2))
    write_index(root, {"images/a.png": ["masks/a1.png"]})
    (sample,) = find_samples(root).samples
    assert (sample.sample_id, sample.dataset, sample.modality, sample.patient) == ("a", "mine", "", "a")
    assert sample.load().objects[0].class_id == 1


def test_the_json_may_lie_in_annotations(root: Path) -> None:
    (root / "annotations").mkdir()
    (root / "SAMed2D_v1.json").rename(root / "annotations" / "SAMed2D_v1.json")
    assert len(find_samples(root).samples) == 3


@pytest.mark.parametrize("index", [["a"], {"images/a.png": "masks/a.png"}, {"images/a.png": [1]}])
def test_a_json_of_another_form(root: Path, index: object) -> None:
    write_index(root, index)
    with pytest.raises(FileError, match="wanted image names, each with a list"):
        find_samples(root)
    (root / "SAMed2D_v1.json").write_text("{")
    with pytest.raises(FileError, match="is not JSON"):
        find_samples(root)
