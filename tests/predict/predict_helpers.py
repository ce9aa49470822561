import numpy as np

from napari_medicosam.core.intensity import IntensityMapping

IDENTITY = IntensityMapping("identity")


class DictStore:
    """The simplest embedding store: what a test needs to see what was put and asked."""

    def __init__(self, dtype="float32"):
        self.dtype = np.dtype(dtype)
        self.content, self.puts = {}, []

    def get(self, plane, digest):
        return self.content.get((plane, digest))

    def put(self, plane, digest, embedding):
        self.puts.append(plane)
        self.content[plane, digest] = embedding.astype(self.dtype)
        return self.content[plane, digest]

    def has(self, plane, digest):
        return (plane, digest) in self.content
