"""OME-Zarr in: where voxels are, which of them are read, and what is refused."""

from __future__ import annotations

import functools
import json
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_helpers import change, make_image

from napari_medicosam.errors import FileError
from napari_medicosam.io import ome_zarr
from napari_medicosam.io.volumes import read_labels, read_volume

SHAPE = (6, 20, 24)
DATA = np.random.default_rng(0).integers(-1000, 3000, SHAPE).astype(np.int16)
MANY = np.arange(2 * 3 * 4 * 5 * 6, dtype=np.uint16).reshape(2, 3, 4, 5, 6)
VERSIONS = pytest.mark.parametrize("version", ["0.4", "0.5"])


@VERSIONS
def test_spacing_position_and_units_are_those_of_the_finest_level(tmp_path, version):
    path = make_image(
        tmp_path / "scan.ome.zarr",
        DATA,
        version=version,
        levels=2,
        scale=(3.0, 0.5, 0.25),
        offset=(10.0, 20.0, 30.0),
        units="micrometer",
        after=[{"type": "scale", "scale": [10, 10, 10]}, {"type": "translation", "translation": [1, 2, 3]}],
    )
    volume = read_volume(path)
    assert np.allclose(volume.geometry.affine_ras, [
        [0.0025, 0, 0, 0.303], [0, 0.005, 0, 0.202], [0, 0, 0.03, 0.101], [0, 0, 0, 1]
    ], rtol=1e-12)  # fmt: skip
    assert (volume.header.format, volume.header.unit, volume.is_2d) == ("ome-zarr", "mm", False)
    assert volume.array.shape == SHAPE
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, DATA)


@pytest.mark.parametrize("units", [None, "furlong"])
def test_numbers_without_a_unit_of_length_are_kept_as_they_are(tmp_path, units):
    volume = read_volume(make_image(tmp_path / "a.zarr", DATA, units=units))
    assert volume.header.unit is None
    assert volume.geometry.spacing_zyx == (3.0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("bool", "uint8"),
        (">i2", "int16"),
        ("float16", "float32"),
        ("float64", "float64"),
        ("uint32", "uint32"),
    ],
)
def test_numbers_become_what_volumes_hold(tmp_path, stored, read):
    data = (DATA > 0).astype(stored)
    volume = read_volume(make_image(tmp_path / "a.zarr", data, version="0.4"))
    assert volume.array.dtype == np.dtype(read)
    assert volume.array[2].dtype == np.dtype(read)
    assert np.array_equal(volume.array, data)


def test_a_2d_image_has_one_slice(tmp_path):
    path = make_image(tmp_path / "a.zarr", DATA[0], axes="yx", scale=(0.5, 0.25), offset=(1.0, 2.0))
    volume = read_volume(path)
    assert volume.is_2d
    assert volume.geometry.spacing_zyx == (1.0, 0.5, 0.25)
    assert np.array_equal(volume.array[0], DATA[0])


@pytest.mark.parametrize("key", [
    2, -1, slice(1, 4), (slice(None), 3), (slice(None), slice(None), -2), (1, slice(2, 9, 3), slice(None)), ...,
    (..., 5), (0, 0, 0), (slice(4, 2),), (slice(None, None, 2),) * 3, np.int64(3), (slice(None), slice(-5, None)),
])  # fmt: skip
@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
def test_indexing_is_numpys(tmp_path, monkeypatch, key, kept_bytes):
    monkeypatch.setattr("napari_medicosam.io.ome_zarr_array.KEPT_BYTES", kept_bytes)
    array = read_volume(make_image(tmp_path / "a.zarr", DATA, chunks=(2, 7, 24))).array
    assert array.chunks == (2, 7, 24)
    for _ in range(2):  # from disk, then from what was kept
        found = array[key]
        assert np.array_equal(found, DATA[key])
        assert found.shape == DATA[key].shape
        if found.ndim:
            found[...] = 0  # what is kept is nobody else's
    for wrong in (6, (0, 0, 0, 0), slice(None, None, -1), "a", DATA > 0):
        with pytest.raises(IndexError):
            array[wrong]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [("#c=2,t=1", MANY[1, 2]), ("#t=0,c=1", MANY[0, 1]), ("#c=1", "2 time points"), ("", "2 time points"),
     ("#t=1", "3 channels (0 red, 2 blue)"), ("#t=1,c=3", "no c=3: it holds 3 channels")],
)  # fmt: skip
def test_one_channel_and_time_point_is_chosen_by_number(tmp_path, choice, wanted):
    names = {"omero": {"channels": [{"label": "red"}, {}, {"label": "blue"}]}}
    path = make_image(tmp_path / "a.zarr", MANY, axes="tczyx", scale=(1, 1, 3, 2, 1), more=names)
    if isinstance(wanted, str):
        with pytest.raises(FileError) as caught:
            read_volume(f"{path}{choice}")
        assert wanted in str(caught.value)
    else:
        assert np.array_equal(read_volume(Path(f"{path}{choice}")).array, wanted)


def test_the_only_channel_needs_no_number(tmp_path):
    path = make_image(tmp_path / "a#c=7.zarr", MANY[:1, :1], axes="tczyx", scale=(1, 1, 3, 2, 1))
    assert np.array_equal(read_volume(path).array, MANY[0, 0])


def test_labels_are_read_into_memory(tmp_path):
    labels = read_labels(make_image(tmp_path / "a.zarr", (DATA > 0).astype(np.float32))).array
    assert isinstance(labels, np.ndarray)
    assert labels.dtype == np.uint8


# ------------------------------------------------------------------ what is refused


def _levels(change_first):
    return lambda ome: change_first(ome["multiscales"][0]["datasets"][0])


def _transforms(*transforms):
    return _levels(lambda first: first.update(coordinateTransformations=list(transforms)))


def _paths(path):
    return _levels(lambda first: first.update(path=path))


def _axes(*names):
    return lambda ome: ome["multiscales"][0].update(axes=[{"name": name} for name in names])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda ome: ome.pop("multiscales"), "no OME-Zarr image"),
        (lambda ome: ome.update(multiscales=[]), "no OME-Zarr image"),
        (lambda ome: ome.update(multiscales=[3]), "no OME-Zarr image"),
        (lambda ome: (ome.pop("multiscales"), ome.update(plate={})), "PLATE.zarr/A/1/0"),
        (lambda ome: (ome.pop("multiscales"), ome.update({"bioformats2raw.layout": 3})), "NAME.zarr/0"),
        (lambda ome: ome.update(version="0.3"), "is OME-Zarr 0.3: wanted 0.4 or 0.5"),
        (lambda ome: ome.update(version=5), "wanted 0.4 or 0.5"),
        (lambda ome: ome["multiscales"][0].update(datasets=[]), "at least one level"),
        (lambda ome: ome["multiscales"][0].update(datasets=["0"]), "wanted path and scale"),
        (lambda ome: ome["multiscales"][0].update(axes=["z", "y", "x"]), "wanted a list of axes"),
        (lambda ome: ome["multiscales"][0].update(axes=None), "wanted a list of axes"),
        (_axes("x", "y", "z"), "wanted some of t, c, z, then y, x"),
        (_axes("z", "z", "y", "x"), "wanted some of t, c, z, then y, x"),
        (_axes("z", "y"), "wanted some of t, c, z, then y, x"),
        (_axes("c", "z", "y", "x"), "wanted 4 numbers"),
        (_transforms({"type": "affine", "affine": []}), "type 'affine': wanted scale or translation"),
        (_transforms({"type": "scale", "path": "elsewhere"}), "wanted 3 numbers"),
        (_transforms({"type": "scale", "scale": [1, 1]}), "wanted 3 numbers"),
        (_transforms({"type": "scale", "scale": [1, "1", 1]}), "wanted 3 numbers"),
        (_transforms({"type": "scale", "scale": [1, float("nan"), 1]}), "wanted 3 numbers"),
        (_transforms({"type": "scale", "scale": [1, 10**400, 1]}), "wanted 3 numbers"),
        (_transforms({"type": "scale", "scale": [1, -1, 1]}), "wanted scales > 0"),
        (_transforms({"type": "scale", "scale": [1, 0, 1]}), "wanted scales > 0"),
        (_transforms(*[{"type": "scale", "scale": [1e9] * 3}] * 2), "wanted scales > 0"),
        (_transforms("scale"), "wanted scale or translation"),
        (_levels(lambda first: first.update(coordinateTransformations=None)), "must be lists"),
        (_paths("../../secret"), "wanted a path inside"),
        (_paths("/etc"), "wanted a path inside"),
        (_paths("0/../../secret"), "wanted a path inside"),
        (_paths("..\\secret"), "wanted a path inside"),
        (_paths("C:/secret"), "wanted a path inside"),
        (_paths(""), "wanted a path inside"),
        (_paths(None), "wanted a path inside"),
        (_paths("missing"), "cannot read"),
    ],
)
def test_metadata_that_make_no_sense_are_refused(tmp_path, edit, message):
    make_image(tmp_path / "secret", DATA)
    path = make_image(tmp_path / "a.zarr", DATA)
    change(path, edit)
    with pytest.raises(FileError) as caught:
        read_volume(path)
    assert message in str(caught.value)


@pytest.mark.parametrize("omero", [3, {"channels": 3}, {"channels": [3]}, {"channels": [{"label": 3, "window": 3}]},
                                   {"channels": [{"window": {"start": 5, "end": float("nan")}}]}])  # fmt: skip
def test_how_to_show_an_image_never_keeps_it_from_being_read(tmp_path, omero):
    assert read_volume(make_image(tmp_path / "a.zarr", DATA, more={"omero": omero})).array.shape == SHAPE


@pytest.mark.parametrize("edit", [
    {"shape": [10**10] * 3}, {"shape": [0, 20, 24]}, {"shape": [20, 24]}, {"shape": [-1, 20, 24]},
    {"data_type": "complex64"}, {"data_type": "r8"}, {"codecs": [{"name": "nothing"}]}, {"node_type": "group"},
    {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**4] * 3}}},
])  # fmt: skip
def test_arrays_that_make_no_sense_are_refused(tmp_path, edit):
    path = make_image(tmp_path / "a.zarr", DATA)
    file = path / "0" / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | edit))
    with pytest.raises(FileError):
        read_volume(path)


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"zarr_format": 9}'])
def test_broken_json_is_refused(tmp_path, name, content):
    path = make_image(tmp_path / "a.zarr", DATA)
    (path / name).write_bytes(content)
    with pytest.raises(FileError, match=r"a\.zarr"):
        read_volume(path)


@VERSIONS
@pytest.mark.parametrize(
    "damage", [lambda old: old[: len(old) // 2], lambda old: b"", lambda old: b"\0" * 99]
)
def test_a_damaged_chunk_is_refused_when_it_is_read(tmp_path, version, damage):
    path = make_image(tmp_path / "a.zarr", DATA, version=version, chunks=(2, 20, 24))
    first = min(file for file in (path / "0").rglob("*0") if file.is_file())
    first.write_bytes(damage(first.read_bytes()))
    array = read_volume(path).array
    assert np.array_equal(array[5], DATA[5])
    with pytest.raises(FileError, match="a chunk may be damaged"):
        array[0]


@pytest.mark.skipif(os.name != "posix", reason="symbolic links of POSIX")
def test_a_level_that_is_a_link_to_elsewhere_is_refused(tmp_path):
    other = make_image(tmp_path / "other.zarr", DATA)
    path = make_image(tmp_path / "a.zarr", DATA)
    (path / "0").rename(path / "real")
    (path / "0").symlink_to("real")
    assert np.array_equal(read_volume(path).array, DATA)
    (path / "0").unlink()
    (path / "0").symlink_to(other / "0")
    with pytest.raises(FileError, match="link to somewhere else"):
        read_volume(path)


@pytest.mark.parametrize("name", ["none.zarr", "empty.zarr", "plain.zarr", "array.zarr"])
def test_what_is_no_ome_zarr_is_refused(tmp_path, name):
    (tmp_path / "empty.zarr").mkdir()
    zarr.create_group(tmp_path / "plain.zarr")
    zarr.create_array(tmp_path / "array.zarr", data=DATA)
    with pytest.raises(FileError, match=name):
        read_volume(tmp_path / name)


# ------------------------------------------------------------------ from a server


@pytest.fixture
def served(tmp_path):
    """(folder, its address, paths that were asked for)."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield tmp_path, f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@VERSIONS
def test_an_image_is_read_from_a_server_chunk_by_chunk(served, version):
    folder, address, asked = served
    make_image(folder / "a.ome.zarr", DATA, version=version, chunks=(2, 20, 24))
    volume = read_volume(Path(f"{address}/a.ome.zarr"))  # what the command line makes of an address
    assert volume.geometry.spacing_zyx == (3.0, 0.5, 0.5)
    del asked[:]
    assert np.array_equal(volume.array[3], DATA[3])
    assert len(asked) == 1


def test_nothing_is_asked_of_a_server_while_offline(served, monkeypatch):
    folder, address, asked = served
    make_image(folder / "a.zarr", DATA)
    monkeypatch.setenv("NAPARI_MEDICOSAM_OFFLINE", "1")
    with pytest.raises(FileError, match="NAPARI_MEDICOSAM_OFFLINE"):
        read_volume(f"{address}/a.zarr")
    assert asked == []


def test_what_a_server_does_not_have_or_give_is_an_error(served):
    folder, address, _ = served
    with pytest.raises(FileError, match=r"none\.zarr"):
        read_volume(f"{address}/none.zarr")
    make_image(folder / "a.zarr", DATA)
    (folder / "a.zarr" / "zarr.json").write_text("{")
    with pytest.raises(FileError, match=r"a\.zarr"):
        read_volume(f"{address}/a.zarr")


@pytest.mark.parametrize("url", [
    "https://user:secret@host/a.zarr", "https://host/a.zarr?token=secret", "http://host/secret.nii.gz", "http://a.zarr",
])  # fmt: skip
def test_addresses_with_secrets_are_refused_and_not_repeated(monkeypatch, url):
    monkeypatch.setattr(ome_zarr, "_open_store", None)
    with pytest.raises(FileError, match="wanted https://HOST") as caught:
        read_volume(url)
    assert "secret" not in str(caught.value)
