"""Image slice to embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from segment_anything.utils.transforms import ResizeLongestSide

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.weights.loading import LoadedModel


class SliceEncoder:
    """Runs a model's image encoder on single slices, with one intensity mapping for all of them.

    The steps are those of `segment_anything.SamPredictor.set_image`, which takes uint8 RGB; grey slices are
    repeated in three channels.
    """

    def __init__(self, model: LoadedModel, mapping: IntensityMapping) -> None:
        self._sam = model.sam
        self._mapping = mapping
        self._resize = ResizeLongestSide(model.spec.model_size)

    def encode(self, image_slice: NDArray[Any]) -> NDArray[np.float32]:
        """Embedding (C, h, w) float32 of a slice (rows, columns) or (rows, columns, 3) of any real dtype."""
        pixels = self._mapping.to_uint8(image_slice)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        resized = self._resize.apply_image(np.ascontiguousarray(pixels))
        with torch.inference_mode():
            image_BCHW = torch.as_tensor(resized, device=self._sam.device).permute(2, 0, 1)[None].contiguous()
            embedding = self._sam.image_encoder(self._sam.preprocess(image_BCHW))
            return np.asarray(embedding[0].float().cpu().numpy())
