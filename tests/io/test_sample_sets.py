"""Layouts of 2D images: what is found, what is skipped and why."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.sample_sets import check_samples, find_samples, merge_sample_sets


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, array)
    else:
        Image.fromarray(array).save(path)
    return path


def image(seed: int = 0, size: tuple[int, ...] = (24, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def square(value: int = 1, size: tuple[int, int] = (24, 20), side: int = 8) -> np.ndarray:
    labels = np.zeros(size, np.uint8)
    labels[2 : 2 + side, 3 : 3 + side] = value
    return labels


def add_pair(folder: Path, name: str, mask: np.ndarray | None = None, **kinds: str) -> None:
    write(folder / "images" / f"{name}{kinds.get('image', '.png')}", image())
    write(folder / kinds.get("masks", "masks") / f"{name}.png", square() if mask is None else mask)


def reasons(sample_set) -> dict[str, str]:
    return {item.name: item.reason for item in sample_set.report.skipped}


@pytest.mark.parametrize("masks", ["masks", "labels"])
@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg"])
def test_pairs_of_a_data_set_are_found_by_name(tmp_path: Path, masks: str, ending: str) -> None:
    for name in ("b", "a"):
        add_pair(tmp_path / "busi", name, image=ending, masks=masks)

    found = find_samples(tmp_path / "busi")

    assert [(s.sample_id, s.dataset, s.patient) for s in found.samples] == [
        ("a", "busi", "a"),
        ("b", "busi", "b"),
    ]
    assert found.samples[0].load().size_yx == (24, 20)
    (summary,) = found.report.datasets
    assert (summary.num_images, summary.num_pairs, summary.num_samples) == (2, 2, 2)
    assert summary.layout == f"images/ and {masks}/"
    assert not found.report.skipped


def test_names_decide_and_not_their_order(tmp_path: Path) -> None:
    """One image without mask in front must not shift all masks by one."""
    write(tmp_path / "images" / "a.png", image())
    for name, value in (("b", 2), ("c", 3)):
        add_pair(tmp_path, name, square(value))
    write(tmp_path / "masks" / "d.png", square(4))

    found = find_samples(tmp_path)

    assert {s.sample_id: s.load().objects[0].class_id for s in found.samples} == {"b": 2, "c": 3}
    assert reasons(found)["images/a.png"].startswith("no mask of its name")
    assert reasons(found)["masks/d.png"] == "no image of its name"


def test_8_bit_pictures_are_shown_as_they_are_and_16_bit_ones_stretched(tmp_path: Path) -> None:
    add_pair(tmp_path, "grey")
    add_pair(tmp_path, "colour")
    write(tmp_path / "images" / "colour.png", image(size=(24, 20, 3)))
    add_pair(tmp_path, "deep")
    write(tmp_path / "images" / "deep.png", image().astype(np.uint16) * 16)
    add_pair(tmp_path, "real", image=".tif")
    write(tmp_path / "images" / "real.tif", image() / np.float32(300))

    loaded = {s.sample_id: s.load().image for s in find_samples(tmp_path).samples}

    np.testing.assert_array_equal(loaded["grey"], image())
    np.testing.assert_array_equal(loaded["colour"], image(size=(24, 20, 3)))
    for name in ("deep", "real"):
        assert loaded[name].dtype == np.uint8
        assert (loaded[name].min(), loaded[name].max()) == (0, 255)
        assert np.corrcoef(loaded[name].ravel(), image().ravel())[0, 1] > 0.99


def test_a_window_is_used_when_asked_for(tmp_path: Path) -> None:
    add_pair(tmp_path, "a")
    (sample,) = find_samples(tmp_path, window="100,200").samples
    np.testing.assert_array_equal(sample.load().image == 255, image() >= 200)


def test_masks_of_every_integer_kind(tmp_path: Path) -> None:
    palette = Image.fromarray(square(2), mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    add_pair(tmp_path, "palette")
    palette.save(tmp_path / "masks" / "palette.png")
    add_pair(tmp_path, "binary", square(255))
    add_pair(tmp_path, "instances", (square().astype(np.uint16) * 700))
    for name, mask in (("whole", square(5).astype(np.float32)), ("one_bit", square() > 0)):
        write(tmp_path / "images" / f"{name}.png", image())
        write(tmp_path / "masks" / f"{name}.tif", mask)

    checked = check_samples(find_samples(tmp_path))

    classes = {s.sample_id: s.load().objects[0].class_id for s in checked.samples}
    assert classes == {"palette": 2, "binary": 255, "instances": 700, "whole": 5, "one_bit": 1}


def smoothed() -> np.ndarray:
    mask = Image.fromarray(square(255, (24, 20), side=12))
    return np.asarray(mask.resize((80, 96), Image.Resampling.BICUBIC))


BAD_MASKS = {
    "rgb": (np.dstack([square(255), square(0), square(0)]), "RGB colours are not labels"),
    "grey_rgb": (np.dstack([square(255)] * 3), "three channels are equal: save one of them"),
    "empty": (np.zeros((24, 20), np.uint8), "the mask is empty"),
    "small": (square(side=3), "no object of at least 20 pixels"),
    "other_size": (
        square(size=(20, 24)),
        "another size than its image: 20 x 24 pixels (rows x columns)",
    ),
    "smooth": (smoothed(), "smoothed or resized"),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_masks_that_cannot_be_used_are_dropped_with_the_reason(tmp_path: Path, name: str) -> None:
    mask, reason = BAD_MASKS[name]
    add_pair(tmp_path, "good")
    add_pair(tmp_path, name, mask)
    found = find_samples(tmp_path)

    bad = next(sample for sample in found.samples if sample.sample_id == name)
    with pytest.raises(FileError, match=f"{name}.png"):
        bad.load()
    checked = check_samples(found)

    assert [s.sample_id for s in checked.samples] == ["good"]
    assert reason in reasons(checked)[name]
    assert str(tmp_path) not in reasons(checked)[name]
    assert checked.report.datasets[0].num_samples == 1


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (square().astype(np.float32) * 0.5, "no labels: wanted whole numbers"),
        (square().astype(np.int16) * -1, "negative labels"),
        (np.stack([square(), square()]), "a stack of 2 slices"),
    ],
)
def test_tiff_masks_that_cannot_be_used(tmp_path: Path, mask: np.ndarray, reason: str) -> None:
    add_pair(tmp_path, "good")
    write(tmp_path / "images" / "bad.png", image())
    write(tmp_path / "masks" / "bad.tif", mask)
    assert reason in reasons(check_samples(find_samples(tmp_path)))["bad"]


def test_jpeg_masks_and_damaged_and_blank_images(tmp_path: Path) -> None:
    add_pair(tmp_path, "good")
    write(tmp_path / "images" / "lossy.png", image())
    write(tmp_path / "masks" / "lossy.jpg", square(255))
    add_pair(tmp_path, "torn")
    torn = tmp_path / "images" / "torn.png"
    torn.write_bytes(torn.read_bytes()[:100])
    add_pair(tmp_path, "blank")
    write(tmp_path / "images" / "blank.png", np.full((24, 20), 7, np.uint8))

    skipped = reasons(check_samples(find_samples(tmp_path)))

    assert "JPEG, which is lossy" in skipped["lossy"]
    assert "the image is truncated" in skipped["torn"]
    assert skipped["blank"] == "the image is blank: every value is 7"


def test_files_that_are_no_pair(tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_pair(tmp_path, name)
    write(tmp_path / "images" / "b.tif", image())
    (tmp_path / "images" / "notes.txt").write_text("?")
    (tmp_path / "images" / "more").mkdir()
    (tmp_path / "images" / ".DS_Store").write_text("")

    found = find_samples(tmp_path)

    assert [s.sample_id for s in found.samples] == ["a"]
    skipped = reasons(found)
    assert skipped["images/b.png"].startswith("several files differ in their ending only")
    assert "no image file" in skipped["images/notes.txt"]
    assert "a folder" in skipped["images/more"]
    assert not any(".DS_Store" in name for name in skipped)


def test_only_wanted_labels_count(tmp_path: Path) -> None:
    mask = square(1)
    mask[14:22, 3:11] = 2
    add_pair(tmp_path, "both", mask)
    add_pair(tmp_path, "first", square(1))

    checked = check_samples(find_samples(tmp_path, labels=(2,)))

    assert [[o.class_id for o in s.load().objects] for s in checked.samples] == [[2]]
    assert reasons(checked) == {"first": "the mask holds none of the labels 2"}


def test_min_pixels(tmp_path: Path) -> None:
    add_pair(tmp_path, "small", square(side=3))
    assert len(check_samples(find_samples(tmp_path, min_pixels=9)).samples) == 1
    with pytest.raises(FileError, match="no object of at least 10 pixels"):
        check_samples(find_samples(tmp_path, min_pixels=10))


@pytest.mark.parametrize(
    "options", [{"min_pixels": 0}, {"labels": ()}, {"labels": (-1,)}, {"window": "bright"}, {"axis": "up"}]
)
def test_options_without_meaning(tmp_path: Path, options: dict) -> None:
    add_pair(tmp_path, "a")
    with pytest.raises(InputError):
        find_samples(tmp_path, **options)


def test_a_folder_of_data_sets_with_a_manifest(tmp_path: Path) -> None:
    add_pair(tmp_path / "train" / "busi", "a")
    add_pair(tmp_path / "train" / "cells", "a")
    add_pair(tmp_path / "train" / "own", "a")
    (tmp_path / "train" / "own" / "dataset.json").write_text('{"modality": "PET"}')
    (tmp_path / "train" / "papers").mkdir()
    (tmp_path / "train" / "half" / "images").mkdir(parents=True)
    entries = [
        {"name": "busi", "split": "val", "modality": "wrong"},
        {"name": "busi", "split": "train", "modality": "ultrasound"},
        {"name": "own", "split": "train", "modality": "wrong"},
    ]
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"entries": entries}))

    found = find_samples(tmp_path / "train")

    assert [(s.dataset, s.modality) for s in found.samples] == [
        ("busi", "ultrasound"),
        ("cells", ""),
        ("own", "PET"),
    ]
    assert reasons(found) == {
        "papers": "not a known layout: it holds nothing",
        "half": "the folder has images/, but no masks/ or labels/ beside it",
    }
    (alone,) = find_samples(tmp_path / "train" / "busi").samples
    assert alone.modality == "ultrasound"


def test_a_damaged_dataset_json_stops_its_data_set_only(tmp_path: Path) -> None:
    for name in ("good", "bad", "pattern"):
        add_pair(tmp_path / name, "a")
    (tmp_path / "bad" / "dataset.json").write_text("{")
    (tmp_path / "pattern" / "dataset.json").write_text('{"patient_pattern": "("}')

    found = find_samples(tmp_path)

    assert [s.dataset for s in found.samples] == ["good"]
    assert "dataset.json is not JSON" in reasons(found)["bad"]
    assert "no regular expression" in reasons(found)["pattern"]
    with pytest.raises(FileError, match="is not JSON"):
        find_samples(tmp_path / "bad")


def test_patients_are_read_off_the_names(tmp_path: Path) -> None:
    for name in ("P01_z003", "P01_z017", "case7_slice_0100", "img_12"):
        add_pair(tmp_path / "plain", name)
        add_pair(tmp_path / "pattern", name)
    (tmp_path / "pattern" / "dataset.json").write_text(json.dumps({"patient_pattern": r"^([A-Za-z]+)"}))

    patients = {
        name: [s.patient for s in find_samples(tmp_path / name).samples] for name in ("plain", "pattern")
    }

    assert patients["plain"] == ["P01", "P01", "case7", "img_12"]
    assert patients["pattern"] == ["P", "P", "case", "img"]


def test_a_folder_without_known_layout_says_what_was_found_and_wanted(tmp_path: Path) -> None:
    write(tmp_path / "a.png", image())
    (tmp_path / "other").mkdir()
    with pytest.raises(FileError, match=r"1 folders \(other\) and 1 \.png files") as error:
        find_samples(tmp_path)
    assert "images/NAME.png + masks/NAME.png" in str(error.value)
    assert "SAMed2D_v1.json" in str(error.value)


def test_paths_that_are_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        find_samples(tmp_path / "nothing")
    with pytest.raises(FileError, match="is a file"):
        find_samples(write(tmp_path / "a.png", image()))


def test_a_folder_with_nothing_to_use_shows_its_report(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.png", image())
    write(tmp_path / "masks" / "b.png", square())
    with pytest.raises(FileError, match="no mask of its name: wanted a with any ending"):
        find_samples(tmp_path)
    (tmp_path / "both" / "images").mkdir(parents=True)
    for name in ("masks", "labels"):
        (tmp_path / "both" / name).mkdir()
    with pytest.raises(FileError, match="both masks/ and labels/"):
        find_samples(tmp_path / "both")


def test_samples_go_to_other_processes(tmp_path: Path) -> None:
    add_pair(tmp_path, "a")
    (sample,) = find_samples(tmp_path).samples
    again = pickle.loads(pickle.dumps(sample))
    assert again == sample
    np.testing.assert_array_equal(again.load().image, sample.load().image)


def test_sets_are_merged_unless_names_clash(tmp_path: Path) -> None:
    for place in ("one/busi", "two/cells", "three/busi"):
        add_pair(tmp_path / place, "a")
    one, two, three = (check_samples(find_samples(tmp_path / place)) for place in ("one", "two", "three"))

    merged = merge_sample_sets([one, two])

    assert [s.dataset for s in merged.samples] == ["busi", "cells"]
    assert merged.report.digest not in ("", one.report.digest)
    with pytest.raises(InputError, match="several data sets are called busi"):
        merge_sample_sets([one, three])
