import numpy as np
import pytest

from napari_medicosam.core.review import next_doubtful, review_slices


def stack(*radii):
    rows, columns = np.mgrid[:40, :40]
    masks = np.stack([np.hypot(rows - 20, columns - 20) < radius for radius in radii])
    shared = np.count_nonzero(masks[1:] & masks[:-1], axis=(1, 2))
    return np.count_nonzero(masks, axis=(1, 2)), np.append(shared, 0)


def test_a_smooth_object_is_in_no_doubt():
    reviews = review_slices(*stack(0, 0, 0, 4, 7, 9, 10, 9, 7, 4), dict.fromkeys(range(3, 10), 0.9))
    assert [review.index for review in reviews] == list(range(3, 10))
    assert not any(review.reasons for review in reviews)
    assert reviews[0].neighbour_iou == pytest.approx(reviews[0].area / reviews[1].area)
    assert next_doubtful(reviews, 5) is None


@pytest.mark.parametrize(
    ("radii", "predicted", "doubtful", "word"),
    [
        ((9, 9, 9, 9), {1: 0.9, 2: 0.3}, [2], "0.30"),
        ((9, 9, 0, 9), {}, [2], "empty"),
        ((9, 9, 4, 9, 9), {}, [2], "IoU"),
        ((9, 9, 0, 9, 9), {}, [2], "empty"),
        ((6, 6, 8.2, 6, 6), {}, [2], "area"),
    ],
)
def test_why_a_slice_is_doubtful(radii, predicted, doubtful, word):
    reviews = review_slices(*stack(*radii), predicted)
    assert [review.index for review in reviews if review.reasons] == doubtful
    assert word in " ".join(reviews[2].reasons)


def test_the_users_slices_are_never_doubtful():
    reviews = review_slices(*stack(9, 9, 4, 9, 9), {2: 0.1}, anchors={1, 2, 3})
    assert not any(review.reasons for review in reviews)
    assert reviews[2].iou_prediction is None
    assert [review.is_anchor for review in reviews] == [False, True, True, True, False]


def test_slices_that_planes_disagree_on_are_doubtful_but_for_the_users():
    agreements = {0: 0.1, 1: 0.79, 2: 0.8, 3: 0.2}
    reviews = review_slices(*stack(0, 9, 9, 9), {}, anchors={3}, agreements=agreements)
    assert [review.agreement for review in reviews] == [0.79, 0.8, None]
    assert [review.index for review in reviews if review.reasons] == [1], "what lies beyond was outvoted"
    assert "0.79" in reviews[0].reasons[0]


CLIFF = (0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 6, 0)


@pytest.mark.parametrize(
    ("radii", "anchors", "doubtful"),
    [
        (CLIFF, set(), [2, 12]),
        (CLIFF, {2, 7, 12}, []),  # the user's own ends
        (CLIFF, {1, 7, 13}, []),  # the user said that it is not on the slice beyond
        (CLIFF[2:13], set(), []),  # the image ends there
        ((0, 9, 9, 9, 5, 0), set(), [1]),  # so few slices may be a ball's
        ((0, 9, 9, 0), set(), []),
        ((0, 9, 0), set(), []),
    ],
)
def test_an_end_that_is_a_cliff_is_doubtful_unless_somebody_said_so(radii, anchors, doubtful):
    reviews = review_slices(*stack(*radii), {}, anchors)
    assert [review.index for review in reviews if review.reasons] == doubtful


def test_what_is_said_of_a_cliff():
    reviews = review_slices(*stack(*CLIFF), {})
    assert reviews[0].reasons == ("the object ends here with 100 % of its largest area",)


def test_empty_slices_around_an_object_do_not_count():
    reviews = review_slices(*stack(0, 0, 5, 5, 0), {})
    assert [review.index for review in reviews] == [2, 3]
    assert review_slices(*stack(0, 0), {}) == ()


def test_the_next_doubtful_slice_comes_round_again():
    reviews = review_slices(*stack(9, 9, 9, 9, 9), {1: 0.1, 3: 0.2})
    assert [next_doubtful(reviews, index) for index in (0, 1, 2, 3, 4)] == [1, 3, 3, 1, 1]
