import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from training_helpers import samples

from napari_medicosam.errors import TrainingError
from napari_medicosam.training.batches import BalancedDraws, InputSides, Places, ViewDataset
from napari_medicosam.training.config import AugmentationConfig, DataConfig

SIZES = {"big": 30, "middle": 9, "small": 4}
EVERYTHING = AugmentationConfig(
    crop_probability=0.5, flip_probability=0.5, affine_probability=0.5, intensity_probability=0.5
)


def three_datasets():
    return [sample for name, size in SIZES.items() for sample in samples(size, name)]


def draws(balance=0.5, seed=0, variants=None):
    return BalancedDraws(three_datasets(), balance, seed, variants)


def test_the_seed_alone_decides():
    first, same, other = ([one[n] for n in range(50)] for one in (draws(), draws(), draws(seed=1)))
    assert first == same
    assert [draw.sample for draw in first] != [draw.sample for draw in other]
    assert [draw.place for draw in first] == list(range(50))


def test_no_image_comes_twice_before_all_of_its_data_set_came_once():
    data, sequence = three_datasets(), draws()
    seen = {name: [] for name in SIZES}
    for place in range(9000):  # beyond two blocks of choices
        draw = sequence[place]
        seen[data[draw.sample].dataset].append((draw.sample, draw.variant))
    for name, size in SIZES.items():
        for around in range(len(seen[name]) // size):
            images = seen[name][around * size : (around + 1) * size]
            assert len({sample for sample, _ in images}) == size
            assert {variant for _, variant in images} == {around}  # each time another version
        assert [s for s, _ in seen[name][:size]] != [s for s, _ in seen[name][size : 2 * size]]


def test_any_place_can_be_asked_for_first():
    in_order = draws()
    expected = {place: in_order[place] for place in range(8200)}
    for place in (8199, 4096, 4095, 0):
        assert draws()[place] == expected[place]
    backwards = draws()
    assert all(backwards[place] == expected[place] for place in range(8199, -1, -117))


def test_versions_of_an_image_come_around():
    sequence = draws(balance=1.0, variants=3)
    versions = [draw.variant for draw in (sequence[n] for n in range(300)) if draw.sample == 42]
    assert versions[:7] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_data_sets_get_their_shares(balance):
    data, sequence = three_datasets(), draws(balance)
    names = [data[sequence[n].sample].dataset for n in range(4000)]
    weights = np.array(list(SIZES.values())) ** (1 - balance)
    shares = [names.count(name) / len(names) for name in SIZES]
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.03)


@pytest.mark.parametrize("modality_balance", [0.0, 1.0])
def test_modalities_get_their_shares_before_their_data_sets(modality_balance):
    data = [*samples(30, "ct_big"), *samples(10, "ct_small"), *samples(8, "mri")]
    for sample in data:
        sample.modality = "CT" if sample.dataset.startswith("ct") else "MRI"
    sequence = BalancedDraws(data, 1.0, 0, None, modality_balance)
    names = [data[sequence[n].sample].dataset for n in range(4000)]
    of_ct = 0.5 if modality_balance else 40 / 48
    shares = [names.count(name) / len(names) for name in ("ct_big", "ct_small", "mri")]
    np.testing.assert_allclose(shares, [of_ct / 2, of_ct / 2, 1 - of_ct], atol=0.03)


def test_nothing_to_draw_from_is_an_error():
    with pytest.raises(TrainingError, match="no usable image"):
        BalancedDraws([], 0.0, 0, None)


def test_processes_get_disjoint_shares_of_the_same_steps():
    whole = list(islice(iter(Places(3, 6)), 4))
    shares = [list(islice(iter(Places(3, 6, rank, 3)), 4)) for rank in range(3)]
    assert whole[0] == [18, 19, 20, 21, 22, 23]
    assert [[place for share in shares for place in share[step]] for step in range(4)] == whole
    assert next(iter(Places(5, 6))) == whole[2]  # a run that goes on
    with pytest.raises(TrainingError, match="batch_size 5 cannot be divided among 2"):
        Places(0, 5, 0, 2)


def test_sides_follow_the_step():
    sides = InputSides(256, 4, small=128, small_steps=2)
    assert [sides.at_step(step) for step in range(4)] == [128, 128, 256, 256]
    assert [sides.at_place(place) for place in (0, 7, 8, 100)] == [128, 128, 256, 256]
    assert InputSides(256, 4).at_step(0) == 256


def dataset(data, augmentation=EVERYTHING, variants=None, seed=0):
    config = DataConfig(augmentation=augmentation)
    return ViewDataset(data, BalancedDraws(data, 0.0, seed, variants), config, InputSides(64, 2), seed)


def equal(one, two):
    return (
        one[0] == two[0]
        and torch.equal(one[1].image, two[1].image)
        and np.array_equal(one[1].masks, two[1].masks)
    )


def test_views_depend_on_seed_and_place_alone():
    data = samples(4)
    first, second = dataset(data), dataset(data)
    items = [first[place] for place in range(8)]
    assert all(equal(second[place], items[place]) for place in (7, 0, 3, 3))
    assert not all(equal(dataset(data, seed=1)[place], items[place]) for place in range(8))


def test_a_copy_for_a_worker_process_gives_the_same():
    original = dataset(samples(4))
    expected = [original[place] for place in range(5)]
    copy = pickle.loads(pickle.dumps(original))
    assert all(equal(copy[place], expected[place]) for place in range(5))


def test_a_version_is_the_same_whenever_it_comes():
    views = dataset(samples(3), variants=2)
    by_version = {}
    for place in range(18):
        draw, view = views[place]
        by_version.setdefault((draw.sample, draw.variant), []).append(view)
    assert len(by_version) == 6
    for same in by_version.values():
        assert len(same) == 3
        assert all(torch.equal(view.image, same[0].image) for view in same)


def test_an_image_is_decoded_once():
    data = samples(3)
    views = dataset(data)
    for place in range(9):
        views[place]
    assert [sample.loads for sample in data] == [1, 1, 1]
