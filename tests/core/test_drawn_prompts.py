import numpy as np
import pytest

from napari_medicosam.core.drawn_prompts import (
    MAX_CLICKS,
    MAX_INNER_CLICKS,
    clicks_along,
    clicks_inside,
    filled_polygon,
)


@pytest.mark.parametrize("length", [0.5, 3, 12, 400])
def test_a_longer_scribble_has_more_clicks_up_to_a_limit(length):
    clicks = clicks_along(np.array([[4.0, 2.0], [4.0, 2.0 + length]]), positive=True)
    assert len(clicks) == {0.5: 1, 3: 2, 12: 3, 400: MAX_CLICKS}[length]
    columns = [click.position_yx[1] for click in clicks]
    np.testing.assert_allclose(np.diff(columns), np.diff(columns)[:1].repeat(len(columns) - 1))


def test_a_polygon_between_pixel_centres_still_has_a_pixel():
    mask = filled_polygon(np.array([[5.2, 5.2], [5.2, 5.4], [5.4, 5.3]]), (10, 10))
    assert np.argwhere(mask).tolist() == [[5, 5]]


def test_clicks_inside_lie_deep_and_apart():
    mask = np.zeros((60, 80), bool)
    mask[10:20, 10:70] = True
    clicks = clicks_inside(mask, positive=False)
    assert len(clicks) == MAX_INNER_CLICKS
    positions = np.array([click.position_yx for click in clicks])
    assert all(mask[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].all() for y, x in positions)
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)[np.triu_indices(len(clicks), 1)]
    assert apart.min() >= 5
    assert positions[:, 1].max() - positions[:, 1].min() > 40


def test_a_small_region_is_one_click():
    mask = np.zeros((20, 20), bool)
    mask[4, 7] = True
    assert [click.position_yx for click in clicks_inside(mask, positive=True)] == [(4, 7)]
