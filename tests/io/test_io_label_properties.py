"""Labels of any size and any ids come back from every format that takes them, with their spacing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.io.records import FileHeader
from napari_medicosam.io.volumes import Volume, read_labels, read_volume, write_labels

some = settings(max_examples=20, deadline=None, derandomize=True)
ids = {np.uint8: 255, np.uint16: 65535, np.uint32: 2**32 - 1}


@st.composite
def label_maps(draw, dtypes, num_slices):
    dtype = draw(st.sampled_from(dtypes))
    shape = (draw(num_slices), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    return draw(hnp.arrays(dtype, shape, elements=st.integers(0, ids[dtype])))


@some
@given(
    label_maps([np.uint8, np.uint16, np.uint32], st.integers(2, 4)),
    st.tuples(*[st.floats(0.05, 9)] * 3),
    st.sampled_from([".tif", ".nii.gz", ".nrrd", ".mha"]),
)
def test_volumes(labels, spacing, suffix):
    header = FileHeader(unit="mm")
    like = Volume(
        np.zeros(labels.shape, np.int16), Geometry.from_spacing(labels.shape, spacing), header=header
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"labels{suffix}")
        write_labels(path, labels, like)
        found = read_labels(path)
    assert np.array_equal(found.array, labels)
    assert np.allclose(found.geometry.spacing_zyx, spacing, rtol=1e-5)
    assert found.header.unit == "mm"


@some
@given(label_maps([np.uint8, np.uint16], st.just(1)), st.sampled_from([".png", ".tif"]))
def test_pictures(labels, suffix):
    like = Volume(np.zeros(labels.shape, np.uint8), Geometry.from_spacing(labels.shape), is_2d=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"labels{suffix}")
        write_labels(path, labels, like)
        found = read_labels(path)
        assert np.array_equal(read_volume(path).array, labels)
    assert np.array_equal(found.array, labels)
    assert found.is_2d
    assert found.header.unit is None
