"""What goes between the files of an image series and its image on show, as values. Knows neither Qt nor napari."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_medicosam.core.label_classes import LabelClasses
from napari_medicosam.io.records import METADATA_KEY
from napari_medicosam.io.series_state import SavedObjects

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.io.image_series import SeriesItem, Status
    from napari_medicosam.io.records import VolumeRecord
    from napari_medicosam.ui.series_work import SeriesFiles

Stamp = tuple[int, int]
"""Size and time of a file: another one means that somebody wrote it."""


@dataclass(frozen=True, slots=True)
class FolderChoice:
    """Which folder, and how: the arguments of `ImageSeries`."""

    folder: Path
    output: Path | None = None
    initial_masks: Path | None = None
    pattern: str = "*"


@dataclass(frozen=True, slots=True, eq=False)
class KnownLabels:
    """What needs no saving: labels that were read or saved last (None: none), their file as it was then, and names,
    classes and locks of their objects.
    """  # noqa: D205

    labels: NDArray[Any] | None = None
    stamp: Stamp | None = None
    objects: SavedObjects = field(default_factory=SavedObjects)


@dataclass(frozen=True, slots=True, eq=False)
class OpenedImage:
    """An image that was read, with the labels to go on from.

    Attributes:
        item: which one.
        array: (y, x[, 3]) or (z, y, x[, 3]).
        arguments: of napari's image layer.
        status: how far it was.
        known: its saved labels or its initial mask, of the array's shape without colour.
        complaints: what could not be used.
    """

    item: SeriesItem
    array: NDArray[Any]
    arguments: dict[str, Any]
    status: Status
    known: KnownLabels
    complaints: tuple[str, ...] = ()

    @property
    def record(self) -> VolumeRecord:
        """What labels need of the image's file."""
        record: VolumeRecord = self.arguments["metadata"][METADATA_KEY]["record"]
        return record


@dataclass(frozen=True, slots=True, eq=False)
class LabelWork:
    """The labels of one image as they are now, for the worker to save if they are new.

    Attributes:
        item: which image.
        record: its geometry.
        known: what needs no saving.
        label_map: (y, x) or (z, y, x); None when there is no labels layer.
        finished: the annotator says that it is (True) or is not (False); None leaves that open.
        objects: names, classes and locks.
        classes: that the session knows.
    """

    item: SeriesItem
    record: VolumeRecord
    known: KnownLabels
    label_map: NDArray[Any] | None
    finished: bool | None = None
    objects: SavedObjects = field(default_factory=SavedObjects)
    classes: LabelClasses = field(default_factory=LabelClasses)


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """What came of a `LabelWork`.

    Attributes:
        work: what was asked.
        status: how far the image is.
        known: what needs no saving now.
        is_written: whether a file was.
        is_empty: the image was marked as done, and nothing is on it.
    """

    work: LabelWork
    status: Status
    known: KnownLabels
    is_written: bool
    is_empty: bool


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found to go on with.

    Attributes:
        files: of its series.
        opened: the image to show next; None when there is none.
        unreadable: why images were passed over.
        statuses: how far all images are, where that was asked.
        following: which image will be wanted after it, as it seems.
        remark: what to say about it.
        stays: the image that is open stays as it is; only the folder was listed again.
    """

    files: SeriesFiles
    opened: OpenedImage | None
    unreadable: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, Status] = field(default_factory=dict)
    following: SeriesItem | None = None
    remark: str = ""
    stays: bool = False


def joined_classes(session: LabelClasses, series: LabelClasses) -> LabelClasses:
    """The session's classes, and the series's others behind them; where they contradict each other, the series's alone.

    Objects that were saved keep their classes: no id may come to mean something else.
    """
    if any(one.class_id in series and series.by_id(one.class_id).name != one.name for one in session):
        return series
    return LabelClasses((*session, *(one for one in series if one.class_id not in session)))


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What came of a task: what was saved, what failed, what to show."""

    saved: tuple[Saved, ...] = ()
    failure: str = ""
    found: Found | None = None
