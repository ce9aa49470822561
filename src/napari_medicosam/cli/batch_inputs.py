"""Which images a batch is about, and what is asked of each: from arguments, folders and lists of images."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_medicosam.cli.prompt_arguments import first_problem
from napari_medicosam.errors import FileError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MAX_LOOKED_AT = 200


class ListedImage(BaseModel):
    """One row of a list of images. Paths of images and prompts are looked for from the folder of the list on.

    Attributes:
        image: as the command takes it alone.
        name: by which it is called, and after which its labels are; by default the image's file name.
        prompts: JSON with objects, as `--prompts` takes it.
        points, boxes: as `--point` and `--box` take them.
        output: label map, from the folder of results on.
    """

    model_config = ConfigDict(extra="forbid")

    image: str = Field(min_length=1)
    name: str = ""
    prompts: str = ""
    points: list[str] = []
    boxes: list[str] = []
    output: str = ""


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One image of a batch.

    Attributes:
        image: absolute path, or an address.
        name: a relative path that no other item has.
        listed: what its row says; of an image without one, nothing but the image.
        listed_in: the list; None without.
    """

    image: Path
    name: str
    listed: ListedImage = field(repr=False)
    listed_in: Path | None = None


def items_of(images: Sequence[Path]) -> list[BatchItem]:
    """The images that are given, and those in and below the folders that are given.

    Of a folder that is an image (a DICOM series, OME-Zarr) there is one; of other folders all in natural order, without
    label files and masks beside an image. The name of an image is its path in the folder that was given.

    Raises:
        FileError: for a folder that holds no image or cannot be read.
        InputError: for two images with one name.
    """
    found: list[BatchItem] = []
    for path in images:
        inside = [path] if not path.is_dir() or _is_image(path) else list(_images_below(path))
        if not inside:
            raise FileError(f"{path} holds no image: wanted at least one, in it or below")
        for image in inside:
            name = image.relative_to(path).as_posix() if image != path else image.name
            found.append(BatchItem(_absolute(image), name, ListedImage(image=str(image))))
    _check_names(found)
    return found


def read_batch_list(path: Path) -> list[BatchItem]:
    """The rows of a list: CSV with a header, points and boxes separated by blanks, or JSON with a list of records.

    Raises:
        FileError: when it cannot be read.
        InputError: for rows of a wrong form, none at all, or two images with one name.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        records = list(_csv_records(text)) if path.suffix.lower() == ".csv" else json.loads(text)
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise FileError(f"cannot read the list of images {path}: {error}") from error
    if not isinstance(records, list) or not records:
        raise InputError(f"{path} lists no image: wanted CSV with a header, or a JSON list of records")
    found = []
    for number, record in enumerate(records, start=1):
        try:
            listed = ListedImage.model_validate(record)
        except ValidationError as error:
            raise InputError(f"{path}, image {number}: {first_problem(error)}") from error
        image = _absolute(Path(listed.image), path.parent)
        name = listed.name or image.name
        _check_inside(name, f"{path}, image {number}: name")
        if listed.output:
            _check_inside(listed.output, f"{path}, image {number}: output")
        found.append(BatchItem(image, name, listed, path))
    _check_names(found)
    return found


def _csv_records(text: str) -> Iterator[dict[str, object]]:
    for row in csv.DictReader(text.splitlines(), strict=True):
        if None in row or None in row.values():
            raise ValueError(
                f"a row has another number of fields than the header: {next(iter(row.values()))}"
            )
        record: dict[str, object] = {key.strip(): value.strip() for key, value in row.items()}
        for key in ("points", "boxes"):
            if key in record:
                record[key] = str(record[key]).split()
        yield record


def _images_below(folder: Path) -> Iterator[Path]:
    from napari_medicosam.io.series_files import images_in

    for root, folders, _ in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        whole = [name for name in folders if _is_image(here / name)]
        folders[:] = [name for name in folders if name not in whole]
        yield from images_in(here, "*", [])
        yield from (here / name for name in whole)


def _is_image(folder: Path) -> bool:
    """Whether a folder is one image: an OME-Zarr, or files of a DICOM series lie in it."""
    from napari_medicosam.io.dicom_files import is_dicom_file
    from napari_medicosam.io.ome_zarr_paths import is_ome_zarr

    return is_ome_zarr(folder) or any(
        is_dicom_file(path) for path in islice(folder.iterdir(), _MAX_LOOKED_AT)
    )


def _absolute(path: Path, start: Path | None = None) -> Path:
    """Workers are started elsewhere. An address stays as it is."""
    from napari_medicosam.io.ome_zarr_paths import Address, is_ome_zarr

    if is_ome_zarr(path) and isinstance(Address.parse(path).root, str):
        return path
    return ((start or Path()) / path).absolute()


def _check_inside(name: str, where: str) -> None:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise InputError(f"{where} {name!r}: wanted a path inside the folder of results, without ..")


def _check_names(items: Sequence[BatchItem]) -> None:
    """Also where a file system does not tell upper and lower case apart."""
    images: dict[str, Path] = {}
    for item in items:
        other = images.setdefault(item.name.casefold(), item.image)
        if other is not item.image:
            raise InputError(
                f"{other} and {item.image} would both be {item.name} in the results: give the folder that holds both, "
                "or names in a --batch list"
            )
