"""What is done with a finished mask as a whole, on the worker: cleaned, voted on along three axes, tuned on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.notifications import show_info, show_warning

from napari_medicosam.errors import InputError
from napari_medicosam.ui import committing
from napari_medicosam.ui.spacing import spacing_zyx
from napari_medicosam.ui.tasks import cleaned

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medicosam.core.boxes import PackedMask
    from napari_medicosam.core.post_processing import CleanUp
    from napari_medicosam.predict.propagation import PropagationSettings
    from napari_medicosam.predict.tuning import TuningResult
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.tasks import Agreed
    from napari_medicosam.ui.workbench import Workbench


_Asked = tuple[int, "PackedMask"]
"""Which object, and its mask then."""


class Refinements:
    """Refines the current object.

    Args:
        bench: of the session.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def clean_up(self, settings: CleanUp) -> None:
        """Clean the mask of the current object.

        Raises:
            InputError: without a mask, for a locked object, or an image whose layer has no spacing.
        """
        annotation, packed = self.mask_to("clean up")
        shape, spacing = annotation.shape_zyx, spacing_zyx(annotation.image)
        self._bench.runner.submit(
            lambda report: cleaned(packed, shape, spacing, settings),
            partial(self.put_cleaned, annotation, (annotation.object_id, packed)),
            key="clean up",
        )

    def put_cleaned(self, annotation: Annotation, asked: _Asked, after: PackedMask) -> None:
        """Put a cleaned mask in the place of the one that was asked about, unless that was changed since."""
        if self._replace(annotation, asked, "clean up", after):
            self._show()

    def agree(self, axis: int, settings: PropagationSettings) -> None:
        """Replace the mask by what two of three axes say. The slices of the user's stay as they are.

        Raises:
            InputError: without a mask, or for a locked object.
        """
        annotation, packed = self.mask_to("agree on")
        stack = annotation.stack(axis)
        self._bench.runner.submit(
            partial(self._bench.worker.agree, self._bench.settings(), stack, packed, settings),
            partial(self._on_agreed, annotation, (annotation.object_id, packed)),
            key="consensus",
        )

    def tune(
        self, axis: int, settings: PropagationSettings, on_result: Callable[[TuningResult], None]
    ) -> None:
        """Find the settings that would have found the current object, edited or committed, from one of its slices.

        Raises:
            InputError: without a mask.
        """
        annotation, packed = self.mask_to("tune on")
        middle = [plane.index for plane in annotation.user_planes if plane.axis == axis]
        stack = annotation.stack(axis)
        self._bench.runner.submit(
            partial(
                self._bench.worker.tune, self._bench.settings(), stack, (packed, tuple(middle)), settings
            ),
            on_result,
            key="tune",
        )

    def mask_to(self, what: str) -> tuple[Annotation, PackedMask]:
        """The mask of the current object, edited or committed.

        Raises:
            InputError: without one; `what` is what it was wanted for.
        """
        annotation = self._bench.wanted()
        annotation.edited.look_everywhere()
        packed = annotation.packed_of(annotation.object_id)
        if packed.is_empty:
            raise InputError(f"nothing to {what}: segment the object first")
        return annotation, packed

    def _replace(self, annotation: Annotation, asked: _Asked, kind: str, after: PackedMask) -> bool:
        """Put another mask in the place of the one that was asked about, if it is still as it was then.

        A committed object is edited from here on.
        """
        object_id, before = asked
        record = annotation.table.record
        is_current = record.object_id == object_id and not record.is_locked
        if not is_current or not _are_equal(annotation.packed_of(object_id), before):
            show_warning(f"The object was changed in the meantime: it is left as it is (no {kind})")
            return False
        self._bench.layers.make_missing()  # a committed object needs no layer to be edited in until now
        step = annotation.begin(kind)
        committing.reopen(annotation, step)
        annotation.replace_edited(after, step)
        return True

    def _on_agreed(self, annotation: Annotation, asked: _Asked, found: Agreed) -> None:
        kept = {plane: annotation.mask_of(annotation.object_id, plane) for plane in annotation.user_planes}
        if not self._replace(annotation, asked, "consensus", found.packed):
            return
        annotation.table = annotation.table.with_agreements(annotation.object_id, found.agreements)
        for plane, mask in kept.items():
            annotation.put_back(plane, mask)  # the step remembers the whole mask already
        self._show()
        show_info(f"The three planes agree with a mean Dice of {found.mean_dice:.2f}")

    def _show(self) -> None:
        self._bench.layers.refresh()
        self._bench.events.changed.emit()


def _are_equal(mask: PackedMask, other: PackedMask) -> bool:
    return mask.box == other.box and np.array_equal(mask.bits, other.bits)
