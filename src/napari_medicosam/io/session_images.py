"""Images on disk, found by the digests that session files hold."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medicosam.core.image_digest import image_digest
from napari_medicosam.errors import MedicoSamError
from napari_medicosam.io.dicom import DICOM_SUFFIXES, find_dicom, times_of
from napari_medicosam.io.dicom_files import is_dicom_file
from napari_medicosam.io.ome_zarr import open_ome_zarr
from napari_medicosam.io.ome_zarr_paths import Address, is_ome_zarr
from napari_medicosam.io.session_files import ZIP_SUFFIX, is_session
from napari_medicosam.io.volumes import read_volume, suffix_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_medicosam.core.geometry import Geometry
    from napari_medicosam.core.session_state import ImageReference
    from napari_medicosam.io.dicom import FoundDicom
    from napari_medicosam.io.records import Volume

_MAYBE_DICOM = (None, *DICOM_SUFFIXES)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """An image on disk, as napari shows it: one layer.

    Attributes:
        path: the file; of DICOM and OME-Zarr the folder.
        volumes: what `read_volume` takes, one a time point.
    """

    path: Path
    volumes: tuple[Path, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FoundImage:
    """An image whose pixels are those of a session.

    Attributes:
        files: where it is.
        geometry: its grid.
    """

    files: ImageFiles
    geometry: Geometry


class ImageSearch:
    """Looks for the images of sessions until all are found.

    Attributes:
        found: images by digest.
        num_read: images that were compared.
        num_unreadable: files and folders that could not be read.
    """

    def __init__(self, wanted: Iterable[ImageReference]) -> None:
        self.found: dict[str, FoundImage] = {}
        self.num_read = self.num_unreadable = 0
        self._missing = {image.sha256: image for image in wanted}

    def look_at(self, path: Path) -> None:
        """Compare all images that a file or folder holds with those that are still missing."""
        try:
            images = images_at(path)
        except MedicoSamError:
            self.num_unreadable += 1
            return
        for files in images if self._missing else ():
            try:
                self._compare(files, [read_volume(volume) for volume in files.volumes])
                self.num_read += 1
            except MedicoSamError:
                self.num_unreadable += 1

    def look_below(self, folder: Path) -> None:
        """The same for all images in a folder and the folders below it."""
        for path in _image_paths(folder.absolute()):
            if not self._missing:
                return
            self.look_at(path)

    def _compare(self, files: ImageFiles, volumes: list[Volume]) -> None:
        shape_tzyx = (len(volumes), *volumes[0].geometry.shape_zyx)
        if not any(image.shape_tzyx == shape_tzyx for image in self._missing.values()):
            return
        digest = image_digest([volume.array for volume in volumes])
        if self._missing.pop(digest, None) is not None:
            self.found[digest] = FoundImage(files, volumes[0].geometry)


def images_at(path: Path) -> list[ImageFiles]:
    """All images that a file or folder holds: several in DICOM and in OME-Zarr. No pixel is read.

    Raises:
        FileError: for DICOM or OME-Zarr that cannot be read, and for what is none and has no known ending.
    """
    if is_ome_zarr(path):
        image = open_ome_zarr(Address.parse(path))
        times, channels = range(image.size("t")), range(image.size("c"))
        return [ImageFiles(path, tuple(Path(f"{path}#c={c},t={t}") for t in times)) for c in channels]
    if path.is_dir() or suffix_of(path) in _MAYBE_DICOM:
        return _dicom_images(path, find_dicom([path]))
    return [ImageFiles(path, (path,))]


def _dicom_images(path: Path, found: FoundDicom) -> list[ImageFiles]:
    """Stacks that lie in one file are addressed by it, so that reading one does not read all headers of its folder."""
    addresses = {}
    for number, stack in enumerate(found.stacks, start=1):
        files = {frame.file.path for frame in stack.frames}
        is_alone = len(files) == 1 and not any(
            frame.file.path in files for other in found.stacks if other is not stack for frame in other.frames
        )
        addresses[id(stack)] = files.pop() if is_alone else Path(f"{path}#{number}")
    folder = path if path.is_dir() else path.parent
    readable = [stacks for stacks in times_of(found.stacks) if not any(stack.problem for stack in stacks)]
    return [ImageFiles(folder, tuple(addresses[id(stack)] for stack in stacks)) for stacks in readable]


def _image_paths(folder: Path) -> Iterator[Path]:
    """Image files, OME-Zarr folders, and folders with DICOM files right in them, by name; hidden ones left out."""
    for root, folders, names in os.walk(folder):
        place = Path(root)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not is_session(place / name)
        )
        zarrs = [name for name in folders if is_ome_zarr(place / name)]
        yield from (place / name for name in zarrs)
        folders[:] = [name for name in folders if name not in zarrs]
        files = [place / name for name in sorted(names) if not name.startswith(".")]
        yield from (file for file in files if suffix_of(file) not in _MAYBE_DICOM)
        others = (file for file in files if suffix_of(file) in _MAYBE_DICOM)
        if any(suffix_of(file) is not None or is_dicom_file(file) for file in others):
            yield place


def kept_path(image: ImageReference) -> Path | None:
    """Where a session says that its image lies, if something is there."""
    path = Path(image.file).absolute()
    with suppress(OSError):  # of a path that no file system could have
        return path if image.file and path.exists() else None
    return None


def find_sessions(folder: Path) -> list[Path]:
    """Zips and session folders in a folder and below it, by name; none unless at least one is a session."""
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        place = Path(root)
        visible = sorted(
            name for name in folders if not name.startswith(".") and not is_ome_zarr(place / name)
        )
        sessions = [name for name in visible if is_session(place / name)]
        folders[:] = [name for name in visible if name not in sessions]
        zips = [name for name in names if name.lower().endswith(ZIP_SUFFIX) and not name.startswith(".")]
        found += [place / name for name in sorted(sessions + zips)]
    return found if any(is_session(path) for path in found) else []
