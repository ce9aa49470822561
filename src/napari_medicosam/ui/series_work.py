"""The files of an image series as the worker thread sees them: listed, read, saved. Knows neither Qt nor napari."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import FileError, MedicoSamError
from napari_medicosam.io.image_series import ImageSeries
from napari_medicosam.io.reader import read_layers
from napari_medicosam.io.series_state import SavedObjects
from napari_medicosam.io.volumes import read_labels, write_labels
from napari_medicosam.ui.failure_log import log_failure
from napari_medicosam.ui.series_ahead import ReadAhead, ReadImage
from napari_medicosam.ui.series_records import Found, KnownLabels, OpenedImage, Saved, Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.io.image_series import SeriesItem, Status
    from napari_medicosam.io.records import VolumeRecord
    from napari_medicosam.ui.runner import Report
    from napari_medicosam.ui.series_records import FolderChoice, LabelWork, Stamp


class SeriesFiles:
    """One series. Its methods read and write files: for the worker thread, `save`, `read_ahead`, `close` for any one.

    Args:
        series: only this object calls it.
        choice: what it was made from.

    Attributes:
        choice: what it was made from.
        items: all images.
        report: what was found in the folder.
        classes: label classes that were saved with the objects, as they were when the folder was opened.
    """

    def __init__(self, series: ImageSeries, choice: FolderChoice) -> None:
        self._series = series
        self._lock = threading.Lock()
        self._written: dict[str, Stamp | None] = {}
        self._ahead = ReadAhead()
        self.choice = choice
        self.items = series.items
        self.report = series.report()
        self.classes = series.classes

    @classmethod
    def resume(
        cls, choice: FolderChoice, report: Report, *, skip_done: bool, stay_at: SeriesItem | None = None
    ) -> Found:
        """List a folder and read the image to go on with, unless one that is open is still there to stay at.

        Raises as `ImageSeries`.
        """
        report(0, 0, f"Listing {choice.folder} …")
        files = cls(ImageSeries(choice.folder, choice.output, choice.initial_masks, choice.pattern), choice)
        statuses = files._statuses(report)
        if stay_at in files.items:
            following = files._following(stay_at, skip_done=skip_done)
            remark = f"This series is open already; listed again: {files.report}"
            return Found(files, None, statuses=statuses, following=following, remark=remark, stays=True)
        candidates = files._resumed(statuses, skip_done=skip_done)
        return replace(files.first_readable(candidates, report, skip_done=skip_done), statuses=statuses)

    def _statuses(self, report: Report) -> dict[str, Status]:
        """How far each image is, by name."""
        found: dict[str, Status] = {}
        for done, item in enumerate(self.items):
            report(done, len(self.items), f"Looking at {item.name} …")
            found[item.name] = self._status(item)
        return found

    def _resumed(self, statuses: dict[str, Status], *, skip_done: bool) -> Iterator[SeriesItem]:
        """What a kill left open, else where the last work was saved or what comes behind it; then what comes next."""
        left = self._series.left_open
        if left is not None and (statuses[left.name] != "done" or not skip_done):
            yield left
        last = max((item for item in self.items if item.label_path.is_file()), key=_time_of, default=None)
        if last is not None and (statuses[last.name] != "done" or (not skip_done and last == self.items[-1])):
            yield last
        yield from self.behind(last, skip_done=skip_done)

    def behind(self, item: SeriesItem | None, *, skip_done: bool) -> Iterator[SeriesItem]:
        """The images behind this one; without those that are done also, in the end, those before it."""
        start = 0 if item is None else self.items.index(item) + 1
        if not skip_done:
            yield from self.items[start:]
            return
        for other in self.items[start:] + self.items[:start]:
            if other != item and other.image_path.is_file() and self._status(other) != "done":
                yield other

    def before(self, item: SeriesItem) -> Iterator[SeriesItem]:
        """The images before this one, nearest first, done or not."""
        yield from reversed(self.items[: self.items.index(item)])

    def next_of(self, item: SeriesItem | None, report: Report, *, skip_done: bool) -> Found:
        """The first image behind this one that can be read; where it begins anew for that, it says so."""
        found = self.first_readable(self.behind(item, skip_done=skip_done), report, skip_done=skip_done)
        if item is None or found.opened is None:
            return found
        place = self.items.index(found.opened.item)
        if place > self.items.index(item):
            return found
        return replace(
            found,
            remark=f"That was the last one; back to the first image that is not done: {place + 1} of {len(self.items)}",
        )

    def first_readable(self, candidates: Iterable[SeriesItem], report: Report, *, skip_done: bool) -> Found:
        """The first of these images that can be read; the others are passed over."""
        unreadable: dict[str, str] = {}
        for item in candidates:
            report(0, 0, f"Opening {item.name} …")
            try:
                opened = self.read(item)
            except (
                Exception
            ) as error:  # one bad image, whatever is bad about it, is not the end of the series
                unreadable[item.name] = reason_of(error)
                continue
            self._mark_open(item)
            return Found(self, opened, unreadable, following=self._following(item, skip_done=skip_done))
        return Found(self, None, unreadable)

    def _following(self, item: SeriesItem, *, skip_done: bool) -> SeriesItem | None:
        with suppress(FileError):  # nobody has asked for that image yet
            return next(self.behind(item, skip_done=skip_done), None)
        return None

    def read_ahead(self, item: SeriesItem | None) -> None:
        """Read an image that may be wanted next, beside the worker; None: let go of the one that was read."""
        if item is None:
            self._ahead.drop()
        else:
            self._ahead.begin(item, self._read_as_it_is)

    def close(self) -> None:
        """Read nothing ahead any more."""
        self._ahead.close()

    def leave(self, following: SeriesFiles | None = None) -> None:
        """No image is being worked on any more, unless those that come now are of the same series."""
        if following is None or following._series.output.resolve() != self._series.output.resolve():
            self._mark_open(None)

    def _mark_open(self, item: SeriesItem | None) -> None:
        with (
            suppress(FileError),
            self._lock,
        ):  # a folder that cannot be written is told of when there is work to save
            self._series.mark_open(item)

    def read(self, item: SeriesItem) -> OpenedImage:
        """An image with its saved labels, else with its initial mask; read ahead, unless its files changed since.

        Raises:
            FileError: when the image cannot be read, or labels that were saved cannot: they are not to be replaced.
        """
        read = self._ahead.take(item)
        if read is None or read.stamps != _stamps_of(item):
            read = self._read_as_it_is(item)
        with self._lock:
            status = self._series.status(item)
            objects = SavedObjects() if status == "todo" else self._series.objects_of(item)
        return replace(read.opened, status=status, known=replace(read.opened.known, objects=objects))

    def _read_as_it_is(self, item: SeriesItem) -> ReadImage:
        stamps = _stamps_of(item)
        return ReadImage(self._read_files(item), stamps)

    def _read_files(self, item: SeriesItem) -> OpenedImage:
        array, arguments, _ = read_layers(str(item.image_path))[0]  # an image, whatever its name sounds like
        image = OpenedImage(item, array, arguments, "todo", KnownLabels())
        if item.label_path.is_file():
            stamp = _stamp_of(item.label_path)
            try:
                labels = _labels_on(item.label_path, image.record)
            except FileError as error:
                raise FileError(
                    f"{error}. Repair {item.label_path.name}, or move it away to begin {item.name} anew"
                ) from error
            return replace(image, known=KnownLabels(labels, stamp))
        if item.initial_path is None:
            return image
        try:
            labels = _labels_on(item.initial_path, image.record)
        except FileError as error:
            return replace(image, complaints=(f"{error}. {item.name} begins without an initial mask",))
        return replace(image, known=KnownLabels(labels))

    def save(self, work: LabelWork) -> Saved:
        """Write labels if they are new, and remember what the annotator said. A written file was read back.

        Raises:
            MedicoSamError: when that cannot be done; an old label file is as it was then.
        """
        item, shape = work.item, work.record.geometry.shape_zyx
        with self._lock:
            label_map = work.label_map
            if label_map is None and work.finished and not item.label_path.is_file():
                label_map = np.zeros(shape, dtype=np.uint8)  # looked at, and nothing is there
            is_needed = label_map is not None and (
                _differs(label_map, work.known.labels)
                or ((work.finished or work.known.stamp is not None) and not item.label_path.is_file())
            )
            known = work.known
            if is_needed:
                self._check_untouched(work)
            if is_needed or (work.objects != known.objects and item.label_path.is_file()):
                self._series.mark_started(item, work.objects, work.classes)
                known = replace(known, objects=work.objects)
            if is_needed and label_map is not None:
                write_labels(item.label_path, label_map.reshape(shape), work.record, overwrite=True)
                self._written[item.name] = _stamp_of(item.label_path)
                known = replace(known, labels=work.label_map, stamp=self._written[item.name])
            if work.finished:
                self._series.mark_done(item, shape)
            elif work.finished is False:
                self._series.mark_started(item)
            is_empty = bool(work.finished) and (known.labels is None or not known.labels.any())
            return Saved(work, self._series.status(item), known, bool(is_needed), is_empty)

    def save_all(self, works: Iterable[LabelWork | None]) -> Turn:
        """Save one after another; where one fails, the others are saved all the same."""
        saved: list[Saved] = []
        failures: list[str] = []
        for work in works:
            if work is None:
                continue
            try:
                saved.append(self.save(work))
            except Exception as error:
                failures.append(f"The labels of {work.item.name} could not be saved: {reason_of(error)}")
        return Turn(tuple(saved), ". ".join(failures))

    def _status(self, item: SeriesItem) -> Status:
        with self._lock:
            return self._series.status(item)

    def _check_untouched(self, work: LabelWork) -> None:
        """Labels of somebody else are not replaced."""
        path = work.item.label_path
        stamp = _stamp_of(path)
        if stamp is not None and stamp not in (work.known.stamp, self._written.get(work.item.name)):
            raise FileError(
                f"{path} was written by another program while {work.item.name} was open here, and is left as it is. "
                "Move it away, then save again"
            )


def reason_of(error: Exception) -> str:
    """What to tell the user; what is not an error of ours goes to the log as well."""
    if isinstance(error, MedicoSamError):
        return str(error)
    log_failure("a file of an image series could not be used", error)
    return f"{type(error).__name__}: {error} (details in the log)"


def _labels_on(path: Path, record: VolumeRecord) -> NDArray[Any]:
    """A label map of an image's array shape.

    Raises:
        FileError: for a file that cannot be read, negative labels, another size, or another place in space.
    """
    read = read_labels(path)
    shape = record.geometry.shape_zyx
    if read.array.shape != shape:
        raise FileError(
            f"{path} has another size than its image: got shape (z, y, x) = {read.array.shape}, wanted {shape}"
        )
    if read.array.min() < 0:
        raise FileError(f"{path} holds negative labels, wanted 0 and above: got {read.array.min()}")
    is_placed = read.record.is_oriented and record.is_oriented
    if is_placed and not read.geometry.equals(record.geometry, 0.5 * min(record.geometry.spacing_zyx)):
        raise FileError(
            f"{path} lies elsewhere in space than its image: wanted a mask on the image's grid, resample it"
        )
    return np.asarray(read.array[0] if record.is_2d else read.array)


def _differs(label_map: NDArray[Any], known: NDArray[Any] | None) -> bool:
    return bool(label_map.any()) if known is None else not np.array_equal(label_map, known)


def _stamps_of(item: SeriesItem) -> tuple[Stamp | None, ...]:
    """Of all files that an image is read from."""
    paths = (item.image_path, item.label_path, item.initial_path)
    return tuple(None if path is None else _stamp_of(path) for path in paths)


def _stamp_of(path: Path) -> Stamp | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _time_of(item: SeriesItem) -> int:
    return (_stamp_of(item.label_path) or (0, 0))[1]
