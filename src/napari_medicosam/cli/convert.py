"""`medicosam convert`: an image or a label map from one format to another, on the very same grid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medicosam.cli import options
from napari_medicosam.cli.console import notes
from napari_medicosam.cli.job import is_same_file
from napari_medicosam.errors import FileError


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Whatever `medicosam segment` takes.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; its ending says the format.")],
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--image",
            help="What IN is. Default: labels when its name has label, seg or mask as a word and it holds whole "
            "numbers, or when it is a DICOM segmentation; else an image.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write IN in the format of OUT: the same voxels at the same places.

    Of headers only the grid is kept: no name, date or description.

        medicosam convert ct.nii.gz ct.nrrd
    """
    from napari_medicosam.io.image_writing import write_volume
    from napari_medicosam.io.reader import read_image_or_labels
    from napari_medicosam.io.volumes import read_labels, read_volume, write_labels

    if is_same_file(source, target):
        raise FileError(f"{target} is the file that is read: wanted another name for OUT")
    if labels is None:
        volume, kind = read_image_or_labels(str(source))
    else:
        volume, kind = (read_labels(source), "labels") if labels else (read_volume(source), "image")
    if kind == "labels":
        write_labels(target, volume.array, volume, overwrite=overwrite)
    else:
        write_volume(target, volume, overwrite=overwrite)
    notes.print(f"wrote {target}: {kind}, shape {volume.geometry.shape_zyx}", markup=False)
