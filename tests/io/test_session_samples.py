"""Saved sessions as training data: images are found by pixels, patients stay together, what is missing is said."""

import json
import pickle
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_helpers import CT, write_series
from ome_zarr_helpers import make_image
from PIL import Image

from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.sample_sets import check_samples, find_samples, split_samples
from napari_medicosam.io.volumes import read_volume
from session_helpers import save_session

SHAPE = (6, 16, 20)


def write(path, seed=0, spacing=1.0):
    """A scan as NIfTI; its voxels."""
    array = np.random.default_rng(seed).integers(-500, 900, SHAPE).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.T, np.diag([1.0, 1.0, spacing, 1.0])), path)
    return array


def labels(shape=(1, *SHAPE)):
    """Object 1 in slices 1 and 2, object 3 in slice 4."""
    made = np.zeros(shape, np.uint16)
    made[0, 1:3, 2:8, 2:8] = 1
    made[0, 4, 9:15, 9:15] = 3
    return made


def reasons(found):
    return {item.name: item.reason for item in found.report.skipped}


def patients(folder, **options):
    return {sample.sample_id: sample.patient for sample in find_samples(folder, **options).samples}


@pytest.fixture
def data(tmp_path):
    """Two sessions, a zip and a folder, on images below; and one whose image is not there."""
    folder = tmp_path / "ward"
    save_session(folder / "sessions" / "a.zip", [write(folder / "scans" / "p1.nii.gz")], labels())
    save_session(folder / "sessions" / "b", [write(folder / "scans" / "p2.nii.gz", seed=1)], labels())
    save_session(folder / "sessions" / "gone.zip", [np.zeros(SHAPE, np.int16)], labels())
    return folder


def test_sessions_become_samples_checked_and_split_by_patient(data):
    found = check_samples(find_samples(data))
    assert [(s.sample_id, s.dataset, s.patient) for s in found.samples] == [
        (f"sessions/{name}_z000{z}", "ward", patient)
        for name, patient in (("a", "p1"), ("b", "p2"))
        for z in (1, 2, 4)
    ]
    (summary,) = found.report.datasets
    assert (summary.num_images, summary.num_pairs, summary.num_samples, summary.num_objects) == (2, 2, 6, 6)
    assert list(reasons(found)) == ["sessions/gone.zip"]
    assert reasons(found)["sessions/gone.zip"].startswith(
        "its image was not found: wanted one of 1 x 6 x 16 x 20 (t, z, y, x) int16"
    )
    train, validation = split_samples(found.samples, 0.5, seed=0)
    assert {len(train), len(validation)} == {3}
    assert {s.patient for s in train} != {s.patient for s in validation}


def test_a_slice_has_the_pixels_and_the_objects_of_its_session(data):
    sample = pickle.loads(pickle.dumps(find_samples(data).samples[2]))
    annotated = sample.load()
    (only,) = annotated.objects
    assert (only.class_id, only.region.y0, only.num_pixels) == (3, 9, 36)
    assert annotated.size_yx == (16, 20)


def test_objects_that_are_still_edited_are_not_learnt(tmp_path):
    volume, drawn = write(tmp_path / "scan.nii.gz"), labels()
    drawn[0, 1, 9:15, 9:15] = 3
    save_session(tmp_path / "one.zip", [volume], drawn, open_objects=[3])
    save_session(tmp_path / "none.zip", [volume], drawn, open_objects=[1, 3])
    found = find_samples(tmp_path)
    assert [(s.index, [o.class_id for o in s.load().objects]) for s in found.samples] == [(1, [1]), (2, [1])]
    assert reasons(found)["none.zip"].startswith("the session has no finished object")


@pytest.mark.parametrize("window", ["auto", "percentile"])
def test_intensities_are_those_of_the_session_unless_others_are_asked_for(tmp_path, window):
    volume = write(tmp_path / "scan.nii.gz")
    own = IntensityMapping("window", 0, 400)
    save_session(tmp_path / "one.zip", [volume], labels(), mapping=own)
    image = find_samples(tmp_path, window=window).samples[0].load().image
    assert np.array_equal(image, own.to_uint8(volume[1])) == (window == "auto")


def test_without_a_mapping_the_word_of_the_session_counts(tmp_path):
    volume = write(tmp_path / "scan.nii.gz")
    save_session(tmp_path / "one.zip", [volume], labels(), window="100,300")
    image = find_samples(tmp_path).samples[0].load().image
    np.testing.assert_array_equal(image, IntensityMapping("window", 100, 300).to_uint8(volume[1]))


def test_an_image_lies_where_its_session_says(tmp_path):
    place = tmp_path / "archive" / "p7" / "scan.nii.gz"
    save_session(tmp_path / "ward" / "one.zip", [write(place)], labels(), file=str(place))
    assert set(patients(tmp_path / "ward").values()) == {"p7"}
    write(place, seed=5)
    with pytest.raises(FileError, match=r"its image was not found: .* looked at 1 images"):
        find_samples(tmp_path / "ward")


def test_an_image_that_moved_is_found_by_its_pixels(tmp_path):
    place = tmp_path / "ward" / "renamed" / "x.nii.gz"
    save_session(tmp_path / "ward" / "one.zip", [write(place)], labels(), file=str(tmp_path / "scan.nii.gz"))
    (tmp_path / "ward" / "damaged.nii.gz").write_bytes(b"no image")
    assert set(patients(tmp_path / "ward").values()) == {"renamed"}


def test_nothing_of_a_patient_is_divided(tmp_path):
    """Images of a folder are one patient, and so are all sessions of one image, under whatever name it is there."""
    for number, name in enumerate(["p1/t1", "p1/t2", "p2/t1", "images/p3", "images/p4/t1", "p5_z001"]):
        volume = write(tmp_path / f"{name}.nii.gz", seed=number)
        save_session(tmp_path / f"{number}.zip", [volume], labels())
    shutil.copy(tmp_path / "p1" / "t1.nii.gz", tmp_path / "p2" / "copy.nii.gz")
    save_session(tmp_path / "0", [write(tmp_path / "p1" / "t1.nii.gz")], labels())
    found = {name.split("_z")[0]: patient for name, patient in patients(tmp_path).items()}
    wanted = {"0": "p1", "0.zip": "p1", "1": "p1", "2": "p2", "3": "p3", "4": "p4", "5": "p5"}
    assert found == wanted


def test_one_folder_of_images_cannot_be_split_before_it_is_said_how(tmp_path):
    for number in range(2):
        volume = write(tmp_path / "mine" / f"{number}_t1.nii.gz", seed=number)
        save_session(tmp_path / f"{number}.zip", [volume], labels())
    with pytest.raises(InputError, match="patient_pattern"):
        split_samples(find_samples(tmp_path).samples, 0.5, seed=0)
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": "CT", "patient_pattern": r"mine/(\d)"}))
    found = find_samples(tmp_path)
    assert {(s.patient, s.modality) for s in found.samples} == {("0", "CT"), ("1", "CT")}


def test_volumes_over_time_in_dicom(tmp_path, monkeypatch):
    """Two volumes at one place are one image; each is read by its own address."""
    scans = tmp_path / "scans"
    scans.mkdir()
    times = [CT, CT[::-1]]
    for time, stored in enumerate(times):
        paths = write_series(tmp_path / f"t{time}", stored, AcquisitionNumber=time)
        for path in paths:
            shutil.move(path, scans / f"{time}{path.name}")
        (tmp_path / f"t{time}").rmdir()
    drawn = np.zeros((2, *CT.shape), np.uint16)
    drawn[0, 1, :5, :5], drawn[1, 3, 1:6, 1:6] = 1, 2
    volumes = [read_volume(f"{scans}#{number}").array for number in (1, 2)]
    assert not np.array_equal(*volumes)
    save_session(scans / "s.zip", volumes, drawn, mapping=IntensityMapping("window", -1024, 3000))
    monkeypatch.chdir(scans)
    samples = find_samples(Path()).samples
    assert [(s.sample_id, s.patient) for s in samples] == [("s_t00_z0001", "scans"), ("s_t01_z0003", "scans")]
    for sample, volume, index in zip(samples, volumes, (1, 3), strict=True):
        wanted = IntensityMapping("window", -1024, 3000).to_uint8(volume[index])
        np.testing.assert_array_equal(sample.load().image, wanted)


def test_the_channel_of_an_ome_zarr_and_a_picture_in_colour(tmp_path):
    rng = np.random.default_rng(4)
    channels = rng.integers(0, 999, (2, *SHAPE)).astype(np.uint16)
    make_image(tmp_path / "cells.ome.zarr", channels, axes="czyx", scale=(1.0, 1.0, 1.0, 1.0))
    save_session(tmp_path / "cells.zip", [channels[1]], labels())
    picture = rng.integers(0, 255, (1, 16, 20, 3)).astype(np.uint8)
    Image.fromarray(picture[0]).save(tmp_path / "polyp.png")
    save_session(tmp_path / "polyp.zip", [picture], labels()[:, 1:2])
    cells, *_, polyp = find_samples(tmp_path, axis="0").samples
    wanted = IntensityMapping("window", *np.percentile(channels[1], (0.5, 99.5))).to_uint8(channels[1, 1])
    np.testing.assert_array_equal(cells.load().image, wanted)
    assert polyp.sample_id == find_samples(tmp_path, axis="1").samples[-1].sample_id == "polyp_z0000"
    np.testing.assert_array_equal(polyp.load().image, picture[0])


def test_sessions_beside_other_layouts(tmp_path):
    """Label maps count where there are any; data sets stay apart, and a session between them is told."""
    volume = write(tmp_path / "one" / "p1_image.nii.gz")
    write(tmp_path / "two" / "scan.nii.gz")
    for place in ("one/s.zip", "two/s.zip", "loose.zip"):
        save_session(tmp_path / place, [volume], labels())
    nibabel.save(
        nibabel.Nifti1Image(labels()[0].T.astype(np.uint8), np.eye(4)), tmp_path / "one" / "p1_labels.nii.gz"
    )
    found = find_samples(tmp_path)
    assert {(s.dataset, s.sample_id[:2]) for s in found.samples} == {("one", "p1"), ("two", "s_")}
    assert reasons(found) == {
        "loose.zip": "a session beside data sets: give it a folder of its own",
    }


def test_images_without_masks_may_have_sessions(tmp_path):
    save_session(tmp_path / "sessions" / "a.zip", [write(tmp_path / "images" / "a.nii.gz")], labels())
    assert set(patients(tmp_path).values()) == {"a"}


def test_a_damaged_session_is_named(data):
    (data / "sessions" / "a.zip").write_bytes(b"PK and nothing more")
    found = find_samples(data)
    assert reasons(found)["sessions/a.zip"].startswith("the session is damaged")
    assert {sample.patient for sample in found.samples} == {"p2"}
