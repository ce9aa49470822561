"""The options of commands that take one image or thousands: which images, and where they are worked on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_medicosam.errors import InputError


def _option(*names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Many images", **more)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """One image, or many and how they are shared out."""

    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE...",
            help="NIfTI, NRRD, MHA, TIFF, PNG, JPEG, DICOM or OME-Zarr; 2D, RGB or 3D. Several, or folders with them.",
            show_default=False,
        ),
    ] = None
    batch: Annotated[
        Path | None,
        _option(
            "--batch",
            text="CSV or JSON that lists images, one a row: image, name, and for segment its prompts.",
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        _option(
            "--scheduler",
            text="tcp://HOST:PORT of a running Dask cluster. Default: processes on this machine.",
        ),
    ] = None
    workers: Annotated[
        int | None,
        _option(
            "--workers",
            min=0,
            text="How many processes on this machine; 0 works in this one. Default: what cores and memory allow.",
        ),
    ] = None
    threads: Annotated[
        int | None,
        _option(
            "--threads",
            min=1,
            text="Cores that one image is computed on. Default: all cores shared out among the processes here, 1 on a "
            "cluster.",
        ),
    ] = None
    retries: Annotated[
        int, _option("--retries", min=0, text="How often an image that failed is tried again.")
    ] = 1
    summary: Annotated[
        Path | None,
        _option(
            "--summary", text="CSV or JSON to write: what became of each image. An older one is replaced."
        ),
    ] = None

    @property
    def is_batch(self) -> bool:
        """Whether this is more than one image, or asks for what only a batch has.

        Raises:
            InputError: for no image at all, images and a list of images, or options that exclude each other.
        """
        if bool(self.images) == (self.batch is not None):
            raise InputError("got no image: wanted IMAGE..., or --batch FILE" if not self.images else
                             "got both IMAGE... and --batch FILE: wanted one of them")  # fmt: skip
        if self.scheduler is not None and self.workers is not None:
            raise InputError(
                "--workers starts processes here, --scheduler uses those of a cluster: wanted one of them"
            )
        if (
            self.batch
            or self.scheduler
            or self.summary
            or self.workers is not None
            or len(self.images or []) > 1
        ):
            return True
        return _is_folder_of_images(self.only_image)

    @property
    def only_image(self) -> Path:
        """The image when there is one."""
        return (self.images or [])[0]


def _is_folder_of_images(path: Path) -> bool:
    from napari_medicosam.io.dicom import is_dicom
    from napari_medicosam.io.ome_zarr_paths import is_ome_zarr

    return path.is_dir() and not is_ome_zarr(path) and not is_dicom(path)
