import numpy as np
import pytest

from napari_medicosam.core.intensity import WINDOW_PRESETS, IntensityMapping, resolve_intensity
from napari_medicosam.errors import InputError

RNG = np.random.default_rng(0)
CT = np.where(np.arange(20) < 8, -1000, RNG.normal(40, 80, (10, 20, 20))).astype(np.int16)
# mean 0 and deviation 1, times 1000, as some collections store MRI
NORMALISED_MR = (RNG.normal(0, 300, (4, 20, 20)) + 1500 * (RNG.random((4, 20, 20)) > 0.5)).astype(np.int16)


def test_presets_are_width_and_level():
    mapping = resolve_intensity("ct-soft-tissue", np.zeros((2, 2, 2)))
    assert (mapping.low, mapping.high) == (-160, 240)
    assert mapping.to_uint8(np.array([[-1000, -160, 40, 240, 3000]])).tolist() == [[0, 0, 128, 255, 255]]
    assert WINDOW_PRESETS["ct-lung"] == (1500, -600)


@pytest.mark.parametrize("name", WINDOW_PRESETS)
def test_presets_may_be_named_without_ct(name):
    assert resolve_intensity(name.removeprefix("ct-"), np.zeros((1, 1, 1))) == resolve_intensity(
        name, np.zeros((1, 1, 1))
    )


def test_one_mapping_for_all_slices():
    volume = np.stack([np.full((4, 4), value, np.int16) for value in (0, 50, 100)])
    mapping = resolve_intensity("minmax", volume)
    assert [int(mapping.to_uint8(plane)[0, 0]) for plane in volume] == [0, 128, 255]


def test_percentile_ignores_outliers_but_not_structure():
    volume = RNG.normal(100, 10, (20, 40, 40))
    volume[0, 0, 0] = 1e6
    mapping = resolve_intensity("percentile", volume)
    assert 60 < mapping.low < 85
    assert 115 < mapping.high < 140


@pytest.mark.parametrize(
    ("volume", "is_rgb", "kind"),
    [
        (CT, False, "window"),
        (RNG.integers(0, 1500, (4, 20, 20)), False, "percentile"),
        (NORMALISED_MR, False, "percentile"),
        (RNG.integers(0, 255, (1, 20, 20, 3)).astype(np.uint8), True, "identity"),
        (RNG.integers(0, 4000, (1, 20, 20, 3)).astype(np.uint16), True, "minmax"),
    ],
)
def test_auto(volume, is_rgb, kind):
    assert resolve_intensity("auto", volume, is_rgb=is_rgb).kind == kind


def test_identity_leaves_8_bit_alone():
    image = RNG.integers(0, 255, (5, 5, 3)).astype(np.uint8)
    assert resolve_intensity("identity", image[None]).to_uint8(image) is image


def test_not_a_number_and_infinity_do_not_spread():
    volume = np.array([[[0.0, 1.0, np.nan, np.inf, -np.inf]]])
    mapping = resolve_intensity("minmax", volume)
    assert mapping.to_uint8(volume[0]).tolist() == [[0, 255, 0, 255, 0]]


@pytest.mark.parametrize("volume", [np.zeros((3, 3, 3)), np.full((2, 2, 2), np.nan)])
@pytest.mark.parametrize("wanted", ["percentile", "minmax", "auto"])
def test_volumes_without_contrast(volume, wanted):
    with pytest.raises(InputError, match=r"empty|no finite value"):
        resolve_intensity(wanted, volume)


@pytest.mark.parametrize("wanted", ["lungs", "1;2", "1,2,3", "200,100", "5,5", "nan,3"])
def test_unknown_windows(wanted):
    with pytest.raises(InputError, match=r"window"):
        resolve_intensity(wanted, np.arange(8.0).reshape(2, 2, 2))


def test_mask_like_images_keep_their_contrast():
    volume = np.zeros((10, 50, 50), np.uint8)
    volume[5, 20:23, 20:23] = 1
    assert resolve_intensity("percentile", volume).to_uint8(volume[5]).max() == 255


def test_the_record_says_how_the_numbers_were_found():
    record = resolve_intensity("ct-liver", np.zeros((1, 1, 1))).as_record()
    assert record == {"kind": "window", "low": -45.0, "high": 105.0, "name": "ct-liver"}
    assert str(IntensityMapping("window", -45, 105, "ct-liver")) == "ct-liver [-45, 105]"
