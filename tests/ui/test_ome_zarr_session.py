"""A lazy multiscale layer is annotated at its finest level, and saved beside the image it came from."""

import dask.array
import numpy as np
import zarr

from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.volumes import read_labels
from napari_medicosam.ui.layers import OBJECT_NAME

DATA = np.random.default_rng(0).integers(0, 3000, (6, 40, 50)).astype(np.int16)


def _write(path):
    datasets = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [3.0, 2.0**n, 2.0**n]}]}
        for n in range(2)
    ]
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    zarr.create_group(
        path, attributes={"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}
    )
    for n in range(2):
        zarr.create_array(
            path, name=str(n), data=np.ascontiguousarray(DATA[:, :: 2**n, :: 2**n]), chunks=(2, 40, 50)
        )
    return path


def test_level_0_is_segmented_measured_and_saved(make_session, tmp_path):
    path = _write(tmp_path / "scan.ome.zarr")
    ((levels, arguments, _),) = get_reader(str(path))(str(path))
    del arguments["name"], arguments["rgb"]
    viewer, session = make_session(levels, real=True, multiscale=True, **arguments)
    assert session.num_slices == 6
    session.add_box(3, (10, 10, 30, 40))
    mask = viewer.layers[OBJECT_NAME].data
    assert mask.shape == DATA.shape
    assert mask[3].any()
    assert session.window_range is not None
    session.save_measurements(tmp_path / "sizes.csv")
    assert (tmp_path / "sizes.csv").exists()
    session.save_labels(path / "labels" / "liver")
    saved = read_labels(path / "labels" / "liver")
    np.testing.assert_array_equal(saved.array, mask)
    assert saved.geometry.spacing_zyx == (3.0, 1.0, 1.0)
    assert all(isinstance(level, dask.array.Array) for level in viewer.layers["scan"].data)
