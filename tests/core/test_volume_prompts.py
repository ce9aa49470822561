import numpy as np
import pytest

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompts import BoxPrompt
from napari_medicosam.core.results import Region
from napari_medicosam.core.volume_prompts import (
    VolumeBox,
    VolumeLasso,
    VolumePoint,
    VolumePrompts,
    VolumeScribble,
    check_inside,
    volume_mask,
)
from napari_medicosam.errors import InputError

SHAPE = (6, 40, 50)
PLANE = SlicePlane(0, 2)
SIZE = (40, 50)
SQUARE = ((9.5, 9.5), (9.5, 20.5), (20.5, 20.5), (20.5, 9.5))


def disc(y=20, x=20, radius=6):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.hypot(rows - y, columns - x) < radius


def one_of_each():
    return VolumePrompts(
        (VolumePoint((2, 5, 6), True, 0),),
        (VolumeBox(0, 2, (1, 2, 30, 40)),),
        (VolumeScribble(0, 2, ((3, 3), (3, 30))),),
        (VolumeLasso(0, 2, SQUARE),),
        (volume_mask(PLANE, disc()),),
    )


def test_a_scribble_is_clicks_along_it():
    said = VolumePrompts(scribbles=(VolumeScribble(0, 2, ((3, 3), (3, 13), (13, 13)), positive=False),))
    points = said.on(PLANE, SIZE).points
    assert points[0].position_yx == (3, 3)
    assert points[-1].position_yx == (13, 13)
    assert all(y == 3 or x == 13 for y, x in (point.position_yx for point in points))
    assert not any(point.positive for point in points)
    steps = np.linalg.norm(np.diff([point.position_yx for point in points], axis=0), axis=1)
    assert steps.max() <= 10


def test_a_dot_is_one_click():
    said = VolumePrompts(scribbles=(VolumeScribble(0, 2, ((7, 8), (7, 8))),))
    assert [point.position_yx for point in said.on(PLANE, SIZE).points] == [(7, 8)]


def test_a_lasso_is_a_mask_hint_and_a_box():
    said = VolumePrompts(lassos=(VolumeLasso(0, 2, SQUARE),)).on(PLANE, SIZE)
    assert Region.of_mask(said.mask) == Region(10, 10, 21, 21)
    assert said.mask.sum() == 11 * 11
    assert said.box == BoxPrompt(10, 10, 21, 21)
    drawn = VolumePrompts(boxes=(VolumeBox(0, 2, (1, 2, 30, 40)),), lassos=(VolumeLasso(0, 2, SQUARE),))
    assert drawn.on(PLANE, SIZE).box == BoxPrompt(1, 2, 30, 40)


def test_a_negative_lasso_is_clicks_inside_it():
    said = VolumePrompts(lassos=(VolumeLasso(0, 2, SQUARE, positive=False),)).on(PLANE, SIZE)
    assert said.mask is None
    assert said.box is None
    assert len(said.points) > 1
    assert not any(point.positive for point in said.points)
    assert all(10 <= v <= 20 for point in said.points for v in point.position_yx)
    assert said.is_stop
    assert np.argwhere(said.excluded).min() == 10
    assert np.argwhere(said.excluded).max() == 20
    both = VolumePrompts(
        lassos=(VolumeLasso(0, 2, SQUARE, positive=False), VolumeLasso(0, 2, ((30, 30), (35, 30), (30, 35))))
    ).on(PLANE, SIZE)
    np.testing.assert_array_equal(both.excluded, said.excluded)
    assert VolumePrompts(lassos=(VolumeLasso(0, 2, SQUARE),)).on(PLANE, SIZE).excluded is None


def test_what_was_lassoed_away_since():
    away, other = VolumeLasso(0, 2, SQUARE, positive=False), VolumeLasso(0, 5, SQUARE, positive=False)
    box = VolumeBox(0, 2, (1, 2, 30, 40))
    before = VolumePrompts(boxes=(box,), lassos=(VolumeLasso(0, 2, ((30, 30), (35, 30), (30, 35))),))

    def since(now):
        return now.lassoed_away_since(before, PLANE, SIZE)

    inside = since(before.with_prompt(away).with_prompt(other))
    assert np.argwhere(inside).min() == 10
    assert np.argwhere(inside).max() == 20
    assert since(before) is None
    assert since(before.with_prompt(other)) is None, "on another slice"
    assert since(before.with_prompt(VolumeLasso(0, 2, SQUARE))) is None
    assert since(before.with_prompt(away).with_prompt(VolumePoint((2, 5, 5), True, 0))) is None
    assert since(VolumePrompts(lassos=before.lassos).with_prompt(away)) is None, "the box is gone"


def test_masks_and_lassos_of_a_slice_are_one_hint():
    said = VolumePrompts(lassos=(VolumeLasso(0, 2, SQUARE),), masks=(volume_mask(PLANE, disc(30, 40)),))
    hint = said.on(PLANE, SIZE).mask
    assert hint[15, 15]
    assert hint[30, 40]
    assert said.on(SlicePlane(0, 3), SIZE).is_empty


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (
            VolumePoint((2, 40, -3), True, 0),
            "y must be from -0.5 to 39.5, got 40, x must be from -0.5 to 49.5, got -3",
        ),
        (VolumePoint((99, 5, 5), True, 0), "z must be from -0.5 to 5.5, got 99"),
        (VolumeBox(0, 99, (1, 2, 30, 40)), "slice 99 along axis 0 is outside the image: wanted 0 to 5"),
        (VolumeBox(0, -1, (1, 2, 30, 40)), "slice -1 along axis 0 is outside the image: wanted 0 to 5"),
        (
            VolumeBox(1, 3, (7, 2, 30, 40)),
            r"\(7, 2, 30, 40\) covers .* slice 3: .* 0 to 6 and x0 < x1 within 0 to 50",
        ),
        (VolumeBox(0, 3, (7, 2, 7.5, 40)), "less than a pixel"),
        (
            VolumeScribble(0, 2, ((3, 60), (3, 70))),
            "no vertex .* rows from -0.5 to 39.5 and columns from -0.5 to 49.5",
        ),
        (VolumeLasso(0, 2, ((-9, 3), (-7, 3), (-8, 9))), "no vertex .* slice 2: wanted rows"),
        (VolumeLasso(2, 50, SQUARE), "slice 50 along axis 2"),
    ],
)
def test_what_a_script_puts_outside_is_named_with_what_was_wanted(prompt, said):
    with pytest.raises(InputError, match=said):
        check_inside(prompt, SHAPE)
    assert VolumePrompts().with_prompt(prompt).cleaned(SHAPE)[0] == VolumePrompts()


def test_what_lies_inside_in_part_is_taken_from_scripts():
    for prompt in (
        *one_of_each().all,
        VolumePoint((-0.5, 39.5, 0), True, 2),
        VolumeBox(0, 5, (-9, 45, 5, 90)),
        VolumeScribble(0, 2, ((3, 40), (3, 70))),
    ):
        check_inside(prompt, SHAPE)


def test_every_kind_says_on_which_slices_it_is_and_can_be_taken_away():
    prompts = one_of_each()
    assert prompts.planes == {PLANE}
    assert not prompts.without(PLANE).all
    for prompt in prompts.all:
        left = prompts.without_prompt(prompt)
        assert len(left.all) == 4
        assert prompt not in left.all
        assert left.changed_planes(prompts) == [PLANE]
        assert prompts.grew_from(left, PLANE)
        assert not left.grew_from(prompts, PLANE)
        assert left.with_prompt(prompt) == prompts
    assert prompts.without_prompt(VolumePoint((2, 5, 7), True, 0)) == prompts


def test_of_equal_prompts_the_newest_is_taken_away():
    point = VolumePoint((2, 5, 6), True, 0)
    prompts = VolumePrompts((point, VolumePoint((2, 9, 9), True, 0), point))
    assert [p.position_zyx[1] for p in prompts.without_prompt(point).points] == [5, 9]


def test_what_is_drawn_across_the_border_is_clipped_and_outside_dropped():
    prompts = VolumePrompts(
        scribbles=(
            VolumeScribble(0, 2, ((5, 5), (5, 70))),
            VolumeScribble(0, 2, ((-9, 5), (-9, 30))),
            VolumeScribble(0, 9, ((5, 5),)),
        ),
        lassos=(
            VolumeLasso(0, 2, ((5, 5), (50, 5), (20, 30))),
            VolumeLasso(0, 2, ((1, 1), (2, 2))),
        ),
    )
    kept, complaints = prompts.cleaned(SHAPE)
    assert [scribble.path_yx for scribble in kept.scribbles] == [((5, 5), (5, 49.5))]
    assert [lasso.polygon_yx for lasso in kept.lassos] == [((5, 5), (39.5, 5), (20, 30))]
    assert any("scribble" in said for said in complaints)
    assert any("lasso" in said for said in complaints)


def test_of_two_masks_on_a_slice_the_newer_stays():
    older, newer = volume_mask(PLANE, disc()), volume_mask(PLANE, disc(radius=3))
    kept, complaints = VolumePrompts(masks=(older, newer)).cleaned(SHAPE)
    assert kept.masks == (newer,)
    assert not complaints


def test_masks_are_values():
    assert volume_mask(PLANE, disc()) == volume_mask(PLANE, disc())
    assert hash(volume_mask(PLANE, disc())) == hash(volume_mask(PLANE, disc()))
    assert volume_mask(PLANE, disc()) != volume_mask(PLANE, disc(radius=3))
    assert volume_mask(PLANE, np.zeros(SIZE, bool)) is None
    with pytest.raises(ValueError, match="read-only"):
        volume_mask(PLANE, disc()).patch[0, 0] = True
