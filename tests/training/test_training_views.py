import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_medicosam.core.object_masks import find_objects
from napari_medicosam.errors import InputError
from napari_medicosam.io.samples import AnnotatedImage
from napari_medicosam.training.config import AugmentationConfig
from napari_medicosam.training.views import crop_around, make_view

SIDE = 64
GEOMETRY = {
    "none": {},
    "flips": {"flip_probability": 0.5},
    "quarter turns": {"quarter_turn_probability": 1.0},
    "affine": {"affine_probability": 1.0, "rotation_degrees": 40.0},
    "crops": {"crop_probability": 1.0},
    "all": {
        "flip_probability": 0.5, "quarter_turn_probability": 0.5, "affine_probability": 1.0, "crop_probability": 0.5,
    },
}  # fmt: skip
INTENSITIES = {"intensity_probability": 1.0, "inversion_probability": 0.5, "blur_noise_probability": 1.0}


def bright_shape(size_yx=(120, 90)):
    """A white, lopsided object on black."""
    labels = np.zeros(size_yx, np.uint8)
    labels[30:70, 20:40] = 1
    labels[55:70, 20:65] = 1
    return AnnotatedImage(labels * 255, find_objects(labels))


def view_of(annotated, settings=None, seed=0, side=SIDE, min_pixels=20):
    augmentation = AugmentationConfig(**(settings or {}))
    return make_view(annotated, side, augmentation, np.random.default_rng(seed), min_pixels)


@pytest.mark.parametrize("settings", GEOMETRY.values(), ids=GEOMETRY)
def test_masks_move_with_the_image(settings):
    shapes = set()
    for seed in range(8):
        view = view_of(bright_shape(), settings, seed)
        assert view.image.shape[1:] == view.masks.shape[1:]
        assert max(view.masks.shape[1:]) == SIDE
        assert len(view.masks) == 1
        mask, bright = view.masks[0], view.image[0].numpy() > 127
        wide, narrow = ndimage.binary_dilation(mask, iterations=2), ndimage.binary_erosion(mask, iterations=2)
        assert narrow.any()
        assert not (bright & ~wide).any()
        assert not (narrow & ~bright).any()
        shapes.add(mask.tobytes())
    assert (len(shapes) > 1) == bool(settings)  # something happened


@pytest.mark.parametrize("settings", [INTENSITIES, GEOMETRY["all"] | INTENSITIES], ids=["intensities", "all"])
def test_a_generator_state_gives_one_view(settings):
    annotated = bright_shape()
    first, again, other = (view_of(annotated, settings, seed) for seed in (1, 1, 2))
    assert torch.equal(first.image, again.image)
    assert np.array_equal(first.masks, again.masks)
    assert not torch.equal(first.image, other.image)


def test_torchs_own_generator_goes_on_as_if_nothing_had_been():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    view_of(bright_shape(), GEOMETRY["all"] | INTENSITIES)
    assert torch.equal(torch.rand(1), expected)


def test_intensities_change_the_image_alone_and_grey_stays_grey():
    annotated = bright_shape()
    plain = view_of(annotated)
    for seed in range(6):
        view = view_of(annotated, INTENSITIES, seed)
        assert np.array_equal(view.masks, plain.masks)
        assert not torch.equal(view.image, plain.image)
        assert view.image.dtype == torch.uint8
        assert torch.equal(view.image[0], view.image[1])
        assert torch.equal(view.image[0], view.image[2])


def test_a_tint_gives_each_channel_a_gamma_of_its_own():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    annotated = AnnotatedImage(ramp, bright_shape((256, 256)).objects)
    plain = view_of(annotated, side=256)
    tints = set()
    for seed in range(6):
        view = view_of(annotated, {"tint_probability": 1.0}, seed, side=256)
        assert np.array_equal(view.masks, plain.masks)
        channels = view.image[:, 0].numpy().astype(int)
        assert (np.diff(channels, axis=1) >= 0).all()  # no channel is turned around
        assert (channels[:, [0, -1]] == [0, 255]).all()
        assert len({tuple(one) for one in channels}) == 3
        tints.add(channels.tobytes())
    assert len(tints) == 6


@pytest.mark.parametrize(
    ("size_yx", "expected"), [((120, 90), (64, 48)), ((30, 60), (32, 64)), ((64, 64), (64, 64))]
)
def test_the_long_side_is_scaled_and_nothing_is_padded(size_yx, expected):
    labels = np.zeros(size_yx, np.uint8)
    labels[5:25, 5:25] = 1
    view = view_of(AnnotatedImage(np.full(size_yx, 200, np.uint8), find_objects(labels)))
    assert view.image.shape == (3, *expected)
    assert view.masks.shape == (1, *expected)
    assert (view.image == 200).all()


def test_colours_keep_their_order():
    image = np.zeros((64, 64, 3), np.uint8)
    image[...] = (10, 20, 30)
    labels = np.ones((64, 64), np.uint8)
    view = view_of(AnnotatedImage(image, find_objects(labels)))
    assert [int(channel[0, 0]) for channel in view.image] == [10, 20, 30]


def test_masks_are_not_shifted_by_scaling():
    y, x = np.mgrid[:256, :256]
    disc = ((y - 100) ** 2 + (x - 150) ** 2 < 40**2).astype(np.uint8)
    view = view_of(AnnotatedImage(disc * 255, find_objects(disc)))
    of_mask = ndimage.center_of_mass(view.masks[0])
    of_image = ndimage.center_of_mass(view.image[0].numpy().astype(float))
    np.testing.assert_allclose(of_mask, of_image, atol=0.2)


def test_a_crop_shows_its_object_wholly():
    annotated = bright_shape()
    box = annotated.objects[0].region
    regions = [
        crop_around(annotated.objects[0], (120, 90), (1.5, 4.0), np.random.default_rng(n)) for n in range(50)
    ]
    for region in regions:
        assert 0 <= region.y0 <= box.y0
        assert box.y1 <= region.y1 <= 120
        assert 0 <= region.x0 <= box.x0
        assert box.x1 <= region.x1 <= 90
    assert len({(region.y1 - region.y0, region.x0) for region in regions}) > 20


def many_squares():
    labels = np.zeros((400, 400), np.uint8)
    for row in range(20):
        for column in range(20):
            labels[row * 20 : row * 20 + 8, column * 20 : column * 20 + 8] = 1
    return AnnotatedImage(labels * 255, find_objects(labels))


def test_a_crop_of_an_image_with_many_objects_shows_those_that_are_there():
    squares = many_squares()
    assert len(squares.objects) == 400
    for seed in range(5):
        view = view_of(squares, {"crop_probability": 1.0}, seed)
        assert len(view.masks) >= 1
        assert (view.image[0].numpy()[view.masks.any(axis=0)] > 0).mean() > 0.9
    assert len(view_of(squares, side=400).masks) == 64


def test_objects_that_became_too_small_are_left_out():
    labels = np.zeros((256, 256), np.uint8)
    labels[10:90, 10:90], labels[200:208, 200:208] = 1, 2
    annotated = AnnotatedImage(labels, find_objects(labels))
    assert len(view_of(annotated, min_pixels=1).masks) == 2
    assert len(view_of(annotated, min_pixels=20).masks) == 1
    assert view_of(annotated, min_pixels=500).masks.shape == (0, 64, 64)


def test_of_an_object_a_crop_must_show_enough():
    labels = np.zeros((200, 200), np.uint8)
    labels[90:110, 90:110], labels[112:200, 90:110] = 1, 2
    annotated = AnnotatedImage(labels, find_objects(labels))
    settings = {"crop_probability": 1.0, "crop_context": (1.0, 1.2)}
    views = [view_of(annotated, settings, seed) for seed in range(20)]
    around_first = [view for view in views if view.masks.sum(axis=(1, 2)).max() > 2500]  # it fills the view
    assert 0 < len(around_first) < 20
    assert {len(view.masks) for view in around_first} == {
        1
    }  # at most 2 of 88 rows of the second one are there


def test_an_image_without_objects_is_refused():
    with pytest.raises(InputError, match="without objects"):
        view_of(AnnotatedImage(np.zeros((64, 64), np.uint8), ()))
