"""Annotated volumes: which slices become samples, and how often a volume is read."""

import json
import os
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.errors import FileError
from napari_medicosam.io import volume_samples
from napari_medicosam.io.sample_sets import check_samples, find_samples
from napari_medicosam.io.volumes import read_volume

SHAPE = (6, 16, 20)
SLICES = (4.0, 1.0, 1.0)


def write(
    path: Path, array_zyx: np.ndarray, spacing_zyx: tuple[float, ...] = SLICES, shift: float = 0.0
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing_zyx[::-1], 1.0])
    affine[0, 3] = shift
    nibabel.save(nibabel.Nifti1Image(array_zyx.T, affine), path)
    return path


def scan(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Brightness differs from slice to slice, so that a mapping of each slice of its own would show."""
    noise = np.random.default_rng(seed).integers(0, 100, shape)
    return (noise + 100 * np.arange(shape[0])[:, None, None]).astype(np.int16)


def labels() -> np.ndarray:
    """Label 1 in slices 1 and 2, label 2 in slices 2 and 3; in slice 4 something small."""
    array = np.zeros(SHAPE, np.uint8)
    array[1:3, 2:8, 2:8] = 1
    array[2:4, 9:15, 9:15] = 2
    array[4, :2, :2] = 1
    return array


def add_pair(folder: Path, name: str = "p1", **written: float) -> None:
    write(folder / f"{name}_image.nii.gz", scan())
    write(folder / f"{name}_labels.nii.gz", labels(), **written)


def test_slices_with_an_object_become_samples(tmp_path: Path) -> None:
    add_pair(tmp_path)
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"entries": [{"name": "p1", "modality": "CT"}]}))

    found = find_samples(tmp_path)

    assert [(s.sample_id, s.patient, s.modality) for s in found.samples] == [
        (f"p1_z000{index}", "p1", "CT") for index in (1, 2, 3)
    ]
    assert (found.report.datasets[0].num_pairs, found.report.datasets[0].num_samples) == (1, 3)
    assert [o.class_id for o in found.samples[1].load().objects] == [1, 2]


def test_one_intensity_mapping_holds_for_the_whole_volume(tmp_path: Path) -> None:
    add_pair(tmp_path)
    image = read_volume(tmp_path / "p1_image.nii.gz").array
    wanted = resolve_intensity("auto", image).to_uint8(image)
    for sample in find_samples(tmp_path).samples:
        np.testing.assert_array_equal(sample.load().image, wanted[sample.index])


def test_a_volume_is_read_once_for_all_of_its_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("p1", "p2", "p3", "p4"):
        add_pair(tmp_path, name)
    read: list[Path] = []

    def counted(path: Path) -> object:
        read.append(path)
        return read_volume(path)

    monkeypatch.setattr(volume_samples, "read_volume", counted)
    found = find_samples(tmp_path)
    assert not read
    for workers in (1, 4):
        check_samples(found, workers=workers)
        assert sorted(path.name for path in read) == [f"p{n}_image.nii.gz" for n in (1, 2, 3, 4)]
        read.clear()


def test_a_changed_volume_is_read_again(tmp_path: Path) -> None:
    add_pair(tmp_path)
    sample = find_samples(tmp_path).samples[0]
    before = sample.load().image
    changed = write(tmp_path / "p1_image.nii.gz", scan(seed=1))
    os.utime(changed, ns=(0, 0))  # clocks of file systems are coarse
    assert not np.array_equal(sample.load().image, before)


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        ((4.0, 1.0, 1.0), 0),
        ((1.0, 1.0, 4.0), 2),
        ((1.0, 1.0, 1.0), 0),
        ((1.0, 1.000001, 1.000001), 0),
        ((2.0, 5.0, 5.0), 0),  # PET: slices closer than pixels are wide
        ((1.0, 2.0, 4.0), 2),
    ],
)
def test_the_axis_of_the_slices_is_told_by_the_spacing(
    tmp_path: Path, spacing: tuple[float, ...], axis: int
) -> None:
    write(tmp_path / "p1_image.nii.gz", scan(), spacing)
    write(tmp_path / "p1_labels.nii.gz", labels(), spacing)
    assert {sample.axis for sample in find_samples(tmp_path, min_pixels=4).samples} == {axis}


def test_the_axis_can_be_chosen(tmp_path: Path) -> None:
    add_pair(tmp_path)
    for name, axis in (("1", 1), ("axial", 0), ("sagittal", 2)):
        samples = find_samples(tmp_path, axis=name, min_pixels=4).samples
        assert {sample.axis for sample in samples} == {axis}
    loaded = samples[0].load()
    assert loaded.size_yx == (6, 16)
    assert samples[0].sample_id == "p1_x0002"


def test_wanted_labels_choose_the_slices(tmp_path: Path) -> None:
    add_pair(tmp_path)
    assert [sample.index for sample in find_samples(tmp_path, labels=(2,)).samples] == [2, 3]
    with pytest.raises(FileError, match="the label volume holds none of the labels 9"):
        find_samples(tmp_path, labels=(9,))


def test_volumes_in_images_and_labels(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.nii.gz", scan())
    write(tmp_path / "labels" / "a.nii.gz", labels())
    write(tmp_path / "images" / "b.nii.gz", scan())
    found = find_samples(tmp_path)
    assert {sample.patient for sample in found.samples} == {"a"}
    assert len(found.samples) == 3


def test_nnunet_channels_are_images_of_one_patient(tmp_path: Path) -> None:
    for name in ("la_001_0000", "la_001_0001", "la_002_0000"):
        write(tmp_path / "imagesTr" / f"{name}.nii.gz", scan())
    write(tmp_path / "labelsTr" / "la_001.nii.gz", labels())
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "T1", "1": "T2"}}')

    found = find_samples(tmp_path)

    assert {(s.sample_id, s.modality, s.patient) for s in found.samples if s.index == 1} == {
        ("la_001_0000_z0001", "T1", "la_001"),
        ("la_001_0001_z0001", "T2", "la_001"),
    }
    assert found.report.datasets[0].modality == "T1, T2"
    assert [item.name for item in found.report.skipped] == ["imagesTr/la_002_0000.nii.gz"]


def test_decathlon_images_have_no_channel_in_their_name(tmp_path: Path) -> None:
    write(tmp_path / "imagesTr" / "la_0003.nii.gz", scan())
    write(tmp_path / "labelsTr" / "la_0003.nii.gz", labels())
    (tmp_path / "dataset.json").write_text('{"modality": {"0": "MRI"}}')
    found = find_samples(tmp_path)
    assert {(s.patient, s.modality) for s in found.samples} == {("la_0003", "MRI")}


def test_grids_that_differ(tmp_path: Path) -> None:
    add_pair(tmp_path, "good")
    add_pair(tmp_path, "rounded", shift=0.3)
    add_pair(tmp_path, "elsewhere", shift=0.9)
    add_pair(tmp_path, "short")
    write(tmp_path / "short_image.nii.gz", scan()[:-1])

    checked = check_samples(find_samples(tmp_path))

    assert {s.patient for s in checked.samples} == {"good", "rounded"}
    reasons = {item.name: item.reason for item in checked.report.skipped}
    assert len(reasons) == 6
    assert (
        "the label volume has another shape than its image: (z, y, x) = (6, 16, 20)" in reasons["short_z0001"]
    )
    assert "the label volume lies elsewhere than its image" in reasons["elsewhere_z0001"]


def test_label_volumes_that_cannot_be_used(tmp_path: Path) -> None:
    add_pair(tmp_path, "good")
    bad = {
        "half": (labels() * np.float32(0.5), "wanted whole numbers"),
        "empty": (labels() * 0, "is empty: everything is background"),
        "negative": (labels().astype(np.int16) * -1, "negative labels"),
        "small": (
            (labels() == 1) * (np.arange(6) == 4)[:, None, None].astype(np.uint8),
            "at least 20 pixels",
        ),
    }
    for name, (array, _) in bad.items():
        add_pair(tmp_path, name)
        write(tmp_path / f"{name}_labels.nii.gz", array)
    add_pair(tmp_path, "torn")
    (tmp_path / "torn_labels.nii.gz").write_bytes(b"\x1f\x8b nothing")

    found = find_samples(tmp_path)

    assert {s.patient for s in found.samples} == {"good"}
    reasons = {item.name: item.reason for item in found.report.skipped}
    for name, (_, reason) in bad.items():
        assert reason in reasons[name]
    assert "cannot read the label volume as NIfTI" in reasons["torn"]


def test_pictures_do_not_go_with_volumes(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.nii.gz", scan())
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(b"")
    with pytest.raises(FileError, match="a picture and a volume"):
        find_samples(tmp_path)


def test_a_constant_volume_and_a_blank_slice(tmp_path: Path) -> None:
    add_pair(tmp_path, "good")
    blank = scan()
    blank[1] = 0
    write(tmp_path / "good_image.nii.gz", blank)
    add_pair(tmp_path, "flat")
    write(tmp_path / "flat_image.nii.gz", np.ones(SHAPE, np.int16))

    checked = check_samples(find_samples(tmp_path))

    assert [s.sample_id for s in checked.samples] == ["good_z0002", "good_z0003"]
    reasons = {item.name: item.reason for item in checked.report.skipped}
    assert reasons["good_z0001"].startswith("the image is blank")
    assert reasons["flat_z0001"].startswith(
        "the image cannot be shown to the model: the image is empty: every value is 1. Open the right file"
    )


def test_slices_go_to_other_processes_without_their_volume(tmp_path: Path) -> None:
    add_pair(tmp_path)
    sample = find_samples(tmp_path).samples[0]
    sample.load()
    assert len(pickle.dumps(sample)) < 2000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(sample)).load().image, sample.load().image)


def test_a_volume_that_went_away(tmp_path: Path) -> None:
    add_pair(tmp_path)
    sample = find_samples(tmp_path).samples[0]
    sample.load()
    (tmp_path / "p1_image.nii.gz").unlink()
    with pytest.raises(FileError, match=r"p1_image.nii.gz does not exist"):
        sample.load()
