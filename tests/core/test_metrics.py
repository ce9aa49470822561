import numpy as np
import pytest

from napari_medicosam.core.metrics import dice, iou
from napari_medicosam.errors import InputError


def test_scores():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert (dice(a, b), iou(a, b)) == (1.0, 1.0)
    a[0, :3] = True
    b[0, 1:4] = True
    assert dice(a, b) == pytest.approx(4 / 6)
    assert iou(a, b) == pytest.approx(2 / 4)
    assert dice(a, ~a) == 0.0
    with pytest.raises(InputError, match="one shape"):
        dice(a, b[:2])
