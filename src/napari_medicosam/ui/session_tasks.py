"""What a session's files need of the worker thread: reading, writing, and looking for the image that they belong to.

Zarr and the image formats are imported there, too: opening the widget must not stop the window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medicosam.core.image_digest import image_digest
from napari_medicosam.errors import FileError
from napari_medicosam.weights.digests import sha256_of_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.session_state import ImageReference, SavedSession
    from napari_medicosam.ui.runner import Report

LayerTuple = tuple[Any, dict[str, Any], str]
Volumes = list["NDArray[Any]"]
"""Pixels of an image, (z, y, x) or (z, y, x, 3) for each time point."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundSession:
    """A session file that was read.

    Attributes:
        saved: its content.
        number: of the image that it belongs to, among those that were offered; None when that is a new one.
        layer: the new image, from the file that the session names.
    """

    saved: SavedSession
    number: int | None
    layer: LayerTuple | None = None


def save_session(path: Path, session: SavedSession, volumes: Volumes, report: Report) -> str:
    """Write a session with its image's digest; one that exists is replaced. Returns the path."""
    from napari_medicosam.io.session_files import write_session

    report(0, 0, "Saving the session …")
    image = replace(session.state.image, sha256=image_digest(volumes))
    session = replace(session, state=replace(session.state, image=image))
    write_session(path, session, overwrite=True)
    return str(path)


def find_session(path: Path, offered: Sequence[Volumes], report: Report) -> FoundSession:
    """Read a session and find its image among those that are open, or in the file that it names.

    Args:
        path: of the session.
        offered: pixels of each open image.
        report: told what is going on.

    Raises:
        FileError: for a session that cannot be read, or whose image is not there.
    """
    from napari_medicosam.io.session_files import read_session, read_state

    report(0, 0, "Reading the session …")
    wanted = read_state(path).image
    for number, volumes in enumerate(offered):
        if _shape_of(volumes) == wanted.shape_tzyx and image_digest(volumes) == wanted.sha256:
            return FoundSession(read_session(path), number)
    layer = _read_image(path, wanted, report)
    if layer is None:
        raise FileError(_not_there(path, wanted, offered))
    return FoundSession(read_session(path), None, layer)


def weights_here(model: str, report: Report) -> str | None:
    """Digest of the weights that a model has here; None where that is not known."""
    report(0, 0, f"Comparing the weights of {Path(model).name} …")
    return sha256_of_weights(model)


def _read_image(path: Path, wanted: ImageReference, report: Report) -> LayerTuple | None:
    """The image from where it was, or from beside the session; None when it is in neither place.

    Raises:
        FileError: when it is there, but has other pixels.
    """
    from napari_medicosam.io.reader import get_reader

    places = (Path(wanted.file), path.parent / Path(wanted.file).name) if wanted.file else ()
    file = next((one for one in places if one.exists()), None)
    reader = None if file is None else get_reader(str(file))
    if file is None or reader is None:
        return None
    report(0, 0, f"Reading {file.name} …")
    for pixels, arguments, _ in reader(str(file)):
        if image_digest(_volumes_of(pixels, is_rgb=arguments.get("rgb", False))) == wanted.sha256:
            return pixels, arguments, "image"
    raise FileError(f"{path} was made on another image than {file} is now: its pixels have another digest")


def _volumes_of(pixels: Any, *, is_rgb: bool) -> Volumes:
    """As `ui.layers.volume_of` gives them of a layer with these data."""
    finest = pixels[0] if isinstance(pixels, list) else pixels
    num_axes = finest.ndim - is_rgb
    if num_axes == 4:
        return list(finest)
    return [finest[None] if num_axes == 2 else finest]


def _not_there(path: Path, wanted: ImageReference, offered: Sequence[Volumes]) -> str:
    time_points, *sides = wanted.shape_tzyx
    shape = " x ".join(str(side) for side in ([time_points] if time_points > 1 else []) + sides)
    same_shape = sum(_shape_of(volumes) == wanted.shape_tzyx for volumes in offered)
    got = (
        f"{same_shape} of this shape with other pixels"
        if same_shape
        else f"{len(offered)} open, none of this shape"
    )
    return f"open the scan of this session first: {path} belongs to an image of shape {shape}, got {got}"


def _shape_of(volumes: Volumes) -> tuple[int, ...]:
    return len(volumes), *volumes[0].shape[:3]
