"""What is done with a finished mask as a whole, on the worker: cleaned, voted on along three axes, tuned on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info, show_warning

from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
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
        annotation, packed = self._opened("clean up")
        shape, spacing = annotation.shape_zyx, layers.spacing_zyx(annotation.image)
        self._bench.runner.submit(
            lambda report: cleaned(packed, shape, spacing, settings),
            partial(self._on_cleaned, annotation, self._as_it_is(annotation)),
            key="clean up",
        )

    def agree(self, axis: int, settings: PropagationSettings) -> None:
        """Replace the mask by what two of three axes say. The slices of the user's stay as they are.

        Raises:
            InputError: without a mask, or for a locked object.
        """
        annotation, packed = self._opened("agree on")
        stack = annotation.stack(axis)
        self._bench.runner.submit(
            partial(self._bench.worker.agree, self._bench.settings(), stack, packed, settings),
            partial(self._on_agreed, annotation, self._as_it_is(annotation)),
            key="consensus",
        )

    def tune(
        self, axis: int, settings: PropagationSettings, on_result: Callable[[TuningResult], None]
    ) -> None:
        """Find the settings that would have found the current object, edited or committed, from one of its slices.

        Raises:
            InputError: without a mask.
        """
        annotation = self._bench.wanted()
        annotation.edited.look_everywhere()
        packed = annotation.packed_of(annotation.object_id)
        if packed.is_empty:
            raise InputError("nothing to tune on: segment and correct an object first")
        middle = [plane.index for plane in annotation.user_planes if plane.axis == axis]
        stack = annotation.stack(axis)
        self._bench.runner.submit(
            partial(
                self._bench.worker.tune, self._bench.settings(), stack, (packed, tuple(middle)), settings
            ),
            on_result,
            key="tune",
        )

    def _opened(self, what: str) -> tuple[Annotation, PackedMask]:
        """The mask of the current object, which is being edited from here on."""
        annotation = self._bench.wanted()
        annotation.check_unlocked()
        if annotation.table.record.is_committed:
            self._bench.reopen(annotation.begin("reopen"))
        annotation.edited.look_everywhere()
        packed = annotation.edited.packed()
        if packed.is_empty:
            raise InputError(f"nothing to {what}: segment the object first")
        return annotation, packed

    @staticmethod
    def _as_it_is(annotation: Annotation) -> tuple[int, int]:
        return annotation.object_id, annotation.edited.version

    def _replace(self, annotation: Annotation, asked: tuple[int, int], kind: str, after: PackedMask) -> bool:
        """Put another mask in the place of the one that was asked about, if it is still as it was then."""
        object_id, version = asked
        if not annotation.is_edited(object_id) or annotation.edited.version != version:
            show_warning(f"The object was changed in the meantime: it is left as it is (no {kind})")
            return False
        annotation.replace_edited(after, annotation.begin(kind))
        return True

    def _on_cleaned(self, annotation: Annotation, asked: tuple[int, int], after: PackedMask) -> None:
        if self._replace(annotation, asked, "clean up", after):
            self._show()

    def _on_agreed(self, annotation: Annotation, asked: tuple[int, int], found: Agreed) -> None:
        kept = {plane: annotation.mask(plane) for plane in annotation.user_planes}
        if not self._replace(annotation, asked, "consensus", found.packed):
            return
        annotation.table = annotation.table.with_agreements(annotation.object_id, found.agreements)
        for plane, mask in kept.items():
            annotation.write(plane, mask, None)  # the step remembers the whole mask already
        self._show()
        show_info(f"The three planes agree with a mean Dice of {found.mean_dice:.2f}")

    def _show(self) -> None:
        self._bench.layers.refresh()
        self._bench.events.changed.emit()
