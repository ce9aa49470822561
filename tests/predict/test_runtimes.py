"""Which runtime is taken, how exported graphs are kept, and who shares embeddings."""

import importlib.util
import logging
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from predict_helpers import IDENTITY, DictStore

from napari_medicosam.cache.keys import EmbeddingKey, slice_digest
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError
from napari_medicosam.models.encoder_runtimes import EagerRuntime, HalfRuntime
from napari_medicosam.predict import runtimes
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.runtimes import RUNTIME_VARIABLE, RUNTIMES, graphs_folder, open_runtime
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.weights.loading import load_weights

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the extra openvino is not installed"
)


@pytest.fixture(scope="module")
def model():
    return load_weights("sam_test", "cpu")


@pytest.fixture
def image():
    torch.manual_seed(0)
    return torch.randn(1, 3, 64, 64)


@pytest.fixture
def openvino_is_measured(monkeypatch):
    monkeypatch.setattr(runtimes, "OPENVINO_ENCODERS", ("vit",))


def export_broken(*_):
    raise RuntimeError("/home/patient/scan.nii")


def test_an_unknown_name_is_an_error(model, monkeypatch):
    with pytest.raises(InputError, match="'fast': wanted one of auto, torch"):
        open_runtime(model, "fast")
    monkeypatch.setenv(RUNTIME_VARIABLE, "quick")
    with pytest.raises(InputError, match="'quick'"):
        open_runtime(model)


def test_the_argument_comes_before_the_variable(model, monkeypatch):
    monkeypatch.setenv(RUNTIME_VARIABLE, "eager")
    assert open_runtime(model).name == "eager"
    assert open_runtime(model, "torch").name == "torch"


def test_without_openvino_torch_is_taken(model, monkeypatch):
    monkeypatch.setattr(runtimes, "has_openvino", lambda: False)
    assert open_runtime(model).name == "torch"
    with pytest.raises(InputError, match=r"napari-medicosam\[openvino\]"):
        open_runtime(model, "openvino")


def test_torch_is_taken_where_openvino_was_not_measured(model, monkeypatch):
    monkeypatch.setattr(runtimes, "has_openvino", lambda: True)
    monkeypatch.setattr(runtimes, "_openvino", export_broken)
    assert runtimes.OPENVINO_ENCODERS == ("tiny_vit",)
    assert open_runtime(model).name == "torch"


def test_torch_is_taken_where_openvino_fails(model, image, openvino_is_measured, monkeypatch, caplog):
    monkeypatch.setattr(runtimes, "has_openvino", lambda: True)
    monkeypatch.setattr(runtimes, "_openvino", export_broken)
    with caplog.at_level(logging.WARNING):
        runtime = open_runtime(model)
    assert runtime.name == "torch"
    assert "openvino failed (RuntimeError)" in caplog.text
    assert "patient" not in caplog.text
    torch.testing.assert_close(runtime.encode(image), open_runtime(model, "eager").encode(image))
    with pytest.raises(InputError, match="cannot run sam_test"):  # asked for by name, it is no other
        open_runtime(model, "openvino")


@needs_openvino
def test_openvino_encodes_as_torch_does(model, image, openvino_is_measured):
    runtime = open_runtime(model)
    assert runtime.name == "openvino"
    assert runtime.precision == "float32"
    two = torch.cat([image, image.flip(3)])
    expected = open_runtime(model, "eager").encode(two)
    torch.testing.assert_close(runtime.encode(two), expected, atol=1e-4, rtol=1e-4)
    assert sys.modules["openvino_telemetry"] is None


@needs_openvino
def test_a_graph_is_exported_once_and_again_when_it_is_damaged(model, image, monkeypatch):
    expected = open_runtime(model, "openvino").encode(image)
    (folder,) = graphs_folder().iterdir()
    if os.name == "posix":
        assert graphs_folder().stat().st_mode & 0o077 == 0
        assert folder.stat().st_mode & 0o077 == 0
    with monkeypatch.context() as patch:
        patch.setattr(runtimes, "export_graph", export_broken)
        assert torch.equal(open_runtime(model, "openvino").encode(image), expected)
    weights = folder / "encoder.bin"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0x55
    weights.write_bytes(content)
    assert torch.equal(open_runtime(model, "openvino").encode(image), expected)
    assert weights.read_bytes() != bytes(content)
    assert list(graphs_folder().iterdir()) == [folder]


@needs_openvino
def test_a_cache_that_cannot_be_written_costs_no_more_than_speed(
    model, image, openvino_is_measured, monkeypatch, tmp_path
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAPARI_MEDICOSAM_CACHE", str(tmp_path / "file" / "cache"))
    runtime = open_runtime(model)
    assert runtime.name == "torch"
    assert runtime.encode(image).isfinite().all()


def no_export(*_):
    raise AssertionError("this process was to export nothing")


def half_a_graph(sam, folder, watch):
    (folder / "encoder.bin").write_bytes(b"half")
    watch()
    raise subprocess.CalledProcessError(-9, ["/home/patient/python"])


@pytest.mark.parametrize(
    ("export", "kind"),
    [(half_a_graph, "CalledProcessError"), (lambda *_: None, "FileError")],
    ids=["dies", "idle"],
)
def test_torch_is_taken_where_the_other_process_makes_no_graph(
    model, openvino_is_measured, monkeypatch, caplog, export, kind
):
    monkeypatch.setattr(runtimes, "has_openvino", lambda: True)
    monkeypatch.setattr(runtimes, "export_graph", no_export)
    monkeypatch.setattr(runtimes, "export_in_process", export)
    with caplog.at_level(logging.WARNING):
        runtime = open_runtime(model, watch=lambda: None)
    assert runtime.name == "torch"
    assert f"openvino failed ({kind})" in caplog.text
    assert "patient" not in caplog.text
    assert not list(graphs_folder().iterdir()), "nothing is left of half a graph"


@pytest.mark.parametrize("name", ["auto", "openvino"])
def test_an_export_that_was_called_off_has_not_failed(model, openvino_is_measured, monkeypatch, caplog, name):
    def watch():
        raise KeyError("nobody wants it")

    monkeypatch.setattr(runtimes, "has_openvino", lambda: True)
    monkeypatch.setattr(runtimes, "export_in_process", half_a_graph)
    with pytest.raises(KeyError, match="nobody wants it"):
        open_runtime(model, name, watch=watch)
    assert not caplog.text
    assert not list(graphs_folder().iterdir())


@needs_openvino
def test_a_graph_that_is_there_needs_no_other_process(model, image, monkeypatch):
    expected = open_runtime(model, "openvino").encode(image)
    monkeypatch.setattr(runtimes, "export_in_process", no_export)
    assert torch.equal(open_runtime(model, "openvino", watch=lambda: None).encode(image), expected)


def test_old_embeddings_are_those_of_float32_and_others_have_keys_of_their_own(model):
    key = EmbeddingKey(model.spec, "ab" * 32, IDENTITY)
    half = EmbeddingKey(model.spec, "ab" * 32, IDENTITY, precision=HalfRuntime.precision)
    assert "precision" not in key.as_record(0)
    assert EmbeddingKey(model.spec, "ab" * 32, IDENTITY, precision=EagerRuntime.precision) == key
    assert half != key
    assert half.group_name(0) != key.group_name(0)


class Counting(EagerRuntime):
    """What was encoded together."""

    def __init__(self, encoder):
        super().__init__(encoder)
        self.batches = []

    def encode(self, image_BCHW):
        self.batches.append(len(image_BCHW))
        return super().encode(image_BCHW)


def test_slices_are_encoded_together_but_those_that_are_there(model):
    runtime, store = Counting(model.sam.image_encoder), DictStore()
    service = SegmentationService(model, IDENTITY, store, runtime=runtime)
    rng = np.random.default_rng(0)
    sizes = [(40, 64), (64, 50), (30, 30), (64, 64)]
    slices = [rng.integers(0, 255, size).astype(np.uint8) for size in sizes]
    planes = [SlicePlane(0, n) for n in range(4)]
    alone = service.embed(planes[1], slices[1]).features
    service.embed_many(planes, slices)
    assert runtime.batches == [1, 3]
    assert np.array_equal(store.get(planes[1], slice_digest(slices[1])), alone)
    for plane, pixels in zip(planes, slices, strict=True):
        expected = SegmentationService(model, IDENTITY, DictStore()).embed(plane, pixels).features
        np.testing.assert_allclose(store.get(plane, slice_digest(pixels)), expected, atol=1e-4)
    service.embed_many(planes, slices)
    assert runtime.batches == [1, 3]


def test_every_name_can_be_asked_for(model, image):
    expected = open_runtime(model, "eager").encode(image)
    for name in RUNTIMES:
        if name == "openvino" and importlib.util.find_spec("openvino") is None:
            continue
        if name == "openvino-int8":  # there is none for this model: see below
            continue
        runtime = open_runtime(model, name)
        assert name in ("auto", runtime.name)
        assert (runtime.encode(image) - expected).abs().max() < 0.05


@pytest.fixture(scope="module")
def lite():
    return load_weights("medicosam_lite", "cpu")


@needs_openvino
def test_int8_is_near_float32_and_has_a_key_of_its_own(lite):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :80]
    image = (200 * ((y - 50) ** 2 + (x - 40) ** 2 < 500) + rng.integers(0, 40, (96, 80))).astype(np.uint8)
    runtime = open_runtime(lite, "openvino-int8")
    assert (runtime.name, runtime.precision) == ("openvino-int8", "int8")
    expected = SliceEncoder(lite, IDENTITY).encode(image)
    got = SliceEncoder(lite, IDENTITY, runtime).encode(image)
    error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 0.3, "it is int8, and the same encoder"
    keys = [EmbeddingKey(lite.spec, lite.weights_sha256, IDENTITY, precision=p) for p in ("float32", "int8")]
    assert keys[0].group_name(0) != keys[1].group_name(0)


@needs_openvino
def test_int8_is_refused_for_other_weights(model, lite):
    for other in (model, replace(lite, weights_sha256="ab" * 32)):
        with pytest.raises(InputError, match="no int8 encoder made from its weights"):
            open_runtime(other, "openvino-int8")


def test_int8_is_never_taken_unasked(lite, monkeypatch):
    monkeypatch.setattr(runtimes, "has_openvino", lambda: True)
    monkeypatch.setattr(runtimes, "_openvino_int8", export_broken)
    monkeypatch.setattr(runtimes, "_openvino", lambda model, watch: EagerRuntime(model.sam.image_encoder))
    assert open_runtime(lite).precision == "float32"
