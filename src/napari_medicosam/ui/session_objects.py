"""Methods of a session for objects: their list, classes, and what is committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import NoneType
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info

from napari_medicosam.core.arguments import number_array, whole_number, yes_or_no
from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.history import Step
from napari_medicosam.core.object_table import ObjectRecord
from napari_medicosam.errors import InputError
from napari_medicosam.ui import committing
from napari_medicosam.ui.adding_labels import add_labels
from napari_medicosam.ui.session_base import SessionBase
from napari_medicosam.ui.spacing import length_unit, voxel_volume_mm3

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Labels
    from numpy.typing import ArrayLike, NDArray

    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.sizes import ObjectSize


class ObjectMethods(SessionBase):
    """Objects of the image that is annotated."""

    @property
    def objects(self) -> tuple[ObjectRecord, ...]:
        """All objects of the image, by id."""
        if self._annotation is None:
            return ()
        return tuple(record for _, record in sorted(self._annotation.table.records.items()))

    @property
    def record(self) -> ObjectRecord | None:
        """The current object; None without an image."""
        return None if self._annotation is None else self._annotation.table.record

    @property
    def object_id(self) -> int:
        """The object that prompts are for: its label."""
        return self._wanted().object_id

    def colour_of(self, object_id: int) -> tuple[float, ...] | None:
        """What an object is shown in (red, green, blue, alpha; 0..1); None before its layers are there."""
        object_id = whole_number(object_id, "the id of an object")
        annotation = self._annotation
        if annotation is None or object_id not in annotation.table.records:
            return None
        layer = annotation.object_layer
        colour = None if layer is None else layer.get_color(object_id)
        return None if colour is None else tuple(float(v) for v in colour)

    @property
    def has_mask(self) -> bool:
        """True when the current object has one, edited or committed."""
        record = self.record
        return record is not None and (record.is_committed or self.num_open_voxels > 0)

    @property
    def is_object_empty(self) -> bool:
        """True when the current object has neither prompts nor a mask, at any time point, or there is no image."""
        return self._annotation is None or self._annotation.is_empty

    @property
    def hidden_layer(self) -> Labels | None:
        """The layer that the current object's mask lies in, while its eye in the layer list is closed."""
        annotation = self._annotation
        if annotation is None:
            return None
        layer = annotation.labels if annotation.table.record.is_committed else annotation.object_layer
        return None if layer is None or layer.visible else layer

    @property
    def num_open_voxels(self) -> int:
        """Voxels of the mask that is being edited."""
        return 0 if self._annotation is None else self._annotation.num_open_voxels

    @property
    def voxel_volume_mm3(self) -> float | None:
        """Of the image, where its layer has a spacing in a length unit; None where it has not."""
        return None if self.image is None else voxel_volume_mm3(self.image)

    @property
    def length_unit(self) -> str:
        """What `size_of` measures lengths in: "mm", "px", or "" where the image's layer has a scale without a unit."""
        return "" if self.image is None else length_unit(self.image)

    def size_of(self, object_id: int) -> ObjectSize | None:
        """Slices and longest diameter of an object; None until they are measured (`events.sizes_changed`)."""
        return self._sizes.of(whole_number(object_id, "the id of an object"))

    @property
    def commit_policy(self) -> CommitPolicy:
        """What wins where objects meet. Settable: answers about the open object, beside others, are asked for again."""
        return self._wanted().policy

    @commit_policy.setter
    def commit_policy(self, policy: CommitPolicy) -> None:
        if not isinstance(policy, CommitPolicy):
            raise InputError(f"wanted a CommitPolicy, got {policy!r}")
        is_another = policy != self._wanted().policy
        for known in self._images.times_of(self._wanted().image):
            known.policy = policy
        if is_another:
            self._pipeline.questions.ask_beside_others()
        self.events.changed.emit()

    def new_object(self, name: str | None = None, class_id: int | None = None) -> int:
        """Begin another object and return its id; the current one is committed first.

        A current object that is still empty is taken for it. Without a name it has that of its class.

        Raises:
            InputError: when the current object cannot be committed (`commit`).
        """
        annotation = self._wanted()
        wanted = "object" if name is None or (isinstance(name, str) and not name) else name
        ObjectRecord(1, wanted, class_id)  # raises for what makes no sense
        name = name or self.class_name(class_id) or None
        self._pipeline.switch("new object", lambda known, _: committing.add_record(known, name, class_id))
        self._show_object()
        return annotation.object_id

    def select(self, object_id: int) -> None:
        """Go back to an object and its prompts; its mask can be changed again. The current one is committed first.

        The current one itself is opened again, if it is committed.

        Raises:
            InputError: for an object that is not there, or when the current one cannot be committed (`commit`).
        """
        annotation = self._wanted()
        record = annotation.table.find(object_id)
        if object_id == annotation.object_id and (record.is_locked or not record.is_committed):
            return

        def change(known: Annotation, step: Step) -> None:
            known.table = known.table.with_current(object_id)
            if not known.table.record.is_locked:
                committing.reopen(known, step)

        self._pipeline.switch("select", change)
        self._show_object()

    def commit(self) -> int:
        """Move the current object's mask to the committed ones, as `commit_policy` allows.

        The object's next prompt opens it again.

        Returns:
            Number of voxels that it has there.

        Raises:
            InputError: when there is no mask, or the policy or locked objects leave none of it.
        """
        count = self._pipeline.commit()
        self.events.changed.emit()
        return count

    def delete_object(self) -> None:
        """Remove the current object with its prompts and masks.

        Over time, those of the shown time point; the object stays in the list while it has some at others.

        Raises:
            InputError: for a locked object.
        """
        annotation = self._wanted()
        annotation.check_unlocked()
        self._pipeline.cancel()
        name, num_others = annotation.table.record.name, annotation.num_others_with(annotation.object_id)
        if annotation.has(annotation.object_id) or annotation.user_planes or not num_others:
            committing.delete(annotation, annotation.begin("delete"))
            annotation.share()
        self._show_object()
        if num_others:
            show_info(f"{name!r} is still at {num_others} other time point{'s' * (num_others > 1)}")

    def change_object(self, object_id: int, **fields: Any) -> None:
        """Change `name`, `class_id`, `is_locked` or `is_visible`. To lock the object that is being edited commits it.

        Raises:
            InputError: for an object that is not there, another field, an empty name, or when it cannot be committed.
        """
        annotation = self._wanted()
        record = annotation.table.find(object_id)
        if set(fields) - {"name", "class_id", "is_locked", "is_visible"}:
            raise InputError(f"an object has name, class_id, is_locked, is_visible to set, got {fields}")
        for name in fields.keys() & {"is_locked", "is_visible"}:
            fields[name] = yes_or_no(fields[name], name)
        replace(record, **fields)  # what makes no sense is said before anything is done
        if fields.get("class_id") in annotation.table.locked_classes and any(
            known.table.find(object_id).is_committed for known in annotation.times
        ):
            fields["is_locked"] = True
        with annotation.step("change object") as step:
            if fields.get("is_locked") and annotation.is_edited(object_id) and annotation.num_open_voxels:
                annotation.edited.look_everywhere()
                committing.commit(annotation, step)
            record = annotation.table.find(object_id)
            annotation.table = annotation.table.with_record(replace(record, **fields))
        if annotation.object_layer is not None:
            self._show_colours()
            self._layers.refresh()
        self.events.changed.emit()

    def add_labels(self, label_map: ArrayLike, names: Mapping[int, str] | None = None) -> tuple[int, ...]:
        """Take labels that were made before, here or elsewhere: each becomes a committed object. A step to undo.

        Where other objects are already, these stay.

        Args:
            label_map: integers of the image's shape (of volumes over time, of one volume: the shown time point's).
            names: by label; others are called "object 3".

        Returns:
            Ids of the new objects: their labels.

        Raises:
            InputError: for another shape, numbers that are no labels, or a label that is an object already.
        """
        annotation, volume = self._wanted(), self._labels_wanted(label_map)
        if not isinstance(names, (Mapping, NoneType)):
            raise InputError(f"wanted names by label, got {names!r}")
        self._pipeline.propagations.interrupt()
        self._layers.make_missing()
        annotation.edited.look_everywhere()
        with annotation.step("add labels") as step:
            added = add_labels(annotation, step, volume, names or {})
        self._show_object()
        return added

    def begin_with(
        self,
        label_map: ArrayLike,
        objects: Iterable[ObjectRecord] = (),
        locked_classes: frozenset[int] = frozenset(),
    ) -> None:
        """Take labels as `add_labels` does, with what is known of their objects, and begin there: not a step to undo.

        Nothing that was done on the image before can be taken back then, and it is nobody's effort.

        Args:
            label_map: as of `add_labels`.
            objects: of them `name`, `class_id` and `is_locked` count; those without a label are empty objects.
            locked_classes: as `lock_class` has them.

        Raises:
            InputError: as `add_labels`.
        """
        annotation, volume = self._wanted(), self._labels_wanted(label_map)
        self._pipeline.propagations.interrupt()
        self._layers.make_missing()
        annotation.edited.look_everywhere()
        add_labels(annotation, Step("begin", annotation.object_id), volume, {})
        committing.describe(annotation, objects, locked_classes)
        annotation.history.clear()
        annotation.share()
        self._show_object()

    def _labels_wanted(self, label_map: ArrayLike) -> NDArray[Any]:
        """Labels of the image's shape as (z, y, x), not a copy; `InputError` for anything else."""
        annotation = self._wanted()
        labels = number_array(label_map, "a label map")
        if labels.dtype.kind not in "iub" or labels.shape not in (
            annotation.shape_zyx,
            annotation.shape_zyx[1:],
        ):
            raise InputError(
                f"wanted integer labels of shape {annotation.shape_zyx}, got {labels.dtype} of shape {labels.shape}"
            )
        if labels.ndim == 2 and annotation.shape_zyx[0] != 1:
            raise InputError(
                f"wanted labels of shape {annotation.shape_zyx}, got one slice of {labels.shape}"
            )
        return labels.reshape(annotation.shape_zyx)
