"""The commands on an OME-Zarr image: a channel by its number, embeddings ahead, labels into the image."""

import numpy as np
import zarr

from napari_medicosam.io.volumes import read_labels

SHAPE = (2, 6, 40, 50)
TINY = ("--model", "sam_test", "--device", "cpu")


def test_embed_and_segment_a_channel_into_the_image(medicosam, tmp_path):
    path = tmp_path / "scan.ome.zarr"
    axes = [
        {"name": "c", "type": "channel"},
        *({"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"),
    ]
    transforms = [{"type": "scale", "scale": [1, 3, 0.5, 0.5]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transforms}]}
    zarr.create_group(path, zarr_format=2, attributes={"multiscales": [image | {"version": "0.4"}]})
    data = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.uint16)
    zarr.create_array(path, name="0", data=data, chunks=(1, 2, 40, 50), zarr_format=2)
    channel, embeddings, labels = f"{path}#c=1", tmp_path / "embeddings", path / "labels" / "cell"
    medicosam("embed", channel, "--embeddings", embeddings, *TINY, "--z-range", "2,4")
    words = ("segment", channel, "-o", labels, *TINY, "--embeddings", embeddings, "--box", "3,8,13,32,37")
    medicosam(*words)
    found = read_labels(labels)
    assert found.array.shape == SHAPE[1:]
    assert np.flatnonzero(found.array.any(axis=(1, 2))).tolist() == [3]
    assert np.allclose(found.geometry.spacing_zyx, (0.003, 0.0005, 0.0005))
    medicosam(*words, "--overwrite")
    assert np.array_equal(read_labels(labels).array, found.array)
