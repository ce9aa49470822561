import numpy as np
import pytest

from napari_medicosam.core.label_maps import empty_label_map
from napari_medicosam.errors import InputError


def test_an_empty_label_map():
    empty = empty_label_map((2, 3, 4), np.uint16)
    assert (empty.shape, empty.dtype, empty.any()) == ((2, 3, 4), np.uint16, False)


@pytest.mark.parametrize("shape", [(10**5,) * 3, (10**10,) * 3])
def test_more_than_any_machine_has_is_told(shape):
    with pytest.raises(InputError, match="GB of memory, more than there is"):
        empty_label_map(shape, np.uint8)
