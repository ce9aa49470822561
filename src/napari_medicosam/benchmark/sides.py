"""Who is measured: our service, `segment_anything.SamPredictor` in eager PyTorch, and micro-sam where it is installed.

All have the same weights and see the same slices through the same intensity mapping, whole (no views). The eager model
is a copy of its own, so that nothing that is done to ours can change it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from segment_anything import SamPredictor

from napari_medicosam.cache.keys import EmbeddingKey
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.core.prompt_derivation import derive_prompts
from napari_medicosam.core.resize import SliceFrame
from napari_medicosam.predict.propagation_settings import REFERENCE_SETTINGS
from napari_medicosam.predict.runtimes import open_runtime
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.predict.zoom import ZoomRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.cache.store import EmbeddingStore
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.core.prompts import PromptSet
    from napari_medicosam.weights.loading import LoadedModel

_POOL_BYTES = 1 << 30

WHOLE_SLICES = ZoomRule("never")
"""What `SamPredictor` does."""


class Ours:
    """The service, once with a memory for embeddings and once without."""

    def __init__(self, model: LoadedModel, mapping: IntensityMapping, runtime: str) -> None:
        self.model, self.mapping = model, mapping
        self.runtime = open_runtime(model, runtime)
        self.key = EmbeddingKey(model.spec, model.weights_sha256, mapping, precision=self.runtime.precision)
        self.key_int8 = replace(self.key, dtype="int8")
        self.service = self.new_service(MemoryEmbeddingStore(_POOL_BYTES).bind(self.key))
        self.forgetful = self.new_service(MemoryEmbeddingStore(0).bind(self.key))

    def new_service(self, store: EmbeddingStore) -> SegmentationService:
        """One of the same model and mapping."""
        return SegmentationService(self.model, self.mapping, store, WHOLE_SLICES, self.runtime)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What `SamPredictor` keeps of an image."""

    features: torch.Tensor
    original_size: tuple[int, int]
    input_size: tuple[int, int]


class Eager:
    """`SamPredictor`; asked about slices it has seen it does not encode, as plugins built on it do."""

    def __init__(self, model: LoadedModel, mapping: IntensityMapping) -> None:
        self.predictor = SamPredictor(copy.deepcopy(model.sam))
        self._mapping = mapping
        self._low_res_size = model.spec.low_res_size
        self._model_size = model.spec.model_size
        self._seen: dict[SlicePlane, _Seen] = {}

    def encode(self, pixels: NDArray[Any]) -> None:
        """Set the slice (rows, columns); its embedding is there when this returns."""
        self.predictor.set_image(np.repeat(self._mapping.to_uint8(pixels)[..., None], 3, axis=-1))
        _wait_for(self.predictor.device)

    def remember(self, plane: SlicePlane, pixels: NDArray[Any]) -> None:
        """Encode a slice that `look_at` will come back to."""
        self.encode(pixels)
        one = self.predictor
        self._seen[plane] = _Seen(one.features, one.original_size, one.input_size)

    def look_at(self, plane: SlicePlane) -> None:
        """Set a slice that is remembered."""
        seen, one = self._seen[plane], self.predictor
        one.features, one.original_size, one.input_size = seen.features, seen.original_size, seen.input_size
        one.is_image_set = True

    def features(self, plane: SlicePlane) -> torch.Tensor:
        """(1, C, h, w) of a slice that is remembered."""
        return self._seen[plane].features

    def predict(
        self, prompts: PromptSet, logits: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
        """Masks (M, rows, columns), IoU predictions (M,) and low-res logits (M, h, w) on the slice that is set.

        Args:
            prompts: points, a box, a mask.
            logits: (h, w) of the last mask, fed back.
        """
        size_yx = self.predictor.original_size
        if prompts.mask is not None:
            logits = SliceFrame(size_yx, self._model_size).mask_logits(prompts.mask, self._low_res_size)
        points = [point.position_yx[::-1] for point in prompts.points]
        box = prompts.box
        masks, ious, low_res = self.predictor.predict(
            point_coords=np.array(points) if points else None,
            point_labels=np.array([int(point.positive) for point in prompts.points]) if points else None,
            box=None if box is None else np.array([box.x0, box.y0, box.x1, box.y1]),
            mask_input=None if logits is None else logits[None],
            multimask_output=prompts.is_ambiguous and logits is None,
        )
        return masks, ious, low_res

    def propagate(
        self, ends: tuple[NDArray[np.bool_], NDArray[np.bool_]], planes: Sequence[SlicePlane]
    ) -> None:
        """Ask slices between two masks (rows, columns), from both ends to the middle, as our reference settings do."""
        half = len(planes) // 2
        for source, way in ((ends[0], planes[:half]), (ends[1], planes[half:][::-1])):
            mask = source
            for plane in way:
                self.look_at(plane)
                prompts = derive_prompts(
                    mask, plane, REFERENCE_SETTINGS.mode, REFERENCE_SETTINGS.box_extension
                )
                found = self.predict(prompts)[0][0]
                mask = found if found.any() else mask


class MicroSam:
    """micro-sam's functions on the eager predictor."""

    def __init__(self, eager: Eager, mapping: IntensityMapping) -> None:
        self._eager, self._mapping = eager, mapping
        names = ("util", "prompt_based_segmentation", "inference", "multi_dimensional_segmentation")
        self._util, self._prompts, self._inference, self._volumes = (
            import_module(f"micro_sam.{name}") for name in names
        )

    @classmethod
    def if_installed(
        cls, model: LoadedModel, eager: Eager, mapping: IntensityMapping
    ) -> tuple[Self | None, str]:
        """It, or None and why not."""
        if model.spec.low_res_size != 256:
            return None, f"micro-sam takes mask prompts of 256 x 256, not {model.spec.name}'s"
        try:
            return cls(eager, mapping), ""
        except ImportError as error:
            return None, f"micro-sam is not installed ({error})"

    def encode(self, pixels: NDArray[Any]) -> None:
        """Embed a slice (rows, columns)."""
        image = self._mapping.to_uint8(pixels)
        self._util.precompute_image_embeddings(self._eager.predictor, image, ndim=2, verbose=False)
        _wait_for(self._eager.predictor.device)

    def point(self, prompts: PromptSet) -> None:
        """Points on the slice that the eager predictor has set; (y, x) is its order, too."""
        positions = np.array([point.position_yx for point in prompts.points])
        labels = np.array([int(point.positive) for point in prompts.points])
        self._prompts.segment_from_points(self._eager.predictor, positions, labels)

    def box(self, prompts: PromptSet) -> None:
        """A box on the slice that the eager predictor has set."""
        if prompts.box is not None:
            self._prompts.segment_from_box(self._eager.predictor, np.array(prompts.box.bounds))

    def batch(self, boxes_xyxy: NDArray[np.floating]) -> None:
        """Boxes (N, 4) on the slice that the eager predictor has set, in one call."""
        self._inference.batched_inference(
            self._eager.predictor,
            None,
            batch_size=len(boxes_xyxy),
            boxes=boxes_xyxy,
            return_instance_segmentation=False,
        )

    def propagate(self, masks_zyx: NDArray[np.uint8], planes: Sequence[SlicePlane]) -> None:
        """Fill the slices between the first and the last, in place, by mask and box.

        Args:
            masks_zyx: 1 is the object; empty but for both ends.
            planes: of its slices, which the eager predictor remembers.
        """
        features = torch.stack([self._eager.features(plane) for plane in planes])
        self._eager.look_at(planes[0])
        predictor = self._eager.predictor
        embeddings = {
            "features": features,
            "input_size": predictor.input_size,
            "original_size": predictor.original_size,
        }
        self._volumes.segment_mask_in_volume(
            masks_zyx,
            predictor,
            embeddings,
            np.array([0, len(masks_zyx) - 1]),
            stop_lower=False,
            stop_upper=False,
            iou_threshold=REFERENCE_SETTINGS.iou_threshold,
            projection="mask",
            box_extension=REFERENCE_SETTINGS.box_extension,
        )


def _wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
