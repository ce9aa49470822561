"""What is remembered of a series of images: one small JSON file, so that work goes on after a kill.

It holds file names without folders, digests and array shapes, and what the annotator called objects and classes; no
paths, no pixels, nothing of a file's header.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_medicosam.core.label_classes import LabelClasses
from napari_medicosam.core.object_table import MAX_OBJECT_ID
from napari_medicosam.errors import FileError
from napari_medicosam.io.replacing import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

VERSION: Final = 1
_MAX_BYTES = 64 << 20
_DIGEST_BYTES = 64 << 10


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SavedObject(_Part):
    """What a label file cannot say of one of its objects.

    Attributes:
        object_id: its label, 1..65535.
        name: for people.
        class_id: None for none.
        is_locked: nothing changes it.
    """

    object_id: int = Field(ge=1, le=MAX_OBJECT_ID)
    name: str = Field(min_length=1)
    class_id: int | None = None
    is_locked: bool = False


class SavedObjects(_Part):
    """What a label file cannot say of its objects.

    Attributes:
        objects: by id, those of which there is something to say.
        locked_classes: ids of classes whose objects are locked as they are committed, in order.
    """

    objects: tuple[SavedObject, ...] = ()
    locked_classes: tuple[int, ...] = ()

    @property
    def class_ids(self) -> frozenset[int]:
        """Classes that are mentioned."""
        return frozenset(self.locked_classes) | {
            one.class_id for one in self.objects if one.class_id is not None
        }


class ItemRecord(_Part):
    """What is remembered of one image.

    Attributes:
        finished: whether the annotator said so.
        image: digest of the image that was labelled.
        labels: digest of the label file when it was finished, "" before.
        shape_zyx: the image's shape when it was finished.
        objects: what its label file cannot say; None where nobody has said anything.
    """

    finished: bool
    image: str
    labels: str = ""
    shape_zyx: tuple[int, int, int] | None = None
    objects: SavedObjects | None = None


class SeriesState(_Part):
    """What is remembered of a series.

    Attributes:
        version: of this form.
        classes: that objects of any of its images may have.
        items: by name of the image.
        open_image: name of the one that is being worked on; None once it was left in good order.
    """

    version: Literal[1]
    classes: LabelClasses = Field(default_factory=LabelClasses)
    items: dict[str, ItemRecord] = Field(default_factory=dict)
    open_image: str | None = None


def read_state(path: Path) -> SeriesState:
    """What is remembered; nothing when there is no file.

    Raises:
        FileError: for a file that is damaged or of another version. It is never replaced.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return SeriesState(version=VERSION)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES >> 20} MB")
        return SeriesState.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else str(first["msg"])
    except ValueError as error:
        reason = str(error)
    raise FileError(
        f"{path} is damaged or of another version of this program ({reason}): wanted what is finished, version "
        f"{VERSION}. Repair it, or move it away to begin with every image unfinished; label files stay as they are"
    )


def update_state(
    path: Path, name: str, record: ItemRecord, classes: LabelClasses | None = None
) -> SeriesState:
    """Write the record of one image and return all: what another process wrote meanwhile is kept.

    Args:
        path: of the state file.
        name: of the image.
        record: without `objects`, those that are remembered stay.
        classes: as they are now; of the old ones those stay that objects have. None: the old ones.

    Raises:
        FileError: as `read_state`; when the file cannot be written.
    """
    old = read_state(path)
    if record.objects is None and name in old.items:
        record = record.model_copy(update={"objects": old.items[name].objects})
    items = {**old.items, name: record}
    known = _kept(old.classes, classes, items.values())
    return _replace(path, old.model_copy(update={"classes": known, "items": items}))


def update_open_image(path: Path, name: str | None) -> SeriesState:
    """Write which image is being worked on, and return all. A file that would say nothing is not made, or removed.

    Raises:
        FileError: as `update_state`.
    """
    state = read_state(path).model_copy(update={"open_image": name})
    if state != SeriesState(version=VERSION):
        return _replace(path, state)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"cannot remove {path}: {error.strerror or error}") from error
    return state


def _replace(path: Path, state: SeriesState) -> SeriesState:
    text = state.model_dump_json(indent=1, exclude_defaults=True) + "\n"

    def verify(temporary: Path) -> None:
        read_state(temporary)

    replace_file(
        path, ".json", lambda temporary: _write(temporary, text.encode("utf-8")), verify, overwrite=True
    )
    return state


def _kept(old: LabelClasses, new: LabelClasses | None, records: Iterable[ItemRecord]) -> LabelClasses:
    """The new classes, and behind them the old ones that objects still have."""
    if new is None:
        return old
    ids = frozenset[int]().union(*(one.objects.class_ids for one in records if one.objects is not None))
    return LabelClasses((*new, *(one for one in old if one.class_id in ids and one.class_id not in new)))


def digest_of(path: Path) -> str:
    """A digest of a file's size, beginning and end: tells images apart wherever they are moved, and is quick."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            digest = hashlib.sha256(f"{size}\n".encode())
            digest.update(stream.read(_DIGEST_BYTES))
            stream.seek(max(size - _DIGEST_BYTES, 0))
            digest.update(stream.read(_DIGEST_BYTES))
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()[:32]


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
