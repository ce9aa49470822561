"""Only what is looked at is read: chunks counted at the store."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ome_zarr_helpers import make_image
from zarr.storage import WrapperStore

from napari_medicosam.cache.keys import EmbeddingKey
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.core import intensity
from napari_medicosam.core.geometry import SlicePlane, SliceStack
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.prompts import BoxPrompt, PromptSet
from napari_medicosam.core.results import SegmentRequest
from napari_medicosam.errors import InputError
from napari_medicosam.io import ome_zarr
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.volumes import read_volume
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.weights.loading import load_weights

SHAPE, CHUNKS = (16, 96, 128), (4, 48, 64)
DATA = (np.random.default_rng(0).gamma(2, 300, SHAPE) - 1000).astype(np.int16)
NUM_CHUNKS = 4 * 2 * 2


class Counting(WrapperStore):
    """Counts what is read of chunks; metadata do not count."""

    read: Counter

    async def get(self, key, prototype, byte_range=None):
        if "/c/" in key:
            type(self).read[key] += 1
        return await super().get(key, prototype, byte_range)


@pytest.fixture
def read(monkeypatch):
    """How often each chunk was read."""
    Counting.read = Counter()
    real = ome_zarr._open_store
    monkeypatch.setattr(ome_zarr, "_open_store", lambda address: Counting(real(address)))
    return Counting.read


@pytest.fixture
def scan(tmp_path):
    return make_image(tmp_path / "scan.ome.zarr", DATA, chunks=CHUNKS, levels=2)


def _segment(volume, index, window):
    model = load_weights("sam_test", "cpu")
    mapping = resolve_intensity(window, volume.array)
    store = MemoryEmbeddingStore(1 << 28).bind(EmbeddingKey(model.spec, model.weights_sha256, mapping))
    service = SegmentationService(model, mapping, store)
    prompts = PromptSet(SlicePlane(0, index), box=BoxPrompt(10, 10, 60, 60))
    return mapping, service.segment(SegmentRequest(SliceStack(volume.array, 0).pixels(index), prompts))


def test_segmenting_a_slice_reads_its_chunks_once_and_nothing_else(scan, read):
    volume = read_volume(scan)
    assert not read
    _, result = _segment(volume, 9, "-200,300")
    assert read == {f"0/c/2/{y}/{x}": 1 for y in range(2) for x in range(2)}
    in_memory = DATA[9]
    assert np.array_equal(volume.array[9], in_memory)
    _segment(volume, 10, "-200,300")  # in the same chunks
    assert sum(read.values()) == 4
    assert result.mask.shape == in_memory.shape


def test_along_another_axis_too(scan, read):
    volume = read_volume(scan)
    SliceStack(volume.array, 2).pixels(70)
    assert set(read) == {f"0/c/{z}/{y}/1" for z in range(4) for y in range(2)}


def test_an_intensity_is_measured_on_few_chunks_and_the_same_every_time(scan, read, monkeypatch):
    monkeypatch.setattr(intensity, "_MAX_BLOCKS", (3,))
    first, _ = _segment(read_volume(scan), 9, "auto")
    sampled = set(read) - {f"0/c/2/{y}/{x}" for y in range(2) for x in range(2)}
    assert 1 <= len(sampled) <= 3
    assert max(read.values()) == 2  # measured, then segmented
    # A viewer has dask arrays of the same chunks: what it encoded can be used again.
    (dask_array, _), *_ = [
        (levels[0], arguments) for levels, arguments, _ in get_reader(str(scan))(str(scan))
    ]
    assert (
        resolve_intensity("auto", dask_array) == first == resolve_intensity("auto", read_volume(scan).array)
    )


@pytest.mark.parametrize("word", ["auto", "percentile", "minmax", "identity"])
@pytest.mark.parametrize("data", [DATA, (DATA - DATA.min()).astype(np.uint16), DATA.astype(np.float32) / 7])
def test_of_an_image_with_few_chunks_all_is_measured(tmp_path, word, data):
    volume = read_volume(make_image(tmp_path / "a.zarr", data, chunks=CHUNKS))
    assert resolve_intensity(word, volume.array) == resolve_intensity(word, data)


def test_no_more_bytes_are_measured_than_are_worth_it(scan, read, monkeypatch):
    monkeypatch.setattr(intensity, "_MAX_BLOCK_BYTES", 2 * 2 * 4 * 48 * 64)
    monkeypatch.setattr(intensity, "_MAX_SAMPLED", 1000)
    resolve_intensity("percentile", read_volume(scan).array)
    assert len(read) == 2


def test_more_is_looked_at_where_the_first_chunks_are_all_empty(tmp_path, read, monkeypatch):
    data = np.zeros_like(DATA)
    data[3, 20, 30] = 500
    volume = read_volume(make_image(tmp_path / "a.zarr", data, chunks=CHUNKS))
    monkeypatch.setattr(intensity, "_MAX_BLOCKS", (1, 16))
    mapping = resolve_intensity("minmax", volume.array)
    assert (mapping.low, mapping.high) == (0, 500)


def test_an_empty_lazy_image_is_told_as_such(tmp_path):
    with pytest.raises(InputError, match="every value is 0"):
        resolve_intensity("auto", read_volume(make_image(tmp_path / "a.zarr", np.zeros_like(DATA))).array)


@pytest.mark.parametrize(
    ("counts", "budget", "wanted"),
    [((1000, 1, 1), 64, (64, 1, 1)), ((100, 100, 100), 64, (4, 4, 4)), ((2, 3, 2), 64, (2, 3, 2)),
     ((9, 9, 9), 1, (1, 1, 1)), ((40, 10, 10), 64, (10, 3, 2))],
)  # fmt: skip
def test_chunks_to_look_at_are_spread_evenly(counts, budget, wanted):
    taken = intensity._spread(counts, budget)
    assert np.prod(taken) <= budget
    assert taken == wanted


def test_a_viewer_is_given_both_levels_and_opening_reads_the_coarse_one_alone(scan, read):
    ((levels, _, kind),) = get_reader(str(scan))(str(scan))
    assert kind == "image"
    assert [level.shape for level in levels] == [SHAPE, (16, 48, 64)]
    assert {key[0] for key in read} == {"1"}
    read.clear()
    assert np.array_equal(np.asarray(levels[0][9]), DATA[9])
    assert read == {f"0/c/2/{y}/{x}": 1 for y in range(2) for x in range(2)}
