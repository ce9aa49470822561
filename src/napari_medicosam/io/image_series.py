"""Stepping through a folder of images: what is finished, what comes next, and all of it again after a kill.

Reading happens here (the ends of files, label files that changed), so call it off a GUI thread.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.series_files import STATE_NAME, SeriesItem, find_series
from napari_medicosam.io.series_state import (
    ItemRecord,
    SavedObjects,
    digest_of,
    read_state,
    update_open_image,
    update_state,
)
from napari_medicosam.io.volumes import read_labels, read_volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from napari_medicosam.core.label_classes import LabelClasses
    from napari_medicosam.io.data_report import Skipped

__all__ = ["STATE_NAME", "ImageSeries", "SeriesItem", "SeriesProgress", "Status"]

Status = Literal["todo", "started", "done"]
"""No label file yet; a label file to go on from; a label file that is finished, sound and of the image's size."""


@dataclass(frozen=True, slots=True)
class SeriesProgress:
    """How many images are done, started and untouched."""

    done: int
    started: int
    todo: int

    @property
    def total(self) -> int:
        """All images."""
        return self.done + self.started + self.todo

    def __str__(self) -> str:
        return f"{self.done} of {self.total} done" + (f", {self.started} started" if self.started else "")


class ImageSeries:
    """The images of a folder, 2D or 3D, with the label file of each.

    Labels of "a.png" are saved to `output` as "a_labels.png", those of volumes in the image's own format (.nii as
    .nii.gz). Whoever saves them calls `mark_started` before the first save of an image, and `mark_done` when the
    annotator says so.

    Args:
        folder: the images; its folders are not looked into. Hidden files, other files, label files ("_labels") and
            masks beside their image are left out, see `skipped`.
        output: where labels and the state file go, made when its parent is there; `folder` itself by default.
        initial_masks: a folder of masks to start from, each with its image's name, also with _labels, _label, _mask,
            _masks or _seg behind it, and without nnU-Net's channel number.
        pattern: which names count, such as "*_ct.nii.gz"; upper and lower case are the same.

    Attributes:
        items: in natural order of their names.
        skipped: what else lies in the folder, and why it is not used.

    Raises:
        FileError: for a folder that is none or holds no image; two images whose labels would be one file; a damaged
            state file; an image that is another one than its label file was made on.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        output: str | PathLike[str] | None = None,
        initial_masks: str | PathLike[str] | None = None,
        pattern: str = "*",
    ) -> None:
        self.folder = Path(folder)
        self.output = self.folder if output is None else Path(output)
        masks_folder = None if initial_masks is None else Path(initial_masks)
        found = find_series(self.folder, self.output, masks_folder, pattern)
        self.items: tuple[SeriesItem, ...] = found.items
        self.skipped: tuple[Skipped, ...] = found.skipped
        if not self.items:
            why = self._skipped_text() if self.skipped else "it is empty"
            raise FileError(f"{self.folder} holds no image for this series, wanted at least one: {why}")
        _make_folder(self.output)
        self._places = {item.name: place for place, item in enumerate(self.items)}
        self._state_path = self.output / STATE_NAME
        self._state = read_state(self._state_path)
        self._digests: dict[Path, tuple[tuple[int, int], str]] = {}
        self._sound: dict[tuple[Path, str], bool] = {}
        for item in self.items:
            self._check_same_image(item)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[SeriesItem]:
        return iter(self.items)

    def status(self, item: SeriesItem) -> Status:
        """How far this image is; see `Status`.

        A label file that changed after it was finished is read again, and counts as started when it cannot be read
        or has another size.
        """
        self._place_of(item)
        if not item.label_path.is_file():
            return "todo"
        record = self._state.items.get(item.name)
        if record is None or not record.finished:
            return "started"
        digest = self._digest(item.label_path)
        if digest != record.labels and not self._is_sound(item.label_path, digest, record):
            return "started"
        return "done"

    def next_todo(self, after: SeriesItem | None = None) -> SeriesItem | None:
        """The first image behind `after` that is not done, then from the beginning on, `after` itself last.

        Images that were removed meanwhile are passed over. None when all are done.
        """
        start = 0 if after is None else self._place_of(after) + 1
        for item in self.items[start:] + self.items[:start]:
            if item.image_path.is_file() and self.status(item) != "done":
                return item
        return None

    def previous(self, item: SeriesItem) -> SeriesItem | None:
        """The image before this one, done or not; None before the first."""
        place = self._place_of(item)
        return self.items[place - 1] if place else None

    def following(self, item: SeriesItem) -> SeriesItem | None:
        """The image behind this one, done or not; None behind the last."""
        place = self._place_of(item) + 1
        return self.items[place] if place < len(self.items) else None

    @property
    def left_open(self) -> SeriesItem | None:
        """The image that somebody worked on when the program was killed, or works on now; None when all were left."""
        place = self._places.get(self._state.open_image or "")
        return None if place is None else self.items[place]

    def mark_open(self, item: SeriesItem | None) -> None:
        """Remember which image is being worked on; None: none any more.

        Raises:
            FileError: when the state file cannot be read or written.
        """
        name = None if item is None else item.name
        if item is not None:
            self._place_of(item)
        if name != self._state.open_image:
            self._state = update_open_image(self._state_path, name)

    @property
    def classes(self) -> LabelClasses:
        """Classes that objects of the images may have, as they were saved last."""
        return self._state.classes

    def objects_of(self, item: SeriesItem) -> SavedObjects:
        """Names, classes and locks of an image's objects, as they were saved last."""
        self._place_of(item)
        record = self._state.items.get(item.name)
        return SavedObjects() if record is None or record.objects is None else record.objects

    def mark_started(
        self, item: SeriesItem, objects: SavedObjects | None = None, classes: LabelClasses | None = None
    ) -> None:
        """Say that labels of this image are being saved; one that was done is open again.

        The image is remembered, so that labels are never laid over those of another image of the same name.

        Args:
            item: which image.
            objects: what its label file cannot say; None: what was remembered.
            classes: that objects of all images may have; None: what was remembered.

        Raises:
            FileError: when the image or the state file cannot be read or written.
        """
        self._place_of(item)
        record = ItemRecord(finished=False, image=digest_of(item.image_path), objects=objects)
        self._remember(item, record, classes)

    def mark_done(self, item: SeriesItem, shape_zyx: tuple[int, int, int] | None = None) -> None:
        """Say that this image is finished; what is remembered of its objects stays.

        Args:
            item: its label file must be there.
            shape_zyx: the image's shape, when it is known; without it the image is read.

        Raises:
            FileError: for a label file that is missing, cannot be read or has another shape than the image.
        """
        self._place_of(item)
        if not item.label_path.is_file():
            raise FileError(f"{item.label_path} does not exist: save the labels of {item.name} first")
        found = read_labels(item.label_path).geometry.shape_zyx
        wanted = shape_zyx or read_volume(item.image_path).geometry.shape_zyx
        if found != tuple(wanted):
            raise FileError(
                f"{item.label_path} has another size than {item.name}: got shape (z, y, x) = {found}, wanted {wanted}"
            )
        record = ItemRecord(
            finished=True,
            image=digest_of(item.image_path),
            labels=digest_of(item.label_path),
            shape_zyx=found,
        )
        self._remember(item, record)

    def progress(self) -> SeriesProgress:
        """How many images are done, started and untouched."""
        counts = Counter(self.status(item) for item in self.items)
        return SeriesProgress(counts["done"], counts["started"], counts["todo"])

    def report(self) -> str:
        """One line: how many images there are, with initial masks, and what was left out and why."""
        num_initial = sum(item.initial_path is not None for item in self.items)
        parts = [f"{len(self.items)} images"]
        if num_initial:
            parts.append(f"{num_initial} with an initial mask")
        return ", ".join(parts) + (f"; {self._skipped_text()}" if self.skipped else "")

    def _skipped_text(self) -> str:
        counts = Counter(item.reason.split(":")[0] for item in self.skipped)
        return "not used: " + ", ".join(f"{count} x {reason}" for reason, count in counts.items())

    def _place_of(self, item: SeriesItem) -> int:
        place = self._places.get(item.name)
        if place is None or self.items[place] != item:
            raise InputError(
                f"{item.name} is no image of this series of {self.folder}: wanted one of its items"
            )
        return place

    def _remember(self, item: SeriesItem, record: ItemRecord, classes: LabelClasses | None = None) -> None:
        known = self._state.items.get(item.name)
        if record.objects is None and known is not None:
            known = known.model_copy(update={"objects": None})
        if record != known or classes not in (None, self._state.classes):
            self._state = update_state(self._state_path, item.name, record, classes)

    def _check_same_image(self, item: SeriesItem) -> None:
        """Refuse an output folder that holds the labels of another image with the same name."""
        record = self._state.items.get(item.name)
        if record is None or not item.label_path.is_file() or self._digest(item.image_path) == record.image:
            return
        raise FileError(
            f"{item.label_path} was made on another image than {item.image_path}, which has the same name: wanted an "
            f"output folder of its own for every folder of images. If the image was replaced on purpose, move its "
            f"label file away"
        )

    def _digest(self, path: Path) -> str:
        """`digest_of`, once for every version of a file."""
        try:
            state = path.stat()
        except OSError as error:
            raise FileError(f"cannot read {path}: {error.strerror or error}") from error
        stamp = (state.st_size, state.st_mtime_ns)
        if path not in self._digests or self._digests[path][0] != stamp:
            self._digests[path] = (stamp, digest_of(path))
        return self._digests[path][1]

    def _is_sound(self, label_path: Path, digest: str, record: ItemRecord) -> bool:
        """Whether a label file can be read and has the image's size; each version is read once."""
        version = (label_path, digest)
        if version not in self._sound:
            try:
                self._sound[version] = read_labels(label_path).geometry.shape_zyx == record.shape_zyx
            except FileError:
                self._sound[version] = False
        return self._sound[version]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot make the folder {folder} for the labels: {error.strerror or error}, wanted a folder, or a name "
            f"for one in a folder that exists"
        ) from error
