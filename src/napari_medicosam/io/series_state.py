"""What is remembered of a series of images: one small JSON file, so that work goes on after a kill.

It holds file names without folders, digests and array shapes; no paths, no pixels, nothing of a file's header.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_medicosam.errors import FileError
from napari_medicosam.io.replacing import replace_file

if TYPE_CHECKING:
    from pathlib import Path

VERSION: Final = 1
_MAX_BYTES = 64 << 20
_DIGEST_BYTES = 64 << 10


class ItemRecord(BaseModel):
    """What is remembered of one image.

    Attributes:
        finished: whether the annotator said so.
        image: digest of the image that was labelled.
        labels: digest of the label file when it was finished, "" before.
        shape_zyx: the image's shape when it was finished.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    finished: bool
    image: str
    labels: str = ""
    shape_zyx: tuple[int, int, int] | None = None


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    items: dict[str, ItemRecord] = Field(default_factory=dict)


def read_state(path: Path) -> dict[str, ItemRecord]:
    """Records by image name; empty when there is no file.

    Raises:
        FileError: for a file that is damaged or of another version. It is never replaced.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES >> 20} MB")
        return _State.model_validate_json(data).items
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


def update_state(path: Path, name: str, record: ItemRecord) -> dict[str, ItemRecord]:
    """Write the record of one image and return all: what another process wrote meanwhile is kept.

    Raises:
        FileError: as `read_state`; when the file cannot be written.
    """
    records = {**read_state(path), name: record}
    text = _State(version=VERSION, items=records).model_dump_json(indent=1) + "\n"

    def verify(temporary: Path) -> None:
        read_state(temporary)

    replace_file(
        path, ".json", lambda temporary: _write(temporary, text.encode("utf-8")), verify, overwrite=True
    )
    return records


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
