"""Files read and written on the worker: classes, labels and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medicosam.core.measurements import measure_label_map, measurements_table
from napari_medicosam.errors import FileError
from napari_medicosam.io.measurements_csv import write_measurements_csv

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.io.label_class_files import LabelClassFile


def read_classes(path: Path) -> LabelClassFile:
    """Label classes of a file."""
    from napari_medicosam.io.label_class_files import read_label_classes

    return read_label_classes(path)


def save_measurements(
    path: Path,
    label_map: NDArray[Any],
    image: NDArray[Any] | None,
    spacing_zyx: tuple[float, float, float],
    names: tuple[dict[int, str], dict[int, str]],
) -> str:
    """Measure all objects of a label map and write a table; an existing file is replaced. Returns the path.

    Args:
        path: of a CSV file.
        label_map: (z, y, x).
        image: the same shape, or None for colour.
        spacing_zyx: in mm.
        names: of objects, and of their classes, by object id.
    """
    found = measure_label_map(label_map, spacing_zyx, image)
    write_measurements_csv(path, measurements_table(found, *names), overwrite=True)
    return str(path)


def save_table(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write a table as CSV; an existing file is replaced. Returns the path."""
    write_measurements_csv(path, rows, overwrite=True)
    return str(path)


def save_labels(path: Path, labels: NDArray[Any], layer_meta: dict[str, Any], names: dict[int, str]) -> str:
    """Write labels, and what they are called, through the plugin's writer; an existing file is replaced.

    Returns the path.

    Volumes over time are one file where the format can hold them, and else a file each, NAME_t0.nrrd and so on; none of
    these may exist, as only NAME was asked about.
    """
    from napari_medicosam.io.volumes import holds_times
    from napari_medicosam.io.writer import write_labels_layer

    if labels.ndim < 4 or holds_times(path):
        return write_labels_layer(str(path), labels, layer_meta, names)[0]
    stem, dot, ending = path.name.partition(".")
    paths = [path.with_name(f"{stem}_t{time}{dot}{ending}") for time in range(len(labels))]
    old = [one.name for one in paths if one.exists()]
    if old:
        raise FileError(
            f"volumes over time are written to a file each here, but {', '.join(old)} exists: choose another name"
        )
    for one, volume in zip(paths, labels, strict=True):
        write_labels_layer(str(one), volume, layer_meta, names)
    return f"{paths[0]} … {paths[-1].name}"
