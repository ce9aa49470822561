"""The one image of a series that is in the viewer, with the labels that are made on it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from napari.layers import Labels

from napari_medicosam.core.object_table import ObjectRecord
from napari_medicosam.errors import FileError, InputError, MedicoSamError
from napari_medicosam.io.series_state import SavedObject, SavedObjects
from napari_medicosam.ui.layers import together
from napari_medicosam.ui.series_records import KnownLabels, LabelWork

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_medicosam.io.image_series import SeriesItem
    from napari_medicosam.ui.layers import Tool
    from napari_medicosam.ui.series_records import OpenedImage, Saved
    from napari_medicosam.ui.session import AnnotationSession


class SeriesImage:
    """An image of a series on show, as the session's image, with its saved labels or its initial mask.

    Args:
        session: of the viewer.
        opened: what was read.
        tool: that was chosen on the image before; it is kept, as far as a slice is shown.

    Attributes:
        item: which image.
        complaints: what of it could not be used.

    Raises:
        FileError: when its saved labels cannot be used: without them, saving would replace them. Nothing is shown.
    """

    def __init__(self, session: AnnotationSession, opened: OpenedImage, tool: Tool = "") -> None:
        self.item: SeriesItem = opened.item
        self.complaints = list(opened.complaints)
        self._session = session
        self._record = opened.record
        self._known = opened.known
        self._is_torn = False
        self._is_leaving = False
        self._layer = session.viewer.add_image(opened.array, **opened.arguments)
        session.set_image(self._layer)
        try:
            self._begin_with(opened.known)
        except MedicoSamError as error:
            if opened.status != "todo":
                self.leave()
                raise FileError(f"the labels of {self.item.name} cannot be used: {error}") from error
            self._known = KnownLabels()
            self.complaints.append(f"The initial mask of {self.item.name} cannot be used: {error}")
        session.viewer.reset_view()
        with suppress(InputError):  # 3D rendering shows no slice
            session.go_to(session.num_slices // 2)
        session.prepare()
        if tool:  # only then it needs our layers
            with suppress(InputError):
                session.tool = tool

    def _begin_with(self, known: KnownLabels) -> None:
        """Go on from labels that were read; without any, there is nothing to go on from."""
        saved = known.objects
        if known.labels is None or not (known.labels.any() or saved.objects or saved.locked_classes):
            return
        records = [
            ObjectRecord(one.object_id, one.name, one.class_id, one.is_locked) for one in saved.objects
        ]
        self._session.begin_with(known.labels, records, frozenset(saved.locked_classes))

    def _objects(self) -> SavedObjects:
        """What a label file cannot say of the objects; those that nobody named, classed or locked go without."""
        session = self._session
        saved = [
            SavedObject(
                object_id=one.object_id, name=one.name, class_id=one.class_id, is_locked=one.is_locked
            )
            for one in session.objects
            if one.class_id is not None or one.is_locked or one.name != f"object {one.object_id}"
        ]
        return SavedObjects(objects=tuple(saved), locked_classes=tuple(sorted(session.locked_classes)))

    @property
    def is_there(self) -> bool:
        """False when somebody took it out of the viewer."""
        return self._layer in self._session.viewer.layers

    @property
    def is_in_use(self) -> bool:
        """False while the session works on another image."""
        return self._session.image is self._layer

    def use(self) -> None:
        """Have the session work on it again."""
        self._session.set_image(self._layer)

    def captured(self, finished: bool | None = None) -> LabelWork | None:
        """The labels as they are now, to be saved; None when there is nothing that could be."""
        session = self._session
        if not self.is_there:
            return None
        session.set_image(self._layer)  # the user may be looking at another one
        has_labels = session.has_labels and not self._is_torn
        if not has_labels and finished is None:
            return None
        label_map = session.label_map() if has_labels else None
        return LabelWork(
            self.item, self._record, self._known, label_map, finished, self._objects(), session.classes
        )

    def captured_before_removal(self, layer: Layer) -> LabelWork | None:
        """The labels as they are, when this layer, which is about to be removed by somebody, belongs to them.

        What is left then is not to be saved over them before somebody goes on working.
        """
        session = self._session
        is_ours = layer is self._layer or (
            isinstance(layer, Labels) and session.image is self._layer and layer in session.own_layers
        )
        if not is_ours or self._is_torn or self._is_leaving:
            return None
        work = self.captured()
        self._is_torn = True
        return work

    def note_work(self) -> None:
        """Somebody has gone on working on the labels."""
        self._is_torn = False

    def take(self, saved: Saved) -> None:
        """These labels were saved."""
        if saved.work.item == self.item:
            self._known = saved.known
            self._session.mark_saved(self._layer)

    def leave(self) -> None:
        """Take the image and all our layers of it out of the viewer; its labels were saved."""
        session, layers = self._session, self._session.viewer.layers
        if not self.is_there:
            return
        self._is_leaving = True
        session.set_image(self._layer)
        own = session.own_layers
        with together(layers):
            # This one first: otherwise a widget might take it for the next image to segment.
            layers.remove(self._layer)
            for layer in own:
                if layer in layers:
                    layers.remove(layer)
