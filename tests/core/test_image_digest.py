import numpy as np

from napari_medicosam.core.image_digest import image_digest


class LargeVolume:
    """Reads slices on demand, and notes which."""

    dtype = np.dtype(np.int16)
    shape = (700, 1024, 1024)

    def __init__(self):
        self.read = []

    def __getitem__(self, index):
        self.read.append(index)
        return np.full(self.shape[1:], index, dtype=self.dtype)


def test_few_slices_of_a_large_volume_are_read():
    volume = LargeVolume()
    digest = image_digest([volume])
    assert volume.read == [0, 99, 199, 299, 399, 499, 599, 699]
    assert digest == image_digest([LargeVolume()])


def test_every_voxel_of_a_small_one_counts():
    volume = np.zeros((30, 8, 8), np.int16)
    changed = volume.copy()
    changed[17, 3, 4] = 1
    assert image_digest([volume]) != image_digest([changed])
    assert image_digest([volume]) == image_digest([volume.astype(">i2")])
    assert image_digest([volume]) != image_digest([volume.reshape(15, 16, 8)])
