"""An annotated image becomes what the model sees: cropped, augmented and resized with its objects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medicosam.core.object_masks import ObjectMask
    from napari_medicosam.io.samples import AnnotatedImage
    from napari_medicosam.training.config import AugmentationConfig

_MIN_VISIBLE_SHARE = 0.3
"""An object of which a crop shows less is no target there: nobody would call the rest of it by its name."""

_MAX_OBJECTS = 64
"""Of an image with more objects (nuclei), this many take part in augmentation; the draw is anew each time."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingView:
    """What one image gives to one step.

    Attributes:
        image: uint8 (3, rows, columns), long side S, the model's size. Not padded: SAM pads after its normalization,
            so that the padding is 0 for the encoder.
        masks: bool (N, rows, columns), its objects. N may be 0 when no object was left large enough.
    """

    image: Tensor
    masks: NDArray[np.bool_]


def make_view(
    annotated: AnnotatedImage,
    side: int,
    augmentation: AugmentationConfig,
    rng: np.random.Generator,
    min_pixels: int,
) -> TrainingView:
    """One augmented view; every draw is `rng`'s, so the same generator state gives the same view.

    Args:
        annotated: the image and its objects.
        side: S, of the model's input in pixels.
        augmentation: what may happen to it.
        rng: draws crop, geometry and intensities.
        min_pixels: objects with fewer pixels there are left out.
    """
    if not annotated.objects:
        raise InputError("an image without objects cannot be trained on")
    region = Region(0, 0, *annotated.size_yx)
    if rng.random() < augmentation.crop_probability:
        region = crop_around(_pick(annotated.objects, rng), annotated.size_yx, augmentation.crop_context, rng)
    image = tv_tensors.Image(torch.from_numpy(_three_channels(annotated.image[region.slices_yx])))
    visible = [one for one in annotated.objects if _is_visible(one, region)]
    objects = [_cut(one, region) for one in _some(visible, rng)]
    stack = np.stack(objects) if objects else np.zeros((0, *image.shape[1:]), dtype=bool)
    masks = tv_tensors.Mask(torch.from_numpy(stack))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        image, masks = _transform(augmentation)(image, masks)
    small = _resized(masks, side, v2.InterpolationMode.NEAREST_EXACT)  # NEAREST shifts by up to half a pixel
    kept = np.asarray(small.numpy(), dtype=bool)
    kept = kept[kept.sum(axis=(1, 2)) >= min_pixels]
    resized = _resized(image, side, v2.InterpolationMode.BILINEAR)
    return TrainingView(resized.as_subclass(torch.Tensor), kept)


def crop_around(
    target: ObjectMask, size_yx: tuple[int, int], context: tuple[float, float], rng: np.random.Generator
) -> Region:
    """A square (cut off at the slice's border) that shows `target` somewhere in it.

    Its side is the object's longer side times a factor drawn log-uniformly from `context`, at least 16 px; the object
    lies in it wholly, off centre by chance.
    """
    low, high = context
    box = target.region
    longer = max(box.y1 - box.y0, box.x1 - box.x0)
    side = max(16, math.ceil(longer * math.exp(rng.uniform(math.log(low), math.log(high)))))
    bounds = []
    for start, stop, length in ((box.y0, box.y1, size_yx[0]), (box.x0, box.x1, size_yx[1])):
        first = round(rng.uniform(stop - side, start))
        bounds.append((max(first, 0), min(first + side, length)))
    (y0, y1), (x0, x1) = bounds
    return Region(y0, x0, y1, x1)


def _pick(objects: tuple[ObjectMask, ...], rng: np.random.Generator) -> ObjectMask:
    return objects[int(rng.integers(len(objects)))]


def _some(objects: list[ObjectMask], rng: np.random.Generator) -> list[ObjectMask]:
    if len(objects) <= _MAX_OBJECTS:
        return objects
    return [objects[i] for i in rng.choice(len(objects), _MAX_OBJECTS, replace=False)]


def _is_visible(target: ObjectMask, region: Region) -> bool:
    """True when enough of the object is inside `region`."""
    box = target.region
    rows = slice(max(region.y0 - box.y0, 0), max(region.y1 - box.y0, 0))
    columns = slice(max(region.x0 - box.x0, 0), max(region.x1 - box.x0, 0))
    shown = np.count_nonzero(target.pixels[rows, columns])
    return bool(shown > 0 and shown >= _MIN_VISIBLE_SHARE * target.num_pixels)


def _cut(target: ObjectMask, region: Region) -> NDArray[np.bool_]:
    """What is inside `region` (rows, columns) of an object that meets it."""
    box = target.region
    y0, x0 = max(box.y0, region.y0), max(box.x0, region.x0)
    y1, x1 = min(box.y1, region.y1), min(box.x1, region.x1)
    mask = np.zeros((region.y1 - region.y0, region.x1 - region.x0), dtype=bool)
    mask[y0 - region.y0 : y1 - region.y0, x0 - region.x0 : x1 - region.x0] = target.pixels[
        y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0
    ]
    return mask


def _three_channels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(rows, columns) or (rows, columns, 3) to (3, rows, columns)."""
    if image.ndim == 2:
        return np.repeat(image[None], 3, axis=0)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _resized(image: Tensor, side: int, how: v2.InterpolationMode) -> Tensor:
    rows, columns = image.shape[-2:]
    scale = side / max(rows, columns)
    size = [max(1, int(rows * scale + 0.5)), max(1, int(columns * scale + 0.5))]
    antialias = how is v2.InterpolationMode.BILINEAR
    resized: Tensor = v2.functional.resize(image, size, how, antialias=antialias)
    return resized


def _transform(wanted: AugmentationConfig) -> v2.Transform:
    """Geometry for image and masks alike, then intensities for the image alone."""
    turn = v2.RandomChoice([v2.RandomRotation((a, a), expand=True) for a in (90, 180, 270)])
    affine = v2.RandomAffine(
        wanted.rotation_degrees,
        (0.08, 0.08),
        wanted.scale,
        shear=8,
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    steps: list[v2.Transform] = [
        v2.RandomHorizontalFlip(wanted.flip_probability),
        v2.RandomVerticalFlip(wanted.flip_probability),
        v2.RandomApply([turn], wanted.quarter_turn_probability),
        v2.RandomApply([affine], wanted.affine_probability),
        v2.RandomApply([v2.ColorJitter(0.3, 0.4, 0.3, 0.05), _Gamma(0.6, 1.6)], wanted.intensity_probability),
        v2.RandomApply([_Tint(0.5, 2.0)], wanted.tint_probability),
        v2.RandomInvert(wanted.inversion_probability),
        v2.RandomApply(
            [v2.RandomChoice([v2.GaussianBlur(5, (0.3, 1.5)), _Noise(2.0, 14.0)])],
            wanted.blur_noise_probability,
        ),
    ]
    return v2.Compose(steps)


class _ImageOnly(v2.Transform):  # type: ignore[misc]
    """A change of intensities: masks pass untouched."""

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw one strength for this image."""
        return {"strength": float(torch.empty(1).uniform_(self.low, self.high))}


class _Gamma(_ImageOnly):
    """Brighter or darker mid-tones."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """uint8 in and out."""
        return v2.functional.adjust_gamma(inpt, params["strength"])


class _Tint(v2.Transform):  # type: ignore[misc]
    """Each channel a gamma of its own: what a stain, a lamp or a camera's white balance does to grey values."""

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = math.log(low), math.log(high)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw three exponents, as often below 1 as above."""
        return {"gammas": torch.empty(3).uniform_(self.low, self.high).exp().tolist()}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """uint8 (3, rows, columns) in and out."""
        tinted = [
            v2.functional.adjust_gamma(one, g) for one, g in zip(inpt.split(1), params["gammas"], strict=True)
        ]
        return tv_tensors.wrap(torch.cat(tinted), like=inpt)


class _Noise(_ImageOnly):
    """Gaussian noise, the same in all three channels, so that grey images stay grey."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """uint8 in and out; the strength is the deviation in grey values."""
        noisy = inpt.float() + torch.randn(1, *inpt.shape[1:]) * params["strength"]
        return tv_tensors.wrap(noisy.round().clamp(0, 255).to(torch.uint8), like=inpt)
