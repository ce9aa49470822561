"""Methods of a session for prompts, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_medicosam.core.arguments import number_array, whole_number, yes_or_no
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.volume_prompts import (
    Prompt,
    VolumeBox,
    VolumeLasso,
    VolumePoint,
    VolumePrompts,
    VolumeScribble,
    check_inside,
    volume_mask,
)
from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.session_base import SessionBase

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from napari_medicosam.core.volume_prompts import Path as Vertices
    from napari_medicosam.ui.layers import Tool


_SLICE, _SIGN = "the number of a slice", "positive"


class PromptMethods(SessionBase):
    """Prompts of the current object."""

    @property
    def prompts(self) -> VolumePrompts:
        """Prompts of the current object."""
        return VolumePrompts() if self._annotation is None else self._annotation.current

    @property
    def tool(self) -> Tool:
        """What a click in the canvas does: "point+", "point-", "box" or "" for none of these."""
        return self._layers.tool

    @tool.setter
    def tool(self, tool: Tool) -> None:
        self._layers.tool = tool

    def toggle_sign(self) -> None:
        """From + to − of the tool that is chosen, and back; a box has no sign."""
        tool: Any = self.tool
        if tool and tool[-1] in "+-":
            self.tool = tool[:-1] + ("-" if tool[-1] == "+" else "+")

    def add_point(self, position_zyx: tuple[float, ...], positive: bool = True) -> None:
        """Click at a voxel position (z, y, x), or (y, x) of a 2D image, on the axis that the viewer slices along.

        Of volumes over time it may be (t, z, y, x), at the time point that the viewer shows.

        Raises:
            InputError: for a position that is none or outside the image, or at another time; or a locked object.
        """
        image = self.image
        lengths = (2, 3) if not self.is_3d else (3, 4) if image is not None and image.ndim == 4 else (3,)
        y, x = (position := _numbers(position_zyx, lengths))[-2:]
        if len(position) == 4 and position[0] != self.time:
            raise InputError(
                f"the viewer shows time point {self.time}, the position is at {position[0]:g}: go there first"
            )
        z = position[-3] if len(position) > 2 else 0.0
        sign = yes_or_no(positive, _SIGN)
        self._add(VolumePoint((z, y, x), sign, self._layers.axis()))

    def add_box(self, slice_index: int, box: tuple[float, float, float, float]) -> None:
        """Draw a half-open box (y0, x0, y1, x1) on a slice, instead of one that is there.

        Raises:
            InputError: for a box outside the image or thinner than a pixel, or a locked object.
        """
        y0, x0, y1, x1 = _numbers(box, (4,))
        index = whole_number(slice_index, _SLICE)
        self._add(VolumeBox(self._layers.axis(), index, (y0, x0, y1, x1)))

    def add_scribble(self, slice_index: int, path_yx: ArrayLike, positive: bool = True) -> None:
        """Draw a stroke on a slice, along vertices (N, 2) in pixels: the object is there, or is not.

        Raises:
            InputError: for a path outside the image or of another shape, or a locked object.
        """
        path, sign = _vertices(path_yx, 1), yes_or_no(positive, _SIGN)
        index = whole_number(slice_index, _SLICE)
        self._add(VolumeScribble(self._layers.axis(), index, path, sign))

    def add_lasso(self, slice_index: int, polygon_yx: ArrayLike, positive: bool = True) -> None:
        """Draw around the object on a slice, or around what is not the object, with corners (N, 2) in pixels.

        Raises:
            InputError: for a polygon outside the image or of less than three corners, or a locked object.
        """
        polygon, sign = _vertices(polygon_yx, 3), yes_or_no(positive, _SIGN)
        index = whole_number(slice_index, _SLICE)
        self._add(VolumeLasso(self._layers.axis(), index, polygon, sign))

    def add_mask(self, slice_index: int, mask: ArrayLike) -> None:
        """Hint that the object is about where `mask` (rows, columns of the slice) is not 0: of another tool, say.

        Raises:
            InputError: for an empty mask or one of another shape, or a locked object.
        """
        plane = SlicePlane(self._layers.axis(), whole_number(slice_index, _SLICE))
        shape = self._wanted().shape_zyx
        plane.check(shape)
        pixels = number_array(mask, "a mask") != 0
        wanted = plane.size_yx(shape)
        if pixels.shape != wanted or not pixels.any():
            raise InputError(
                f"a mask for this slice needs shape {wanted} and a pixel that is not 0, got {pixels.shape} with "
                f"{int(np.count_nonzero(pixels))} such pixels"
            )
        hint = volume_mask(plane, pixels)
        if hint is not None:
            self._add(hint)

    def add_mask_of(self, layer: Labels) -> None:
        """Take what another labels layer, of whatever tool, has on the visible slice as a hint of where the object is.

        Raises:
            InputError: for a layer of another shape, one that is empty on this slice, or a locked object.
        """
        annotation, plane = self._wanted(), self._layers.plane()
        if not isinstance(layer, Labels):
            raise InputError(f"wanted a labels layer, got {layer!r}")
        label_map = layers.voxels(layer, annotation.time)
        if label_map.shape != annotation.shape_zyx:
            raise InputError(
                f"{layer.name!r} has shape {label_map.shape}, wanted that of the image: {annotation.shape_zyx}"
            )
        self.add_mask(plane.index, plane.cut(label_map))

    @property
    def has_candidates(self) -> bool:
        """True when `next_candidate` has another mask to take on the slice that the viewer shows."""
        return self.slice_index is not None and self._pipeline.questions.has_candidates(self._layers.plane())

    def next_candidate(self) -> bool:
        """Where one click is all there is on the shown slice: take another of the three masks that it may mean.

        The largest first, then its part, then the part of that, and again.

        Returns:
            False when the model gave one mask alone, or the mask was changed since.
        """
        return self._pipeline.questions.next_candidate(self._layers.plane())

    def remove_prompt(self, prompt: Prompt) -> None:
        """Take one prompt of `prompts` away; the slice is segmented anew with those that are left.

        Raises:
            InputError: when the current object has no such prompt, or is locked.
        """
        left = self.prompts.without_prompt(prompt) if isinstance(prompt, Prompt) else self.prompts
        if left == self.prompts:
            raise InputError(f"the current object has no prompt {prompt}")
        self._change(left)

    def clear_prompts(self, *, everywhere: bool = False) -> None:
        """Remove prompts and mask of the current object from the visible slice, or from all slices.

        Raises:
            InputError: for a locked object.
        """
        annotation, axis = self._wanted(), self._layers.axis()
        everywhere = yes_or_no(everywhere, "everywhere")
        bounds = annotation.table.record.bounds.union(annotation.edited.extent)
        planes = annotation.user_planes | {SlicePlane(axis, i) for i in bounds.planes(axis)}
        if not everywhere:
            planes &= {self._layers.plane()}
        if planes:
            self._pipeline.clear(planes)
            self._show_object()

    @property
    def is_live(self) -> bool:
        """True: the mask follows every prompt at once. False: it waits for `segment`, for slow models."""
        return self._pipeline.questions.is_live

    @is_live.setter
    def is_live(self, is_live: bool) -> None:
        self._pipeline.questions.is_live = yes_or_no(is_live, "is_live")
        self._ask_unasked()
        self.events.changed.emit()

    @property
    def has_unasked_prompts(self) -> bool:
        """True when `segment` has something to do."""
        return self._pipeline.questions.has_unasked

    def segment(self) -> bool:
        """Where the mask does not follow prompts by itself (`is_live`): segment all slices whose prompts changed.

        Returns:
            False when there are none.

        Raises:
            InputError: for a locked object.
        """
        return self._pipeline.questions.ask_unasked()

    def mark_absent(self) -> None:
        """Say that the current object is not on the visible slice: mask and prompts go, and propagation stops there.

        Raises:
            InputError: for a locked object, or when the viewer shows no slice.
        """
        self._pipeline.clear([self._layers.plane()], is_absent=True)
        self._show_object()

    def undo(self) -> None:
        """Take back the last step: prompts, strokes, propagation, commit, objects, with the masks that it made.

        Over time, the last one of the shown time point.

        Raises:
            InputError: when that would change an object that was locked since, at another time point.
        """
        if self.can_undo:
            self._pipeline.undo()
            self._show_object()

    def redo(self) -> None:
        """Do again what was taken back last.

        Raises:
            InputError: as `undo`.
        """
        if self.can_redo:
            self._pipeline.redo()
            self._show_object()

    @property
    def can_undo(self) -> bool:
        """True when there is a step to take back."""
        return self._annotation is not None and bool(self._annotation.history.done)

    @property
    def can_redo(self) -> bool:
        """True when there is a step to do again."""
        return self._annotation is not None and bool(self._annotation.history.undone)

    def _add(self, prompt: Prompt) -> None:
        """A prompt from a script: what is wrong with it is the caller's to know."""
        shape = self._wanted().shape_zyx
        check_inside(prompt, shape)
        prompts, _ = self.prompts.with_prompt(prompt).cleaned(shape)
        self._change(prompts)

    def _change(self, prompts: VolumePrompts) -> None:
        self._layers.make_missing()
        try:
            self._pipeline.questions.change_prompts(prompts)
        finally:
            self._layers.write(self._wanted().current)


def _numbers(given: ArrayLike, counts: tuple[int, ...]) -> tuple[float, ...]:
    """Finite numbers, as many as one of `counts`; `InputError` for anything else."""
    numbers = tuple(float(v) for v in number_array(given, "a place").ravel())
    if len(numbers) not in counts:
        raise InputError(f"wanted {' or '.join(map(str, counts))} numbers, got {given!r}")
    return numbers


def _vertices(path_yx: ArrayLike, least: int) -> Vertices:
    """Vertices as plain numbers.

    Raises:
        InputError: for another shape, less than `least` of them, or numbers that are not finite.
    """
    path = number_array(path_yx, "vertices")
    if path.ndim != 2 or path.shape[1] != 2 or len(path) < least:
        raise InputError(f"wanted {least} or more vertices (row, column), got an array of shape {path.shape}")
    return tuple((float(y), float(x)) for y, x in path)
