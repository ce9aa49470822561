"""NRRD that ITK does not read by itself, and NRRD and MetaImage over time."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import tempfile

import numpy as np
import pytest
import SimpleITK

from napari_medicosam.errors import FileError
from napari_medicosam.io import nrrd_rewriting
from napari_medicosam.io.over_time import read_over_time
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.volumes import read_volume, write_labels

SCANS = np.random.default_rng(0).integers(-900, 900, (5, 4, 6, 7)).astype("<i2")
"""(t, z, y, x)"""

SPACE = ["space: left-posterior-superior", "space origin: (11,-7,3)"]
AXES = ["(0,0.6,0)", "(0.5,0,0)", "(0,0,-2.5)"]
AFFINE_RAS = np.array([[0, -0.5, 0, -11], [-0.6, 0, 0, 7], [0, 0, -2.5, 3], [0, 0, 0, 1.0]])
PACKERS = {"raw": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}


def save(path, voxels, kinds=None, encoding="raw", lines=(), data_name=None):
    """The array as an NRRD; where `kinds` has one that is no place its axis is that without a direction."""
    kinds = kinds or "domain domain domain"
    places = iter(AXES)
    directions = [next(places) if kind in ("domain", "space") else "none" for kind in kinds.split()]
    fields = [
        f"dimension: {voxels.ndim}",
        f"sizes: {' '.join(map(str, voxels.shape[::-1]))}",
        f"type: {'uchar' if voxels.dtype == np.uint8 else 'int16'}",
        "endian: little",
        f"encoding: {encoding}",
        f"kinds: {kinds}",
        f"space directions: {' '.join(directions)}",
        *lines,
    ]
    packed = PACKERS[encoding](voxels.tobytes())
    if data_name:
        path.with_name(data_name).write_bytes(packed)
        fields.append(f"data file: {data_name}")
    head = "\n".join(["NRRD0005", *SPACE, *fields, "", ""]).encode()
    path.write_bytes(head if data_name else head + packed)
    return path


@pytest.mark.parametrize("data_name", [None, "voxels.bz2"])
def test_bzip2(tmp_path, monkeypatch, data_name):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    ending = ".nhdr" if data_name else ".nrrd"
    path = save(tmp_path / f"a{ending}", SCANS[0], encoding="bzip2", data_name=data_name, lines=["a:=b"])
    volume = read_volume(path)
    assert np.array_equal(volume.array, SCANS[0])
    assert np.allclose(volume.geometry.affine_ras, AFFINE_RAS)
    assert volume.header.unit == "mm"
    assert not list((tmp_path / "temporary").iterdir())
    write_labels(tmp_path / "labels.nrrd", SCANS[0] > 0, volume)
    assert np.allclose(read_volume(tmp_path / "labels.nrrd").geometry.affine_ras, AFFINE_RAS)


def test_a_list_of_one_file(tmp_path):
    (tmp_path / "voxels.bz2").write_bytes(bz2.compress(SCANS[0].tobytes()))
    path = save(tmp_path / "a.nhdr", SCANS[0], encoding="bzip2", data_name="other")
    path.write_text(path.read_text().replace("data file: other", "data file: LIST\nvoxels.bz2").rstrip())
    assert np.array_equal(read_volume(path).array, SCANS[0])
    path.write_text(f"{path.read_text()}\nother")
    with pytest.raises(FileError, match="voxels in 2 files"):
        read_volume(path)


def test_a_full_disk_is_no_damage(tmp_path):
    path = save(tmp_path / "a.nrrd", SCANS[0], encoding="bzip2")

    class Full:
        def write(self, piece):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError, match="temporary file: No space left"):
        nrrd_rewriting._unpack(path, io.BytesIO(bz2.compress(b"abc")), Full(), 10)


def test_bzip2_that_does_not_hold_what_its_header_says(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nrrd", SCANS[0], encoding="bzip2")
    content = path.read_bytes()
    start = content.index(b"BZh")
    for spoilt in (content[:-10], content[: start + 40], content[:start], content[:-30] + b"\0" * 30):
        path.write_bytes(spoilt)
        with pytest.raises(FileError, match=f"{path.name}.*(damaged|truncated)"):
            read_volume(path)
    path.write_bytes(content[:start] + bz2.compress(SCANS[0].tobytes()[:-2]))
    with pytest.raises(FileError, match=r"a\.nrrd is truncated"):
        read_volume(path)
    path.write_bytes(content[:start] + bz2.compress(bytes(1 << 20)))
    with pytest.raises(FileError, match="unpacks to more than 1344 bytes"):
        read_volume(path)
    monkeypatch.setattr(nrrd_rewriting, "_ALWAYS_UNPACKED", 100)
    monkeypatch.setattr(nrrd_rewriting, "_MAX_RATIO", 0)
    path.write_bytes(content[:start] + bz2.compress(bytes(SCANS[0].nbytes)))
    with pytest.raises(FileError, match="unpacks to more than 100 bytes"):
        read_volume(path)


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize(
    "kinds",
    ["list domain domain domain", "domain domain domain list", "space space space none", "time space space space",
     "??? domain domain domain", "vector domain domain domain"],
)  # fmt: skip
def test_nrrd_over_time(tmp_path, kinds, encoding):
    is_first = kinds.split()[0] not in ("domain", "space")
    voxels = np.ascontiguousarray(np.moveaxis(SCANS, 0, -1)) if is_first else SCANS
    path = save(tmp_path / "heart.seq.nrrd", voxels, kinds, encoding)
    volumes = read_over_time(path)
    assert np.array_equal([volume.array for volume in volumes], SCANS)
    assert all(np.allclose(volume.geometry.affine_ras, AFFINE_RAS) for volume in volumes)
    ((data, arguments, kind),) = get_reader(str(path))(str(path))
    assert (data.shape, kind) == (SCANS.shape, "image")
    assert arguments["scale"] == (1, 2.5, 0.5, 0.6)
    with pytest.raises(FileError, match="5 values a voxel"):
        read_volume(path)


def test_colours_are_no_times_and_three_times_no_colours(tmp_path):
    voxels = np.random.default_rng(1).integers(0, 256, (4, 6, 7, 3)).astype(np.uint8)
    colours = read_volume(save(tmp_path / "a.nrrd", voxels, "RGB-color domain domain domain"))
    assert colours.is_rgb
    assert np.array_equal(colours.array, voxels)
    times = read_over_time(save(tmp_path / "b.nrrd", voxels, "list domain domain domain"))
    assert np.array_equal([volume.array for volume in times], np.moveaxis(voxels, -1, 0))


def test_one_volume_of_a_list_is_a_volume(tmp_path):
    volume = read_volume(save(tmp_path / "a.nrrd", SCANS[:1], "space space space time"))
    assert np.array_equal(volume.array, SCANS[0])


def test_layers_of_segments_are_refused(tmp_path):
    voxels = np.zeros((4, 6, 7, 2), np.uint8)
    lines = ["Segment0_ID:=Segment_1", "Segment1_ID:=Segment_2"]
    path = save(tmp_path / "liver.seg.nrrd", voxels, "list domain domain domain", lines=lines)
    for read in (read_volume, read_over_time):
        with pytest.raises(FileError, match="2 layers of segments"):
            read(path)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
def test_four_axes(tmp_path, suffix):
    image = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(scan) for scan in SCANS], 3.0, 0.7)
    image.SetSpacing((0.5, 0.6, 2.5, 0.7))
    image.SetOrigin((11, -7, 3, 0))
    path = tmp_path / f"heart{suffix}"
    SimpleITK.WriteImage(image, str(path), useCompression=suffix == ".mhd")  # voxels in a .zraw file
    volumes = read_over_time(path)
    assert np.array_equal([volume.array for volume in volumes], SCANS)
    assert volumes[0].geometry.spacing_zyx == (2.5, 0.6, 0.5)
    assert np.allclose(volumes[0].geometry.affine_ras[:3, 3], (-11, 7, 3))
    with pytest.raises(FileError, match="4D"):
        read_volume(path)
    write_labels(tmp_path / "labels.nii.gz", SCANS > 0, volumes[0])
    labels = read_over_time(tmp_path / "labels.nii.gz")
    assert np.array_equal([volume.array for volume in labels], SCANS > 0)
    assert np.allclose(labels[0].geometry.affine_ras, volumes[0].geometry.affine_ras, atol=1e-5)


def test_a_fourth_axis_in_space_is_refused(tmp_path):
    image = SimpleITK.GetImageFromArray(SCANS, isVector=False)
    turned = np.eye(4)
    turned[2:, 2:] = [[0, -1], [1, 0]]
    image.SetDirection(turned.ravel().tolist())
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(FileError, match="fourth axis"):
        read_over_time(tmp_path / "a.mha")
