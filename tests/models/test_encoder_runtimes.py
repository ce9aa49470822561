"""Runtimes encode as the encoder itself does; one that fails gives way to another."""

import logging

import pytest
import torch

from napari_medicosam.models import fast_ops
from napari_medicosam.models.build import build_model
from napari_medicosam.models.encoder_runtimes import EagerRuntime, FallbackRuntime, HalfRuntime, TorchRuntime
from napari_medicosam.models.fast_tiny_vit import FastTinyViT
from napari_medicosam.models.fast_vit import FastViT
from napari_medicosam.models.frames import input_size


def encoder_of(spec):
    """With norms, biases and positions that are not what they are at first."""
    sam = build_model(spec, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, values in sam.image_encoder.state_dict().items():
            if values.is_floating_point():
                values.add_(torch.rand_like(values) * (0.5 if name.endswith("running_var") else 0.05))
    return sam


@pytest.fixture(params=["sam_test", "sam_test_adapters", "vit_t_lite", "vit_t"])
def case(request):
    """An encoder and two images; TinyViT at a size that is no multiple of its windows."""
    sam = encoder_of(request.param)
    if not request.param.startswith("vit_t"):
        yield sam.image_encoder, torch.randn(2, 3, 64, 64)
        return
    size = 32 if request.param == "vit_t_lite" else 128
    with input_size(sam, size):
        yield sam.image_encoder, torch.randn(2, 3, size, size)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_the_fast_encoder_is_the_encoder(case, fused, monkeypatch):
    encoder, images = case
    if not fused:
        monkeypatch.setattr(fast_ops, "_FUSED", None)
    monkeypatch.setattr(fast_ops, "BAND_BYTES", 100_000)  # several bands, the last of them smaller
    runtime = TorchRuntime(encoder)
    assert isinstance(runtime._fast, FastTinyViT | FastViT)
    expected = EagerRuntime(encoder).encode(images)
    found = runtime.encode(images)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_image_and_the_weights_stay_as_they_are(case):
    encoder, images = case
    before = {name: values.clone() for name, values in encoder.state_dict().items()}
    image_before = images.clone()
    runtime = TorchRuntime(encoder)
    first = runtime.encode(images)
    assert torch.equal(runtime.encode(images), first)
    assert torch.equal(images, image_before)
    assert all(torch.equal(values, before[name]) for name, values in encoder.state_dict().items())


def test_an_encoder_of_another_make_runs_as_it_is():
    encoder = torch.nn.Conv2d(3, 8, 16, 16)
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(TorchRuntime(encoder).encode(image), encoder(image))


def test_half_precision_is_near_and_says_so():
    encoder = encoder_of("sam_test").image_encoder
    images = torch.randn(2, 3, 64, 64)
    expected, found = EagerRuntime(encoder).encode(images), HalfRuntime(encoder).encode(images)
    assert found.dtype == torch.float32
    assert 1e-6 < (found - expected).abs().max() < 0.05
    assert HalfRuntime.precision != EagerRuntime.precision


class Broken(EagerRuntime):
    name = "broken"

    def __init__(self, encoder, good_for):
        super().__init__(encoder)
        self.good_for = good_for

    def encode(self, image_BCHW):
        self.good_for -= 1
        if self.good_for < 0:
            raise RuntimeError("/home/patient/scan.nii")
        return super().encode(image_BCHW)


def test_a_runtime_that_fails_is_replaced_for_good(caplog):
    encoder = encoder_of("sam_test").image_encoder
    image = torch.randn(1, 3, 64, 64)
    expected = EagerRuntime(encoder).encode(image)
    runtime = FallbackRuntime(Broken(encoder, good_for=1), lambda: EagerRuntime(encoder))
    names = []
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch.equal(runtime.encode(image), expected)
            names.append(runtime.name)
    assert names == ["broken", "eager", "eager"]
    assert len(caplog.records) == 1
    assert "broken failed (RuntimeError)" in caplog.text
    assert "patient" not in caplog.text


def test_an_image_that_no_runtime_can_take_is_an_error():
    runtime = FallbackRuntime(
        Broken(encoder_of("sam_test").image_encoder, good_for=0),
        lambda: Broken(encoder_of("sam_test").image_encoder, good_for=0),
    )
    with pytest.raises(RuntimeError):
        runtime.encode(torch.randn(1, 3, 64, 64))
