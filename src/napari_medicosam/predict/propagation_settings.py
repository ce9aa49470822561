"""How slices ask each other and when to stop, as the user says it and in the numbers of one volume."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from napari_medicosam.core.arguments import real_number
from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medicosam.core.geometry import SliceStack
    from napari_medicosam.core.prompt_derivation import BoxExtension

Between = Literal["shapes", "neighbours"]

REFERENCE_SPACING_MM = 2.0
"""Slices this far apart are held to the IoU threshold as it is given. With it the shipped defaults score as they do
without, and looser ones far better (docs/tuning.md)."""

LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.3, 0.8
"""As far as the distance of slices may take the IoU threshold. Masks of one object on neighbouring slices have an IoU
of 0.85 to 0.95 however thin the slices are, as the model's borders jitter: a much stricter rule would stop at that. And
masks with less than 0.3 in common say nothing about each other."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """When the way out of the annotated range ends, in one volume.

    Attributes:
        iou_threshold: least IoU of a mask and the one before.
        min_confidence: least confidence; 0 does not look at it. The confidence is the predicted IoU, as a share of the
            reference, less what the mask lacks in likeness, times `likeness`.
        likeness: weight of the likeness to the annotated slices.
    """

    iou_threshold: float
    min_confidence: float
    likeness: float = 0.0

    def ends_at(
        self, agreement: float, prediction: float, reference: float, likeness: float = math.nan
    ) -> bool:
        """Whether the object has ended on a slice.

        Args:
            agreement: IoU of its mask and the mask before.
            prediction: predicted IoU of its mask.
            reference: predicted IoU of the annotated slice.
            likeness: of its mask: 1 as the object on annotated slices, 0 as its surroundings (`predict.likeness`); NaN
                where nobody looked.
        """
        lacks = 0.0 if math.isnan(likeness) else self.likeness * (1 - likeness)
        least = self.min_confidence + lacks
        doubtful = self.min_confidence > 0 and prediction < least * reference
        return agreement < self.iou_threshold or doubtful


@dataclass(frozen=True, slots=True)
class PropagationSettings:
    """How slices ask each other, and when to stop.

    Attributes:
        mode: prompts that a slice's mask gives to the next one.
        iou_threshold: outside the annotated range, stop when IoU(previous, new) falls below it; 0 never stops
            before the mask is empty. It is adapted to the distance of the slices (`reference_spacing_mm`).
        box_extension: growth of the box on its way, >= 1 pixels a side, < 1 a fraction of the side.
        min_confidence: outside the annotated range, stop when the confidence falls below this: the predicted IoU as a
            share of that of the surest annotated slice (of the first slice that was found, where the user drew all of
            them), less what the mask lacks in likeness to the annotated slices; 0 does not look at it.
        box_extension_mm: growth of the box in mm a side, instead of `box_extension`; None for that one.
        reference_spacing_mm: distance of slices for which `iou_threshold` is meant; None takes the threshold as it is
            in every volume, and so does a stack that does not know its spacing.

        between: what slices between two annotated ones are asked with: "shapes", the shape between the two;
            "neighbours", masks handed on from both ends to the middle, as the reference does.
        appearance: weight of the intensities on the annotated slices beside the model's logits
            (`core.appearance`); 0 does not look at them.
        likeness: weight of what a mask lacks in likeness to the object on annotated slices, by what the encoder sees
            in both (`predict.likeness`); 0 does not look at it.

    The defaults were chosen by measurement with the bundled weights (docs/tuning.md).
    """

    mode: PromptMode = field(default_factory=lambda: PromptMode(box=True))
    iou_threshold: float = 0.5
    box_extension: float = 0.025
    min_confidence: float = 0.5
    box_extension_mm: float | None = None
    reference_spacing_mm: float | None = REFERENCE_SPACING_MM
    between: Between = "shapes"
    appearance: float = 0.5
    likeness: float = 0.75

    def __post_init__(self) -> None:
        if not isinstance(self.mode, PromptMode):
            raise InputError(f"wanted a PromptMode as the mode of propagation, got {self.mode!r}")
        for name in ("iou_threshold", "min_confidence", "box_extension", "appearance", "likeness"):
            object.__setattr__(self, name, real_number(getattr(self, name), name))
        for name in ("box_extension_mm", "reference_spacing_mm"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, real_number(getattr(self, name), name))
        if not 0 <= self.iou_threshold <= 1:
            raise InputError(f"IoU threshold must be between 0 and 1, got {self.iou_threshold}")
        if not 0 <= self.min_confidence <= 1:
            raise InputError(f"minimal confidence must be between 0 and 1, got {self.min_confidence}")
        if not self.box_extension >= 0:
            raise InputError(f"box extension must be 0 or more, got {self.box_extension}")
        if not (math.isfinite(self.appearance) and self.appearance >= 0):
            raise InputError(f"weight of the appearance must be 0 or more, got {self.appearance}")
        if not (math.isfinite(self.likeness) and self.likeness >= 0):
            raise InputError(f"weight of the likeness must be 0 or more, got {self.likeness}")
        if not isinstance(self.between, str) or self.between not in ("shapes", "neighbours"):
            raise InputError(f"slices between two are filled by shapes or neighbours, got {self.between!r}")
        in_mm, reference = self.box_extension_mm, self.reference_spacing_mm
        if in_mm is not None and not (math.isfinite(in_mm) and in_mm >= 0):
            raise InputError(f"box extension must be 0 mm or more, got {in_mm}")
        if reference is not None and not (math.isfinite(reference) and reference > 0):
            raise InputError(f"reference distance of slices must be above 0 mm, got {reference}")

    def as_record(self) -> dict[str, Any]:
        """JSON-ready; `of_record` takes it back."""
        return asdict(self) | {"mode": str(self.mode)}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> PropagationSettings:
        """Raises `InputError` for settings that make no sense."""
        # What was recorded before there were weights knew neither appearance nor likeness.
        return cls(
            **{"appearance": 0.0, "likeness": 0.0, **record, "mode": PromptMode.parse(str(record["mode"]))}
        )

    def stop_rule(self, stack: SliceStack) -> StopRule:
        """The rule for slices as far apart as those of `stack`.

        Neighbouring slices of one object agree the less the farther apart they are, and IoU falls about by the same
        factor with every mm: what three thin slices lose one after the other, a slice three times as thick loses at
        once. So the threshold t for the reference distance r is t ** (d / r) for slices d apart, but no lower than
        `LOWEST_THRESHOLD` and no higher than `HIGHEST_THRESHOLD`, or t itself where the user went beyond these.
        """
        threshold, distance = self.iou_threshold, stack.slice_spacing
        if distance is not None and self.reference_spacing_mm is not None and threshold > 0:
            adapted = threshold ** (distance / self.reference_spacing_mm)
            lowest, highest = min(threshold, LOWEST_THRESHOLD), max(threshold, HIGHEST_THRESHOLD)
            threshold = min(max(adapted, lowest), highest)
        return StopRule(threshold, self.min_confidence, self.likeness)

    def extension_on(self, stack: SliceStack) -> BoxExtension:
        """Growth of a box on slices of `stack`, as `derive_prompts` takes it.

        Raises:
            InputError: for a growth in mm where the stack does not know its spacing.
        """
        if self.box_extension_mm is None:
            return self.box_extension
        spacing = stack.pixel_spacing_yx
        if spacing is None:
            raise InputError(
                f"a box extension of {self.box_extension_mm:g} mm needs the size of a pixel, and this image has no "
                "spacing in mm: give it one, or give the extension in pixels or as a fraction of the box"
            )
        return self.box_extension_mm / spacing[0], self.box_extension_mm / spacing[1]


REFERENCE_SETTINGS = PropagationSettings(
    PromptMode(box=True, mask=True),
    iou_threshold=0.8,
    box_extension=0.025,
    min_confidence=0,
    reference_spacing_mm=None,
    between="neighbours",
    appearance=0,
    likeness=0,
)
"""What the reference evaluation of the paper runs with: mask and box, 0.8, 0.025, whatever the predicted IoU and the
distance of slices."""
