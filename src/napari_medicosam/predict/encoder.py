"""Image slice to embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchvision.transforms.functional import resize, to_pil_image

from napari_medicosam.core.resize import SliceFrame
from napari_medicosam.models.encoder_runtimes import torch_runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.models.encoder_runtimes import EncoderRuntime
    from napari_medicosam.weights.loading import LoadedModel


class SliceEncoder:
    """Runs a model's image encoder on slices, with one intensity mapping for all of them.

    The steps are those of `segment_anything.SamPredictor.set_image`, which takes uint8 RGB; grey slices are
    repeated in three channels.

    Args:
        model: from `load_weights`.
        mapping: from stored intensities to the model's.
        runtime: of the model (`open_runtime`); None takes torch's.
    """

    def __init__(
        self, model: LoadedModel, mapping: IntensityMapping, runtime: EncoderRuntime | None = None
    ) -> None:
        self._sam = model.sam
        self._mapping = mapping
        self._model_size = model.spec.model_size
        self.runtime = runtime or torch_runtime(model.sam.image_encoder)

    def encode(self, image_slice: NDArray[Any]) -> NDArray[np.float32]:
        """Embedding (C, h, w) float32 of a slice (rows, columns) or (rows, columns, 3) of any real dtype."""
        embedding: NDArray[np.float32] = self.encode_batch([image_slice])[0]
        return embedding

    def encode_batch(self, image_slices: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embeddings (B, C, h, w) float32 of slices, which may differ in size, in one call of the encoder."""
        with torch.inference_mode():
            images = [self._sam.preprocess(self._pixels(one)) for one in image_slices]
            embeddings: NDArray[np.float32] = self.runtime.encode(torch.cat(images)).numpy()
        return embeddings

    def _pixels(self, image_slice: NDArray[Any]) -> torch.Tensor:
        pixels = self._mapping.to_uint8(image_slice)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        # As segment-anything's `ResizeLongestSide`, but for very long slices, of which it leaves no pixel.
        size = SliceFrame((pixels.shape[0], pixels.shape[1]), self._model_size).resized_size
        resized = np.array(resize(to_pil_image(np.ascontiguousarray(pixels)), list(size)))
        return torch.as_tensor(resized, device=self._sam.device).permute(2, 0, 1)[None].contiguous()
