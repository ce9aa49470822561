"""`medicosam replay`: the masks of a session file, made again from its log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_medicosam.cli import options
from napari_medicosam.cli.console import download_progress, notes
from napari_medicosam.cli.job import MEMORY_BYTES, is_same_file
from napari_medicosam.errors import FileError, InputError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_medicosam.core.session_state import ModelUse, SavedSession, SessionState
    from napari_medicosam.io.volumes import Volume
    from napari_medicosam.models.encoder_runtimes import EncoderRuntime
    from napari_medicosam.predict.replay import Difference
    from napari_medicosam.predict.service import SegmentationService
    from napari_medicosam.weights.loading import LoadedModel

_MAX_TOLD = 10


def replay(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A session file, or its folder.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Label map to write; its ending: the format.")
    ],
    image: Annotated[
        Path | None,
        typer.Option(
            "--image", help="The image. Default: the file that the session names, there or beside it."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Where the checkpoint of your own lies that the session was made with."),
    ] = None,
    other_weights: Annotated[
        bool,
        typer.Option(
            "--other-weights", help="Go on where weights have another hash than the session was made with."
        ),
    ] = False,
    device: options.Device = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Do a session again: ask the model what it was asked, edit what was edited, and write the label map.

    The same weights on the same machine give the same labels, bit for bit. Where they differ from those that the
    session holds it is said, and the exit code is 1; the labels are written all the same.

        medicosam replay scan_session.zip --image scan.nii.gz -o labels.nii.gz
    """
    from napari_medicosam.io.session_files import read_session, read_state
    from napari_medicosam.io.volumes import check_writable, write_labels
    from napari_medicosam.predict.replay import differences

    if is_same_file(session, output) or (image is not None and is_same_file(image, output)):
        raise FileError(f"{output} is a file that is read: wanted another name for the labels")
    volumes = _open_image(session, image, read_state(session))
    check_writable(output, volumes[0], overwrite=overwrite, num_times=len(volumes))
    saved = read_session(session)
    if not saved.log:
        raise FileError(f"{session} has no log of how its masks came about: there is nothing to replay")
    _note_versions(session)
    labels, edited = _run(
        volumes,
        saved,
        _Services(device, saved.state.model, model, are_others_taken=other_weights),
    )
    current = {one.time: one.table.current for one in saved.state.times}
    found = differences((labels, edited), (saved.labels, saved.edited), current)
    merged = replace(saved, labels=labels, edited=edited).merged()
    write_labels(output, merged if len(volumes) > 1 else merged[0], volumes[0], overwrite=overwrite)
    notes.print(f"wrote {output}: {len(saved.log)} entries replayed", markup=False)
    if found:
        _tell(found)
        raise typer.Exit(1)
    notes.print("every voxel is as it was saved")


def _open_image(session: Path, given: Path | None, state: SessionState) -> list[Volume]:
    """The image of a session, a volume a time point.

    Raises:
        FileError: when it is not there, or has other pixels.
    """
    from napari_medicosam.core.image_digest import image_digest
    from napari_medicosam.io.over_time import read_over_time
    from napari_medicosam.io.volumes import read_volume

    wanted = state.image
    named = Path(wanted.file)
    places = (named, session.parent / named.name) if wanted.file else ()
    file = given or next((one for one in places if one.exists()), None)
    if file is None:
        raise FileError(f"the image of {session} is not known by its file: give it with --image")
    volumes = read_over_time(file) if wanted.shape_tzyx[0] > 1 else [read_volume(file)]
    if image_digest([volume.array for volume in volumes]) != wanted.sha256:
        raise FileError(f"{session} was made on another image than {file} is: its pixels have another digest")
    return volumes


def _run(
    volumes: Sequence[Volume], saved: SavedSession, services: _Services
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    from rich.progress import track

    from napari_medicosam.predict.replay import Replay

    doing = Replay([volume.array for volume in volumes], saved.state.image.spacing_zyx_mm, services.of)
    for _ in track(doing.run(saved.log), "Replaying", len(saved.log), console=notes, transient=True):
        pass
    return doing.labels, doing.edited


class _Services:
    """The models that a session was made with, each loaded when it is first asked.

    Args:
        device: of torch; None for the best there is.
        last: what answered last: its runtime encodes (eager, in a session that names none), and its name may be that
            of a checkpoint.
        file: where a checkpoint may lie whose name alone the log knows.
        are_others_taken: weights with another hash than the session names are only noted.
    """

    def __init__(
        self, device: str | None, last: ModelUse, file: Path | None, are_others_taken: bool = False
    ) -> None:
        self._device, self._runtime = device, last.runtime or "eager"
        self._are_others_taken = are_others_taken
        self._files = tuple(Path(one) for one in (file, last.name) if one is not None)
        self._models: dict[str, LoadedModel] = {}
        self._made: list[tuple[ModelUse, SegmentationService]] = []

    def of(self, use: ModelUse) -> SegmentationService:
        """What answered; `WeightsError` when its weights are not here."""
        for known, service in self._made:
            if (known.weights_sha256, known.mapping, known.zoom) == (
                use.weights_sha256,
                use.mapping,
                use.zoom,
            ):
                return service
        service = self._make(use)
        self._made.append((use, service))
        return service

    def _make(self, use: ModelUse) -> SegmentationService:
        from napari_medicosam.cache.keys import EmbeddingKey
        from napari_medicosam.cache.memory import MemoryEmbeddingStore
        from napari_medicosam.predict.service import SegmentationService
        from napari_medicosam.predict.zoom import ZoomRule

        model = self._model(use.name)
        if use.mapping is None:
            raise FileError("the session's log does not say what is black and white to the model")
        if model.weights_sha256 != use.weights_sha256:
            told = (
                f"the session was made with weights {use.weights_sha256[:12]} of {use.name}, but here "
                f"{use.name} has {model.weights_sha256[:12]}"
            )
            if not self._are_others_taken:
                raise WeightsError(f"{told}: a replay needs the same, or --other-weights")
            notes.print(f"note: {told}: masks may differ", markup=False)
        runtime = _open_runtime(model, self._runtime)
        key = EmbeddingKey(model.spec, model.weights_sha256, use.mapping, precision=runtime.precision)
        store = MemoryEmbeddingStore(MEMORY_BYTES).bind(key)
        return SegmentationService(model, use.mapping, store, ZoomRule(**use.zoom), runtime)

    def _model(self, name: str) -> LoadedModel:
        from napari_medicosam.weights.loading import load_weights

        if name not in self._models:
            where = next((str(one) for one in self._files if one.name == name and one.is_file()), name)
            with download_progress(name) as progress:
                self._models[name] = load_weights(where, self._device, progress)
        return self._models[name]


def _open_runtime(model: LoadedModel, name: str) -> EncoderRuntime:
    """The runtime that a session was made with, or what there is instead."""
    from napari_medicosam.predict.runtimes import open_runtime

    try:
        return open_runtime(model, name)
    except InputError as error:
        runtime = open_runtime(model, "torch")
        notes.print(f"note: {error}; {runtime.name} encodes instead, and bits may differ", markup=False)
        return runtime


def _note_versions(session: Path) -> None:
    """Say what has another version here than where the session was saved."""
    from napari_medicosam.io.session_files import read_software
    from napari_medicosam.io.session_values import RUNTIME_ENTRY, software_versions

    before, now = read_software(session), software_versions()
    runtime = before.pop(RUNTIME_ENTRY, "")
    if not runtime.startswith("openvino"):
        before.pop("openvino", None)
    other = [
        f"{name} {known}, here {now.get(name, 'none')}"
        for name, known in before.items()
        if now.get(name) != known
    ]
    if other:
        notes.print(f"note: the session was saved with {'; '.join(other)}: bits may differ", markup=False)


def _tell(found: Sequence[Difference]) -> None:
    voxels, is_over_time = sum(one.num_voxels for one in found), any(one.time for one in found)
    notes.print(f"{voxels} voxels on {len(found)} slices are not as they were saved:")
    for one in found[:_MAX_TOLD]:
        objects = ", ".join(str(object_id) for object_id in one.object_ids)
        time = f"time {one.time}, " if is_over_time else ""
        notes.print(f"  {time}slice {one.z}: {one.num_voxels} voxels (objects {objects})")
    if len(found) > _MAX_TOLD:
        notes.print(f"  and {len(found) - _MAX_TOLD} slices more")
