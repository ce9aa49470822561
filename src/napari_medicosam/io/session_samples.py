"""Session files as training data: the committed objects of each, on the image that they were drawn on.

The mask that was still being edited is left out: nobody said that it is finished.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.data_report import DataReport, DataSetSummary, SampleSet, Skipped
from napari_medicosam.io.sample_reading import no_object_error, reason_of, stem_of
from napari_medicosam.io.session_files import ZIP_SUFFIX, read_session, read_state
from napari_medicosam.io.session_images import ImageSearch, kept_path
from napari_medicosam.io.volume_samples import (
    AnnotatedVolume,
    SliceSample,
    annotated_slices,
    axis_of,
    mapped,
    slice_id,
)
from napari_medicosam.io.volumes import read_volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medicosam.core.session_state import ImageReference, SessionState
    from napari_medicosam.io.data_descriptions import DataSetDescription
    from napari_medicosam.io.sample_reading import SampleOptions
    from napari_medicosam.io.session_images import FoundImage, ImageFiles

LAYOUT = "session files"
_IMAGE_FOLDERS = ("images", "imagestr", "imagests", "scans", "volumes")
"""Folders, in lower case, that hold the images of many patients."""


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """One time point of an image, with the committed objects of a session; see `VolumeFiles`.

    Attributes:
        image: the image.
        session: folder or zip.
        time: which time point.
        window: as in `SampleOptions`; "auto" takes the mapping that the session was made with.
    """

    image: ImageFiles
    session: Path
    time: int
    window: str

    @property
    def named_paths(self) -> tuple[tuple[str, Path], tuple[str, Path]]:
        """What they are called in a report."""
        return ("the image", self.image.path), ("the session", self.session)

    def read(self) -> AnnotatedVolume:
        """Both; `FileError` when one cannot be used, or they have different shapes."""
        saved = read_session(self.session)
        volume = read_volume(self.image.volumes[self.time])
        labels = saved.labels[self.time]
        if labels.shape != volume.geometry.shape_zyx:
            raise FileError(
                f"{self.image.path} has changed: its shape is (z, y, x) = {volume.geometry.shape_zyx}, the session's "
                f"{labels.shape}"
            )
        model = saved.state.model
        try:
            if self.window == "auto" and model.mapping is not None:
                mapping = model.mapping
            else:
                window = model.window if self.window == "auto" else self.window
                mapping = resolve_intensity(window, volume.array, is_rgb=volume.is_rgb)
        except InputError as error:
            raise FileError(f"{self.image.path} cannot be shown to the model: {error}") from error
        return AnnotatedVolume(mapped(volume.array, mapping), labels)


def session_samples(
    folder: Path, sessions: Sequence[Path], description: DataSetDescription, options: SampleOptions
) -> SampleSet:
    """The samples of session files in or below a folder, and what is wrong with those that give none.

    Images are read, to know them by their digests: first where sessions say that they lie, then all in and below
    `folder` until none is missing.
    """
    dataset = folder.absolute().name
    states: dict[Path, SessionState] = {}
    skipped: list[Skipped] = []

    def skip(path: Path, error: Exception) -> None:
        skipped.append(Skipped(dataset, _relative(path, folder), reason_of(error, (("the session", path),))))

    for path in sessions:
        try:
            states[path] = read_state(path)
        except FileError as error:
            skip(path, error)
    search = ImageSearch([state.image for state in states.values()])
    for kept in sorted({kept for state in states.values() if (kept := kept_path(state.image)) is not None}):
        search.look_at(kept)
    search.look_below(folder)

    samples: list[SliceSample] = []
    modalities, used = set(), set()
    names = _names(folder, list(states))
    for path, state in states.items():
        image = search.found.get(state.image.sha256)
        try:
            if image is None:
                raise FileError(_not_found(state.image, search))
            place = _place(image.files, folder)
            modality = description.modality or description.modalities.get(place[-1], "")
            about = names[path], dataset, modality, _patient(place, description)
            samples += _of_session(path, image, about, options)
        except FileError as error:
            skip(path, error)
            continue
        modalities.add(modality)
        used.add(state.image.sha256)
    listed = ", ".join(sorted(modalities - {""}))
    summary = DataSetSummary(dataset, LAYOUT, listed, len(search.found), len(used), len(samples))
    return SampleSet(tuple(samples), DataReport((summary,), tuple(skipped)))


def _of_session(
    path: Path, image: FoundImage, about: tuple[str, str, str, str], options: SampleOptions
) -> list[SliceSample]:
    """Every slice of every time point that holds a committed object; `about` is name, data set, modality, patient."""
    name, dataset, modality, patient = about
    saved = read_session(path)
    # A 2D image is one slice, whatever its pixels look like.
    axis = 0 if image.geometry.shape_zyx[0] == 1 else axis_of(image.geometry, options.axis)
    samples = []
    for time, labels in enumerate(saved.labels):
        part = f"{name}_t{time:02d}" if len(saved.labels) > 1 else name
        files = SessionFiles(image.files, path, time, options.window)
        samples += [
            SliceSample(slice_id(part, axis, index), dataset, modality, patient, files, axis, index, options)
            for index in annotated_slices(labels, axis, options)
        ]
    if samples:
        return samples
    if not saved.labels.any():
        raise FileError(f"{path} has no finished object: wanted one or more that are committed")
    raise no_object_error(path, saved.labels, options)


def _place(image: ImageFiles, folder: Path) -> tuple[str, ...]:
    """Folders and name of an image, without ending: from the data set's folder, of another place the last two."""
    path, inside = image.path.absolute(), folder.absolute()
    parts = path.relative_to(inside).parts if path.is_relative_to(inside) else path.parts[-2:]
    return (*parts[:-1], stem_of(path)) if parts else (inside.name,)


def _patient(place: tuple[str, ...], description: DataSetDescription) -> str:
    """Of a folder of images, in doubt, one patient: nothing of a patient may be on both sides of a split."""
    if description.patient_pattern is not None:
        return description.patient_of("/".join(place))
    below = place[1:] if len(place) > 1 and place[0].lower() in _IMAGE_FOLDERS else place
    return below[0] if len(below) > 1 else description.patient_of(below[0])


def _names(folder: Path, sessions: Sequence[Path]) -> dict[Path, str]:
    """Names of sessions from the folder, without .zip where that leaves them different."""
    full = {path: _relative(path, folder) for path in sessions}
    taken = set(full.values())
    short = {path: name[: -len(ZIP_SUFFIX)] for path, name in full.items() if path.is_file()}
    return {
        path: short[path] if path in short and short[path] not in taken else name
        for path, name in full.items()
    }


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _not_found(image: ImageReference, search: ImageSearch) -> str:
    shape = " x ".join(str(side) for side in image.shape_tzyx)
    unreadable = (
        f"; {search.num_unreadable} files or folders could not be read" if search.num_unreadable else ""
    )
    return (
        f"its image was not found: wanted one of {shape} (t, z, y, x) {image.dtype} with the pixels that it was made "
        f"on, looked at {search.num_read} images{unreadable}"
    )
