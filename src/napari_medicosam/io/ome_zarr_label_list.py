"""The group "labels" of an OME-Zarr image, which lists the names of its label maps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_medicosam.errors import FileError
from napari_medicosam.io.ome_zarr_metadata import parse_label_names
from napari_medicosam.io.replacing import replace_file

if TYPE_CHECKING:
    from pathlib import Path


class LabelList:
    """The list as a file: whatever else stands there is kept.

    Args:
        folder: of the group, IMAGE.zarr/labels; the group need not exist yet.
        zarr_format: 2 or 3, as the image's.
    """

    def __init__(self, folder: Path, zarr_format: int) -> None:
        self._is_v2 = zarr_format == 2
        self._folder = folder
        self._file = folder / (".zattrs" if self._is_v2 else "zarr.json")

    def read(self) -> tuple[str, ...]:
        """The names.

        Raises:
            FileError: for a damaged list.
        """
        return parse_label_names(str(self._folder), self._attributes(self._document()))

    def write(self, names: tuple[str, ...]) -> None:
        """Replace the names; the folder must exist.

        Raises:
            FileError: when that fails; the list is then as it was.
        """
        marker = self._folder / ".zgroup"
        if self._is_v2 and not marker.exists():
            _replace(marker, {"zarr_format": 2})
        document = self._document()
        attributes = self._attributes(document)
        ours = attributes if self._is_v2 else attributes.setdefault("ome", {"version": "0.5"})
        if not isinstance(ours, dict):
            raise FileError(f"{self._file} has an 'ome' that is no object: wanted one that lists labels")
        ours["labels"] = list(names)
        _replace(self._file, document)

    def _document(self) -> dict[str, Any]:
        if not self._file.exists():
            if self._is_v2:
                return {}
            return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5"}}}
        try:
            document = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FileError(f"cannot read {self._file}: {error}") from error
        if not isinstance(document, dict) or not isinstance(document.get("attributes", {}), dict):
            raise FileError(f"{self._file} describes no zarr group")
        return document

    def _attributes(self, document: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = document if self._is_v2 else document.setdefault("attributes", {})
        return found


def _replace(path: Path, document: dict[str, Any]) -> None:
    def write(beside: Path) -> None:
        beside.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def verify(beside: Path) -> None:
        if json.loads(beside.read_text(encoding="utf-8")) != document:
            raise FileError(f"cannot write {path}: read back, it is not what was written")

    replace_file(path, ".json", write, verify, overwrite=True)
