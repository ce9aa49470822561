"""All that is known about an annotated image, as values: what a session file and a journal hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medicosam.core.boxes import VoxelBox
from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.label_classes import LabelClasses
from napari_medicosam.core.mask_writing import writable
from napari_medicosam.core.nesting import give_back

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import PackedMask
    from napari_medicosam.core.effort import ObjectEffort
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.core.mask_log import Entry
    from napari_medicosam.core.object_table import ObjectTable


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Which image was annotated.

    Attributes:
        shape_tzyx: time points, slices, rows, columns; 1 for what it has not.
        dtype: of its pixels, "int16" or the like.
        spacing_zyx_mm: None where the image has no unit of length.
        sha256: `core.image_digest` of its pixels; "" while nobody has computed it.
        file: its path, where the user wanted it kept; else "".
    """

    shape_tzyx: tuple[int, int, int, int]
    dtype: str
    spacing_zyx_mm: tuple[float, float, float] | None = None
    sha256: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What answered prompts last, and how it was shown the image.

    Attributes:
        name: of the registry, or of a checkpoint's file.
        window: the word that was asked for.
        weights_sha256: "" when no model was needed.
        mapping: what the word came to; None when no model was needed.
        zoom: fields of `predict.zoom.ZoomRule`.
        propagation: fields of `predict.propagation.PropagationSettings`, `mode` as text.
        runtime: that encoded (`models.encoder_runtimes`); "" when no model was needed, or nobody said. Entries of a log
            do not say it.
    """

    name: str
    window: str
    weights_sha256: str = ""
    mapping: IntensityMapping | None = None
    zoom: Mapping[str, Any] = field(default_factory=dict)
    propagation: Mapping[str, Any] = field(default_factory=dict)
    runtime: str = ""


@dataclass(frozen=True, slots=True)
class TimeState:
    """The objects at one time point.

    Attributes:
        time: which; 0 for an image without.
        table: the objects. What their gaps were filled from is not kept.
        scores: predicted IoU of the model's masks with their areas, by object and slice.
        own: where the current object, which is being edited, was when it was opened again; None where nobody knows, and
            all of its mask may be meant.
    """

    time: int
    table: ObjectTable
    scores: Mapping[tuple[int, SlicePlane], tuple[float, int]] = field(default_factory=dict)
    own: PackedMask | None = field(default=None, compare=False)  # it changes with the table


@dataclass(frozen=True, slots=True)
class SessionState:
    """All but the masks.

    Attributes:
        image: that was annotated.
        model: that helped.
        times: time points that were looked at, the one shown last at the end.
        classes: of labels, that the session knew.
        policy: what wins where objects meet.
        effort: by object.
    """

    image: ImageReference
    model: ModelUse
    times: tuple[TimeState, ...]
    classes: LabelClasses = field(default_factory=LabelClasses)
    policy: CommitPolicy = field(default_factory=CommitPolicy)
    effort: Mapping[int, ObjectEffort] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class SavedSession:
    """A state with its masks.

    Attributes:
        state: all but the masks.
        labels: uint16 (t, z, y, x), masks of committed objects.
        edited: bool (t, z, y, x), the mask of the current object of each time point while it is being edited.
        log: how the masks came about, from nothing on; empty when nobody knows.
    """

    state: SessionState
    labels: NDArray[np.uint16]
    edited: NDArray[np.bool_]
    log: tuple[Entry, ...] = ()

    def merged(self) -> NDArray[np.uint16]:
        """One label map (t, z, y, x): objects that are being edited as if they were committed."""
        merged = self.labels.copy()
        for one in self.state.times:
            allowed = self.state.policy.allowed(one.table, one.table.current)
            part, edited = merged[one.time], self.edited[one.time]
            own = edited if one.own is None else one.own.unpacked(edited.shape)
            part[edited & writable(part, allowed, own)] = one.table.current
            if not one.table.record.is_committed:
                give_back(part, one.table, one.table.current)
        return merged

    def counted(self) -> SavedSession:
        """With the voxels of all objects counted and their bounds found, which no file holds."""
        times = tuple(
            replace(one, table=_counted(one.table, self.labels[one.time])) for one in self.state.times
        )
        return replace(self, state=replace(self.state, times=times))


def _counted(table: ObjectTable, labels: NDArray[np.uint16]) -> ObjectTable:
    counts = np.zeros(1, dtype=np.int64)
    for one in labels:
        here = np.bincount(one.ravel(), minlength=counts.size)
        here[: counts.size] += counts
        counts = here
    boxes = ndimage.find_objects(labels)
    records = {}
    for object_id, record in table.records.items():
        box = boxes[object_id - 1] if object_id <= len(boxes) else None
        if box is None:
            records[object_id] = replace(record, num_voxels=0, bounds=VoxelBox())
            continue
        start, stop = [side.start for side in box], [side.stop for side in box]
        bounds = VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        records[object_id] = replace(record, num_voxels=int(counts[object_id]), bounds=bounds)
    return replace(table, records=MappingProxyType(records))
