"""OME-Zarr as napari's reader gives it."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from ome_zarr_helpers import change, make_image

from napari_medicosam.errors import FileError
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.records import record_of
from napari_medicosam.io.volumes import read_volume, write_labels

MANY = np.arange(2 * 3 * 4 * 20 * 24, dtype=np.uint16).reshape(2, 3, 4, 20, 24)


def read(path):
    return get_reader(str(path))(str(path))


def test_a_layer_a_channel_over_time(tmp_path):
    omero = {"channels": [{"label": "red", "window": {"start": 5, "end": 50, "min": 0, "max": 99}}, {}]}
    path = make_image(
        tmp_path / "cells.ome.zarr",
        MANY,
        axes="tczyx",
        scale=(2, 1, 3, 2, 1),
        more={"omero": omero},
        levels=2,
    )
    layers = read(path)
    assert [arguments["name"] for _, arguments, _ in layers] == [
        "cells red",
        "cells channel 1",
        "cells channel 2",
    ]
    assert layers[0][1]["contrast_limits"] == (5, 50)
    for channel, (levels, arguments, kind) in enumerate(layers):
        assert kind == "image"
        assert np.array_equal(np.asarray(levels[0]), MANY[:, channel])
        assert np.array_equal(np.asarray(levels[1]), MANY[:, channel, :, ::2, ::2])
        assert arguments["scale"] == (1, 3, 2, 1)
        assert arguments["units"] == ("pixel", "mm", "mm", "mm")
        assert arguments["blending"] == "additive"
        assert record_of(arguments["metadata"]).geometry.shape_zyx == (4, 20, 24)
    ((levels, arguments, _),) = read(f"{path}#c=2")
    assert np.array_equal(np.asarray(levels[0]), MANY[:, 2])
    assert arguments["name"] == "cells"
    with pytest.raises(FileError, match="no c=3"):
        read(f"{path}#c=3")


@pytest.mark.parametrize(
    ("axes", "data", "shape", "translate"),
    [
        ("zyx", MANY[0, 0], (4, 20, 24), (7, 8, 9)),
        ("yx", MANY[0, 0, 0], (20, 24), (8, 9)),
        ("tyx", MANY[:, 0, 0], (2, 1, 20, 24), (0, 0, 8, 9)),  # time, not depth
        ("tczyx", MANY[:1, :1], (4, 20, 24), (7, 8, 9)),
    ],
)
def test_axes_scale_and_position(tmp_path, axes, data, shape, translate):
    steps = dict(zip("tczyx", (2, 1, 3, 2, 1), strict=True))
    offsets = dict(zip("tczyx", (0, 0, 7, 8, 9), strict=True))
    path = make_image(
        tmp_path / "a.zarr",
        data,
        axes=axes,
        scale=[steps[a] for a in axes],
        offset=[offsets[a] for a in axes],
    )
    ((array, arguments, _),) = read(path)
    assert array.shape == shape
    assert arguments["translate"] == translate
    assert len(arguments["scale"]) == len(arguments["units"]) == len(shape)
    assert arguments["scale"][-2:] == (2, 1)
    assert np.array_equal(np.squeeze(np.asarray(array)), np.squeeze(data))


def test_label_maps_of_an_image_come_with_it(tmp_path):
    path = make_image(tmp_path / "a.zarr", MANY[0, 0], levels=2)
    labels = (MANY[0, 0] > 400).astype(np.uint8)
    write_labels(path / "labels" / "liver", labels, read_volume(path))
    _, (levels, arguments, kind) = read(path)
    assert (kind, arguments["name"], arguments["scale"]) == ("labels", "liver", (3.0, 0.5, 0.5))
    assert np.array_equal(np.asarray(levels[0]), labels)
    assert np.array_equal(np.asarray(levels[1]), labels[:, ::2, ::2])
    ((_, _, kind),) = read(path / "labels" / "liver")  # by itself, too
    assert kind == "labels"


@pytest.mark.parametrize("names", [["gone"], ["../secret"], "liver", [3]])
def test_labels_that_cannot_be_read_do_not_keep_the_image_closed(tmp_path, names):
    path = make_image(tmp_path / "a.zarr", MANY[0, 0])
    zarr.create_group(path / "labels", attributes={"ome": {"version": "0.5", "labels": names}})
    with pytest.warns(UserWarning, match="left out"):
        layers = read(path)
    assert [kind for _, _, kind in layers] == ["image"]


def test_where_the_patient_lies_as_the_file_says_it(tmp_path):
    path = make_image(tmp_path / "a.zarr", MANY[0, 0], axes="zyx", scale=(3, 2, 1), offset=(7, 8, 9))
    along = ("superior-to-inferior", "anterior-to-posterior", "right-to-left")

    def orient(ome, words):
        for axis, word in zip(ome["multiscales"][0]["axes"], words, strict=True):
            axis["orientation"] = {"type": "anatomical", "value": word}

    change(path, lambda ome: orient(ome, along))
    ((_, arguments, _),) = read(path)
    record = record_of(arguments["metadata"])
    assert record.is_oriented
    assert np.array_equal(
        record.geometry.affine_ras, [[-1, 0, 0, -9], [0, -2, 0, -8], [0, 0, -3, -7], [0, 0, 0, 1]]
    )
    assert np.array_equal(arguments["affine"], [[-1, 0, 0, -7], [0, 1, 0, 8], [0, 0, 1, 9], [0, 0, 0, 1]])
    for words in (("dorsal-to-ventral", *along[1:]), (along[1], *along[1:]), (3, *along[1:])):
        change(path, lambda ome, words=words: orient(ome, words))
        ((_, arguments, _),) = read(path)
        assert not record_of(arguments["metadata"]).is_oriented
        assert arguments["translate"] == (7, 8, 9)


def test_labels_are_integers(tmp_path):
    path = make_image(tmp_path / "a.zarr", MANY[0, 0].astype(np.float32))
    change(path, lambda ome: ome.update({"image-label": {}}))
    with pytest.raises(FileError, match="wanted labels"):
        read(path)


def test_what_is_no_ome_zarr_is_left_to_others(tmp_path):
    (tmp_path / "folder").mkdir()
    zarr.create_array(tmp_path / "array.zarr", data=MANY)
    zarr.create_group(tmp_path / "table.zarr", attributes={"encoding-type": "anndata"})
    for name in ("folder", "array.zarr", "table.zarr", "none.zarr"):
        assert get_reader(str(tmp_path / name)) is None
    assert get_reader(str(tmp_path / "a.czi")) is None
