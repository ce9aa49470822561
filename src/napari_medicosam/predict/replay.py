"""A session done again from its log: the model is asked the same once more, what the user did is done as it was.

The same weights on the same machine give the same masks, bit for bit.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.geometry import SliceStack
from napari_medicosam.core.mask_log import Answered, Chosen, Edit, Propagated, PropagatedSlice, Stamp
from napari_medicosam.core.mask_writing import write_committed, write_edited
from napari_medicosam.core.object_table import MAX_OBJECT_ID
from napari_medicosam.core.prompts import PromptSet
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.errors import FileError
from napari_medicosam.predict.objects import as_clicked
from napari_medicosam.predict.propagation import ObjectRun, PropagationSettings, propagate_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.mask_log import Entry, RunOfObject, Target
    from napari_medicosam.core.session_state import ModelUse
    from napari_medicosam.predict.service import SegmentationService

_SIDE = np.zeros((1, 1), dtype=np.float32)
"""In the place of logits: propagation asks with masks."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replay differs from what was saved.

    Attributes:
        time, z: on which slice.
        object_ids: of which objects, on either side.
        num_voxels: how many there.
    """

    time: int
    z: int
    object_ids: tuple[int, ...]
    num_voxels: int


class Replay:
    """Masks as they come about.

    Args:
        volumes: pixels of the image, (z, y, x) or (z, y, x, 3) for each time point.
        spacing_zyx_mm: of the image; None where it has no unit of length.
        service_for: gives the service that answers as this use of a model did; asked often.

    Attributes:
        labels: uint16 (t, z, y, x), committed objects.
        edited: bool (t, z, y, x), the current object of each time point while it is being edited.
    """

    def __init__(
        self,
        volumes: Sequence[NDArray[Any]],
        spacing_zyx_mm: tuple[float, float, float] | None,
        service_for: Callable[[ModelUse], SegmentationService],
    ) -> None:
        self._volumes = volumes
        self._spacing = spacing_zyx_mm
        self._service_for = service_for
        shape = (len(volumes), *volumes[0].shape[:3])
        self.labels = np.zeros(shape, np.uint16)
        self.edited = np.zeros(shape, bool)
        self._answers: dict[int, SegmentResult] = {}
        self._results: dict[Propagated, Iterator[tuple[int, SegmentResult]]] = {}

    def run(self, log: Sequence[Entry]) -> Iterator[int]:
        """Do all of it; yields how many entries are done.

        Raises:
            FileError: for a log that cannot be of this image.
        """
        last_use = {_answer_before(entry): number for number, entry in enumerate(log)}
        for number, entry in enumerate(log):
            try:
                self._do(entry)
            except (ValueError, IndexError, KeyError, zlib.error) as error:
                raise FileError(f"the session's log is damaged at entry {number + 1}: {error}") from error
            for done in [known for known in self._answers if last_use.get(known, -1) <= number]:
                del self._answers[done]  # nobody asks for it again
            yield number + 1

    def _do(self, entry: Entry) -> None:
        match entry:
            case Edit():
                self._edit(entry)
            case Stamp():
                self._stamp(entry)
            case Answered():
                result = self._ask(entry)
                self._answers[entry.number] = result
                self._write(entry.target, result)
            case Chosen():
                result = _candidate(self._answers[entry.answer], entry.candidate)
                self._answers[entry.number] = result
                self._write(entry.target, result)
            case Propagated(model=model):
                if model is not None:  # else nothing of it was written
                    self._results[entry] = self._propagate(entry, model)
            case PropagatedSlice():
                found = next((one for number, one in self._results[entry.of] if number == entry.number), None)
                if found is None:
                    raise FileError(f"a propagation has no result {entry.number} any more")
                self._write(entry.target, found)

    def _edit(self, edit: Edit) -> None:
        masks = self.labels if edit.masks == "labels" else self.edited
        content = edit.content
        part = masks[(edit.time, *edit.box.index)]
        if part.shape != edit.box.shape:
            raise FileError(f"the session's log writes outside the image: {edit.box}")
        part[...] = 0 if content is None else content.array(part.shape, masks.dtype)

    def _stamp(self, stamp: Stamp) -> None:
        part = self.labels[(stamp.time, *stamp.box.index)]
        if part.shape != stamp.box.shape:
            raise FileError(f"the session's log writes outside the image: {stamp.box}")
        part[stamp.content.array(part.shape, bool)] = stamp.label

    def _ask(self, asked: Answered) -> SegmentResult:
        service, pixels = self._service_for(asked.model), asked.plane.cut(self._volumes[asked.target.time])
        size_yx = (pixels.shape[0], pixels.shape[1])
        hint = None if asked.hint is None else asked.hint.array(size_yx, bool)
        previous = None if asked.previous is None else self._answers[asked.previous]
        request = SegmentRequest(
            np.asarray(pixels),
            PromptSet(asked.plane, asked.points, asked.box, hint),
            None if previous is None else previous.low_res_logits,
            asked.target.object_id,
            previous_view=asked.previous_view,
            nearby_box=asked.nearby_box,
        )
        return as_clicked(service.segment(request), request.prompts)

    def _propagate(self, asked: Propagated, model: ModelUse) -> Iterator[tuple[int, SegmentResult]]:
        """Numbered results, found one by one from the masks as they are now."""
        stack = SliceStack(self._volumes[asked.time], asked.axis, self._spacing)
        settings = PropagationSettings.of_record(model.propagation)
        runs = [self._run_of(asked.time, one, stack, settings) for one in asked.runs]
        return enumerate(propagate_objects(self._service_for(model), stack, runs))

    def _run_of(
        self, time: int, run: RunOfObject, stack: SliceStack, settings: PropagationSettings
    ) -> ObjectRun:
        anchors = []
        for index, sure in run.anchors:
            plane = stack.plane(index)
            is_edited = run.masks == "edited"
            mask = (
                plane.cut(self.edited[time]).copy()
                if is_edited
                else plane.cut(self.labels[time]) == run.object_id
            )
            iou = math.nan if sure is None else sure
            anchors.append(SegmentResult(plane, mask, Region.of_mask(mask), iou, _SIDE, run.object_id))
        return ObjectRun(anchors, settings, frozenset(run.stops), run.z_range, frozenset(run.skip))

    def _write(self, target: Target, result: SegmentResult) -> None:
        plane = result.plane
        labels, edited = plane.cut(self.labels[target.time]), plane.cut(self.edited[target.time])
        allowed = np.ones(MAX_OBJECT_ID + 1, bool)
        allowed[list(target.kept_out)] = False
        if target.masks == "edited":
            write_edited(edited, labels, result.mask, lambda: allowed, 1)
        else:
            write_committed(labels, edited, result.mask, allowed, target.object_id)


def _answer_before(entry: Entry) -> int | None:
    if isinstance(entry, Answered):
        return entry.previous
    return entry.answer if isinstance(entry, Chosen) else None


def _candidate(answer: SegmentResult, number: int) -> SegmentResult:
    one = answer.candidates[number]
    return replace(
        answer,
        mask=one.mask,
        region=Region.of_mask(one.mask),
        iou_prediction=one.iou_prediction,
        low_res_logits=one.low_res_logits,
    )


def differences(
    replayed: tuple[NDArray[Any], NDArray[Any]],
    saved: tuple[NDArray[Any], NDArray[Any]],
    current: Mapping[int, int],
) -> list[Difference]:
    """Slices on which masks differ.

    Args:
        replayed: labels uint16 and edited bool, (t, z, y, x) each.
        saved: the same.
        current: id of the object that is being edited, by time point.
    """
    found = []
    for time, z in np.ndindex(replayed[0].shape[:2]):
        ours, theirs = replayed[0][time, z], saved[0][time, z]
        differ, in_edited = ours != theirs, replayed[1][time, z] != saved[1][time, z]
        count = int(np.count_nonzero(differ | in_edited))
        if count:
            ids = set(np.unique([ours[differ], theirs[differ]]).tolist()) - {0}
            if in_edited.any() and time in current:
                ids.add(current[time])
            found.append(Difference(time, z, tuple(sorted(ids)), count))
    return found
