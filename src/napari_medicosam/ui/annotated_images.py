"""What is known about each image that was annotated in a viewer, for as long as its layer is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from psygnal import Signal

from napari_medicosam.ui import layers
from napari_medicosam.ui.annotation import Annotation
from napari_medicosam.ui.shared_objects import share

if TYPE_CHECKING:
    from napari.layers import Image


class AnnotatedImages:
    """Annotations, one a time point of an image.

    Events:
        dropped(image, layer set): an image is gone, or has other voxels; its annotations were forgotten.
        replaced(image): it has other pixels on the same grid.
        moved(image, layer set): it lies elsewhere, and so do our layers on it.
    """

    dropped = Signal(object, object)
    replaced = Signal(object)
    moved = Signal(object, object)

    def __init__(self) -> None:
        self._annotations: list[Annotation] = []

    def close(self) -> None:
        """Forget all of them, and let go of their layers."""
        for image in {id(one.image): one.image for one in self._annotations}.values():
            self._let_go_of(image)
        self._annotations.clear()

    @property
    def all(self) -> tuple[Annotation, ...]:
        """Of all images and time points."""
        return tuple(self._annotations)

    def times_of(self, image: Any) -> list[Annotation]:
        """What is known about an image, by time point; the last one shown is the last."""
        return [known for known in self._annotations if known.image is image]

    def owner_of(self, layer: Any) -> Annotation | None:
        """Of the image that one of our layers is for; None for another layer."""
        return next((known for known in self._annotations[::-1] if layer in known.ours.all), None)

    def last_of(self, image: Image) -> Annotation:
        """Of the time point that was shown last; a new one for an image that was not annotated before.

        Raises:
            InputError: for an image that is neither 2D nor 3D, nor volumes over time.
        """
        known = self.times_of(image)
        return known[-1] if known else self._new(image, 0)

    def at_time(self, before: Annotation, time: int) -> Annotation:
        """Of another time point of the same image.

        Where nothing is being edited, the current object of the one before is the current one there.
        """
        same = self.times_of(before.image)
        annotation = next((one for one in same if one.time == time), None) or self._new(before.image, time)
        before.share()
        if not annotation.num_open_voxels:
            annotation.table = annotation.table.with_current(before.object_id)
        self._annotations.remove(annotation)
        self._annotations.append(annotation)
        return annotation

    def put(self, annotations: list[Annotation]) -> None:
        """These, of the time points of one image, take the place of all that was known about it."""
        image = annotations[0].image
        others = [known for known in self._annotations if known.image is not image]
        self._annotations = others + annotations
        if image.ndim == 4:
            share(annotations)

    def drop(self, image: Image) -> None:
        """Forget an image; what lies in layers is left alone."""
        self._let_go_of(image)
        ours = self.times_of(image)[0].ours
        self._annotations = [known for known in self._annotations if known.image is not image]
        self.dropped.emit(image, ours)

    def forget_layer(self, layer: Any) -> None:
        """A layer was removed from the viewer: an image, perhaps, or one of ours."""
        if self.times_of(layer):
            self.drop(layer)
        for annotation in self._annotations:
            annotation.ours.forget(layer)

    def forget_answers(self) -> None:
        """Logits of another model or window are no hint for this one; masks are."""
        for annotation in self._annotations:
            annotation.answers.clear()

    def _new(self, image: Image, time: int) -> Annotation:
        others = self.times_of(image)
        volume = layers.volume_of(image, time)
        if others:
            last = others[-1]
            made = Annotation(image, volume, last.ours, last.effort, time, policy=last.policy, log=last.log)
            last.share()
            if last.shared is not None:
                made.table = last.shared.new_table(last.object_id)
        else:
            made = Annotation(image, volume, time=time)
            image.events.data.connect(self._on_image_data)
            for name in layers.MOVES:
                getattr(image.events, name).connect(self._on_image_moved)
        self._annotations.append(made)
        if image.ndim == 4:
            share(self.times_of(image))
        return made

    def _let_go_of(self, image: Image) -> None:
        image.events.data.disconnect(self._on_image_data)
        for name in layers.MOVES:
            getattr(image.events, name).disconnect(self._on_image_moved)

    def _on_image_moved(self, event: Any) -> None:
        """Our layers lie on the grid of the image, wherever it is put."""
        for known in self.times_of(event.source)[:1]:
            for layer in known.ours.all:
                layers.lie_on(layer, known.image)
            self.moved.emit(known.image, known.ours)

    def _on_image_data(self, event: Any) -> None:
        """The pixels of an image were replaced: prompts stay where the new ones have the same shape."""
        known = self.times_of(event.source)
        if not known:
            return
        image = known[0].image
        is_same_grid = image.ndim in (2, 3, 4) and all(
            one.time < layers.num_times(image) and layers.volume_of(image, one.time).shape == one.volume.shape
            for one in known
        )
        if is_same_grid:
            for one in known:
                one.volume = layers.volume_of(image, one.time)
                one.answers.clear()
            self.replaced.emit(image)
            return
        self.drop(image)
        show_warning(f"{image.name!r} has a new shape: its prompts were removed, its labels stay")
