"""Label maps to OME-Zarr: whole or not at all, and never over anything else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from ome_zarr_helpers import change, make_image

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError
from napari_medicosam.io import ome_zarr_labels, replacing, volumes
from napari_medicosam.io.volumes import (
    FileHeader,
    Volume,
    check_writable,
    read_labels,
    read_volume,
    write_labels,
)

SHAPE = (4, 20, 24)
DATA = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
LABELS = (np.arange(DATA.size).reshape(SHAPE) % 7).astype(np.uint8)
MM = FileHeader(unit="mm")
VERSIONS = pytest.mark.parametrize("version", ["0.4", "0.5"])


def contents(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def places(folder):
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    affine[:3, 3] = (-30.25, 40.0, 1e4 / 3)
    alone = Volume(DATA, Geometry(SHAPE, affine), header=MM)
    image = make_image(folder / "scan.ome.zarr", DATA, levels=2)
    return [(folder / "labels.ome.zarr", alone), (image / "labels" / "liver", read_volume(image))]


PLACES = pytest.mark.parametrize("place", [0, 1])


def test_a_label_map_of_its_own(tmp_path):
    path, volume = places(tmp_path)[0]
    write_labels(path, LABELS, volume)
    found = read_labels(path)
    assert np.array_equal(found.array, LABELS)
    assert found.array.dtype == np.uint8
    assert found.geometry.equals(volume.geometry, 1e-9)
    assert found.header.unit == "mm"
    ome = zarr.open_group(path, mode="r").attrs["ome"]
    assert ome["version"] == "0.5"
    assert "image-label" in ome


def test_large_ones_get_coarser_levels_of_the_same_place(tmp_path, monkeypatch):
    monkeypatch.setattr(ome_zarr_labels, "_SMALLEST", 6)
    monkeypatch.setattr(ome_zarr_labels, "_CHUNK", {"z": 2, "y": 5, "x": 7})
    path, volume = places(tmp_path)[0]
    write_labels(path, LABELS, volume)
    group = zarr.open_group(path, mode="r")
    datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
    steps = [(1, 1, 1), (1, 2, 2), (1, 4, 4)]  # voxels of 3 x 0.5 x 0.5 mm become 3 x 2 x 2 mm
    assert [one["coordinateTransformations"][0]["scale"] for one in datasets] == [
        [3 * z, y / 2, x / 2] for z, y, x in steps
    ]
    for one, (z, y, x) in zip(datasets, steps, strict=True):
        assert np.array_equal(group[one["path"]][:], LABELS[::z, ::y, ::x])
    assert group["0"].chunks == (2, 5, 7)


@VERSIONS
@pytest.mark.parametrize(("axes", "data"), [
    ("zyx", DATA), ("czyx", np.stack([DATA, DATA])), ("tczyx", DATA[None, None]), ("yx", DATA[0]),
])  # fmt: skip
def test_labels_of_an_image_go_beside_it_in_its_own_version_and_levels(tmp_path, version, axes, data):
    scale, offset = (1, 1, 3, 0.5, 0.5)[-len(axes) :], (0, 0, 7, 8, 9)[-len(axes) :]
    path = make_image(
        tmp_path / "scan.ome.zarr",
        data,
        version=version,
        axes=axes,
        scale=scale,
        offset=offset,
        levels=2,
        units="micrometer",
    )
    image = contents(path)
    volume = read_volume(f"{path}#c=0")
    labels = LABELS[:1] if axes == "yx" else LABELS
    write_labels(path / "labels" / "liver", labels, volume)
    write_labels(path / "labels" / "spleen", labels * 5, volume)
    for name, wanted in (("liver", labels), ("spleen", labels * 5)):
        found = read_labels(path / "labels" / name)
        assert np.array_equal(found.array, wanted)
        assert found.geometry.equals(volume.geometry, 1e-12)
        assert found.is_2d == volume.is_2d
    group = zarr.open_group(path, mode="r")
    assert group["labels/liver/1"].metadata.zarr_format == group.metadata.zarr_format
    assert np.array_equal(np.squeeze(group["labels/liver/1"][...]), np.squeeze(labels[:, ::2, ::2]))
    listed = group["labels"].attrs.asdict()
    assert (listed if version == "0.4" else listed["ome"])["labels"] == ["liver", "spleen"]
    after = contents(path)
    assert {name: after[name] for name in image} == image


@PLACES
def test_old_labels_are_replaced_only_when_asked(tmp_path, place):
    path, volume = places(tmp_path)[place]
    write_labels(path, LABELS, volume)
    with pytest.raises(FileError, match="--overwrite"):
        write_labels(path, LABELS * 2, volume)
    assert np.array_equal(read_labels(path).array, LABELS)
    write_labels(path, LABELS * 2, volume, overwrite=True)
    assert np.array_equal(read_labels(path).array, LABELS * 2)
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".medicosam")]


@PLACES
@pytest.mark.parametrize("has_old", [True, False])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("step", ["half written", "flush", "verify", "move"])
def test_a_failed_write_leaves_everything_as_it_was(tmp_path, monkeypatch, place, has_old, error, step):
    path, volume = places(tmp_path)[place]
    if has_old:
        write_labels(path, LABELS, volume)
    before, listing = contents(tmp_path), sorted(tmp_path.rglob("*"))

    def fail(*args, **more):
        raise error("stopped here")

    if step == "half written":
        real = ome_zarr_labels._fill
        monkeypatch.setattr(ome_zarr_labels, "_fill", lambda *args: (real(*args), fail()))
    elif step == "flush":
        monkeypatch.setattr(replacing, "_flush", fail)
    elif step == "verify":
        monkeypatch.setattr(volumes, "_verify", fail)
    else:
        real_rename, failed = type(path).rename, []

        def rename(self, target):
            if target == path.resolve() and not failed:
                failed.append(target)
                fail()
            return real_rename(self, target)

        monkeypatch.setattr(type(path), "rename", rename)
        monkeypatch.setattr(
            replacing, "exchange", lambda one, other: False
        )  # a system that cannot swap folders
    wanted = KeyboardInterrupt if error is KeyboardInterrupt else FileError
    with pytest.raises(wanted, match="stopped here"):
        write_labels(path, LABELS * 3, volume, overwrite=True)
    assert contents(tmp_path) == before
    assert sorted(tmp_path.rglob("*")) == listing


def test_labels_that_cannot_be_listed_are_not_left_behind(tmp_path, monkeypatch):
    path, volume = places(tmp_path)[1]
    before = contents(tmp_path)
    monkeypatch.setattr(
        ome_zarr_labels.LabelList, "write", lambda *args: (_ for _ in ()).throw(FileError("full"))
    )
    with pytest.raises(FileError, match="full"):
        write_labels(path, LABELS, volume)
    assert contents(tmp_path) == before


@PLACES
@pytest.mark.parametrize("wrong", ["labels", "grid"])
def test_a_library_that_writes_something_else_is_caught(tmp_path, monkeypatch, place, wrong):
    path, volume = places(tmp_path)[place]
    before = contents(tmp_path)
    real = ome_zarr_labels._write

    def write(folder, labels, plan):
        if wrong == "labels":
            labels = labels.copy()
            labels[0, 1, 2, 3] += 1
        real(folder, labels, plan)
        if wrong == "grid":
            datasets = lambda ome: ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]  # noqa: E731
            change(folder, lambda ome: datasets(ome)[0].update(scale=[3.0, 0.5, 0.51]))

    monkeypatch.setattr(ome_zarr_labels, "_write", write)
    with pytest.raises(FileError, match=r"read back, its (labels|geometry)"):
        write_labels(path, LABELS, volume)
    assert contents(tmp_path) == before


def test_data_is_on_disk_before_it_is_moved(tmp_path, monkeypatch):
    path, volume = places(tmp_path)[0]
    flushed = []
    real = replacing._flush
    monkeypatch.setattr(
        replacing, "_flush", lambda file: (flushed.append(file), real(file), path.exists())[1]
    )
    write_labels(path, LABELS, volume)
    assert {file.name for file in flushed} >= {"zarr.json", "0"}
    assert len(flushed) == len(contents(path))


@PLACES
def test_a_dry_run_finds_what_is_in_the_way_and_leaves_nothing(tmp_path, place):
    path, volume = places(tmp_path)[place]
    before = contents(tmp_path)
    check_writable(path, volume)
    assert contents(tmp_path) == before
    write_labels(path, LABELS, volume)
    with pytest.raises(FileError, match="--overwrite"):
        check_writable(path, volume)
    check_writable(path, volume, overwrite=True)
    assert np.array_equal(read_labels(path).array, LABELS)


@pytest.mark.parametrize(
    "name", ["scan.ome.zarr", "folder.zarr", "file.zarr", "none/a.zarr", "scan.ome.zarr/labels/notes"]
)
def test_nothing_but_labels_is_ever_replaced(tmp_path, name):
    _, (_, volume) = places(tmp_path)
    for folder in ("folder.zarr", "scan.ome.zarr/labels/notes"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "precious.txt").write_text("mine")
    (tmp_path / "file.zarr").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(FileError):
        write_labels(tmp_path / name, LABELS, volume, overwrite=True)
    assert contents(tmp_path) == before


DEGREE = np.pi / 180
TURNED = np.eye(4)
TURNED[:2, :2] = [[np.cos(DEGREE), -np.sin(DEGREE)], [np.sin(DEGREE), np.cos(DEGREE)]]
SHEARED = np.eye(4) + np.eye(4, k=1) * [0, 0.2, 0, 0]


@pytest.mark.parametrize(
    ("turn", "reason"), [(TURNED, "turned"), (SHEARED, "turned"), (np.diag([-1, -1, 1, 1.0]), "flipped")]
)
def test_a_grid_that_zarr_cannot_hold_needs_another_format(tmp_path, turn, reason):
    header = FileHeader(unit="mm", is_oriented=reason == "turned")
    volume = Volume(DATA, Geometry(SHAPE, turn @ np.diag([0.5, 0.5, 3.0, 1.0])), header=header)
    with pytest.raises(FileError, match=rf"{reason}.*Use \.nii\.gz"):
        write_labels(tmp_path / "a.zarr", LABELS, volume)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0), (0, 2, 1)])
@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, -1, -1), (-1, 1, -1)])
def test_grids_along_the_patient_are_held_in_words(tmp_path, order, signs):
    affine = np.zeros((4, 4))
    affine[order, range(3)] = np.array(signs) * (0.5, 0.7, 3.0)
    affine[:, 3] = (-31.5, 40, 7.25, 1)
    volume = Volume(DATA, Geometry(SHAPE, affine), header=FileHeader(unit="mm", is_oriented=True))
    write_labels(tmp_path / "a.zarr", LABELS, volume)
    assert read_labels(tmp_path / "a.zarr").geometry.equals(volume.geometry, 1e-9)
    (image,) = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]["multiscales"]
    ends = [("left", "right"), ("posterior", "anterior"), ("inferior", "superior")]
    scale, offset = (one for one in image["datasets"][0]["coordinateTransformations"])
    assert scale["scale"] == [3.0, 0.7, 0.5]
    for n, axis in enumerate(image["axes"]):
        world, sign = order[2 - n], signs[2 - n]
        assert axis["orientation"]["value"] == "-to-".join(ends[world][::sign])
        assert offset["translation"][n] == sign * affine[world, 3]


def test_a_slice_keeps_its_place_in_the_patient(tmp_path):
    affine = np.diag([-0.5, -0.5, 5.0, 1.0])
    affine[:3, 3] = (30, 20, -70)
    header = FileHeader(unit="mm", is_oriented=True)
    volume = Volume(DATA[:1], Geometry((1, *SHAPE[1:]), affine), is_2d=True, header=header)
    write_labels(tmp_path / "a.zarr", LABELS[:1], volume)
    assert np.array_equal(read_labels(tmp_path / "a.zarr").geometry.affine_ras, affine)
    flat = Volume(DATA[:1], Geometry.from_spacing((1, *SHAPE[1:])), is_2d=True)
    write_labels(tmp_path / "b.zarr", LABELS[:1], flat)
    assert zarr.open_group(tmp_path / "b.zarr", mode="r")["0"].shape == SHAPE[1:]


def test_a_grid_without_unit_stays_without(tmp_path):
    write_labels(tmp_path / "a.zarr", LABELS, Volume(DATA, Geometry.from_spacing(SHAPE, (3, 2, 1))))
    assert read_volume(tmp_path / "a.zarr").header.unit is None


def test_labels_of_another_image_or_of_one_time_point_are_refused(tmp_path):
    path, _ = places(tmp_path)[1]
    other = Volume(DATA[:2], Geometry.from_spacing((2, 20, 24)))
    with pytest.raises(FileError, match="its image has shape"):
        write_labels(path, LABELS[:2], other)
    elsewhere = Volume(DATA, Geometry.from_spacing(SHAPE))
    with pytest.raises(FileError, match="its geometry is another one"):
        write_labels(path, LABELS, elsewhere)
    movie = make_image(tmp_path / "movie.zarr", np.stack([DATA, DATA]), axes="tzyx", scale=(1, 3, 0.5, 0.5))
    with pytest.raises(FileError, match="2 time points"):
        write_labels(movie / "labels" / "a", LABELS, read_volume(f"{movie}#t=1"))
    assert not (movie / "labels").exists()
    assert not path.parent.exists()


def test_other_entries_of_the_list_are_kept(tmp_path):
    path, volume = places(tmp_path)[1]
    zarr.create_group(path.parent, attributes={"ome": {"version": "0.5", "labels": ["old"]}, "mine": 3})
    write_labels(path, LABELS, volume)
    attributes = json.loads((path.parent / "zarr.json").read_text())["attributes"]
    assert attributes == {"ome": {"version": "0.5", "labels": ["old", "liver"]}, "mine": 3}


def test_a_damaged_list_is_not_replaced(tmp_path):
    path, volume = places(tmp_path)[1]
    path.parent.mkdir()
    (path.parent / "zarr.json").write_text("{")
    before = contents(tmp_path)
    with pytest.raises(FileError, match=r"zarr\.json"):
        write_labels(path, LABELS, volume)
    assert contents(tmp_path) == before
