"""Methods of a session for keeping all of it: session files, and what a crash left behind."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_warning

from napari_medicosam.core.arguments import file_path, yes_or_no
from napari_medicosam.core.effort import EffortLog
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.mask_log import MaskLog
from napari_medicosam.core.session_state import (
    ImageReference,
    ModelUse,
    SavedSession,
    SessionState,
    TimeState,
)
from napari_medicosam.errors import InputError, MedicoSamError, WeightsError
from napari_medicosam.io.session_journal import FoundJournal, read_journal
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.predict.zoom import ZoomRule
from napari_medicosam.ui import layers
from napari_medicosam.ui.annotation import Annotation
from napari_medicosam.ui.journals import Journals, begin_log, touch_all
from napari_medicosam.ui.session_tasks import FoundSession, find_session, save_session, weights_here
from napari_medicosam.ui.session_volume import VolumeMethods
from napari_medicosam.ui.slice_scores import find_scores, saved_scores, take_scores
from napari_medicosam.ui.spacing import spacing_mm
from napari_medicosam.weights.catalogue import find_entry
from napari_medicosam.weights.registry import is_checkpoint_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


_PROBE = np.array([[[0.0, 1.0]]])


class KeepingMethods(VolumeMethods):
    """The whole session as a file, and back; and the journal that is written meanwhile."""

    _journals: Journals | None = None

    def save(self, path: str | Path, *, keep_paths: bool = False) -> None:
        """Write all that is known about the image to a session file (docs/session_files.md). `events.saved` says when.

        Masks, prompts, classes, locks, review, effort, model, window and settings of all time points; of the image only
        what it takes to know it again.

        Args:
            path: a zip where it ends in .zip, else a folder; a session that is there is replaced.
            keep_paths: write where the image's file, and that of a model of your own, lie. File names can hold names
                of patients; without, the image has to be opened before the session.

        Raises:
            InputError: when nothing was segmented yet, or the image is of no file whose path could be kept.
        """
        path, keep_paths = file_path(path), yes_or_no(keep_paths, "keep_paths")
        annotation = self._wanted()
        image, ours = annotation.image, annotation.ours
        labels, edited = ours.label_map("labels"), ours.label_map("object_layer")
        if labels is None or edited is None:
            raise InputError("nothing to save: segment an object first")
        for known in self._images.times_of(image):
            known.committed.put_back_locked(known.table)
        then = self._saving_of(image)
        state = self._state_of(image)
        if keep_paths:
            file = getattr(image.source, "path", None)
            if not file:
                raise InputError(f"{image.name!r} was not opened from a file: there is no path to keep")
            model = replace(state.model, name=self.model)
            state = replace(state, image=replace(state.image, file=str(file)), model=model)
        shape = state.image.shape_tzyx
        saved = SavedSession(
            state,
            np.array(labels, dtype=np.uint16).reshape(shape),
            (edited != 0).reshape(shape),
            self._log_of(image).entries,
        )
        task = partial(save_session, path, saved, _volumes_of(image))

        def written(where: str) -> None:
            then()
            self.events.saved.emit(where)

        self._runner.submit(task, written, key=("save", path), is_kept=True)

    def load(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Go on with a session file: its image is annotated as it was when it was saved. `events.changed` says when.

        The image is the open one with the same pixels, wherever it came from; else the file that the session names.
        Steps to undo, and what the model was thinking (its logits), are not in a session.

        Args:
            path: of the zip, the folder, or the `session.json` in it.
            overwrite: give up what was done on that image before.

        What goes wrong comes as `events.error`: a file that is no session, an image that is not open or has other
        pixels, one that has objects already.
        """
        overwrite = yes_or_no(overwrite, "overwrite")
        offered = [layer for layer in self.viewer.layers if _can_be_annotated(layer)]
        task = partial(find_session, file_path(path), [_volumes_of(layer) for layer in offered])
        self._runner.submit(task, partial(self._on_loaded, offered, overwrite), key="load")

    def restorable(self) -> tuple[FoundJournal, ...]:
        """What earlier sessions on the image left when they ended without saving, a crash say; the newest first.

        Looked for in the background when an image is set: `events.changed` says when something was found.
        """
        return () if self._journals is None else self._journals.found(self.image)

    def restore(self, journal: FoundJournal | None = None, *, overwrite: bool = False) -> None:
        """Go on where one of `restorable` (None: the newest) ended. `events.changed` says when.

        Args:
            journal: which.
            overwrite: give up what was done on the image since.

        Raises:
            InputError: when there is nothing to restore, or the image has objects already.
        """
        wanted = self._one_of(journal)
        annotation = self._wanted()
        if not yes_or_no(overwrite, "overwrite"):
            self._check_untouched(annotation.image)
        task = partial(_read_journal, wanted)
        self._runner.submit(task, partial(self._on_restored, annotation.image, wanted), key="restore")

    def forget_restorable(self, journal: FoundJournal | None = None) -> None:
        """Delete one of `restorable` (None: the newest).

        Raises:
            InputError: when there is nothing to restore.
        """
        wanted = self._one_of(journal)
        if self._journals is not None and self.image is not None:
            self._journals.forget(self.image, wanted)
        self.events.changed.emit()

    def mark_saved(self, image: Image) -> None:
        """The work on an image is safe in a file that somebody else has written: no journal need outlive it.

        Raises:
            InputError: for what is no image layer.
        """
        if not isinstance(image, Image):
            raise InputError(f"wanted an image layer, got {image!r}")
        self._saving_of(image)()

    @property
    def is_untouched(self) -> bool:
        """True while the image has neither objects nor prompts that a session file would replace."""
        return all(known.is_untouched for known in self._images.times_of(self.image))

    # ------------------------------------------------------------------ to values

    def _state_of(self, image: Any) -> SessionState:
        """All that is known about an annotated image, but for its masks and its digest."""
        times = self._images.times_of(image)
        for known in times:
            known.share()
        mappings = [self._worker.mapping(self._settings_on(one.volume)) for one in times]
        first = times[0]
        model = ModelUse(
            Path(self.model).name,
            self.window,
            self._worker.weights_sha256(self.model),
            next((one for one in reversed(mappings) if one is not None), None),
            asdict(self.zoom),
            self._propagation_settings.as_record(),
            self._worker.runtime,
        )
        shape_tzyx = (layers.num_times(image), *first.shape_zyx)
        return SessionState(
            ImageReference(shape_tzyx, str(first.volume.dtype), spacing_mm(image)),
            model,
            tuple(TimeState(one.time, one.table, saved_scores(one), one.own_of_current) for one in times),
            self.classes,
            first.policy,
            {
                object_id: replace(one, counts=Counter(one.counts))
                for object_id, one in first.effort.objects.items()
            },
        )

    def _log_of(self, image: Any) -> MaskLog:
        """How the masks of an image came about; if that was too much to keep, it begins with what they are now."""
        times = self._images.times_of(image)
        for known in times:
            known.edited.look_everywhere()
        if times[0].log.is_given_up:
            begin_log(times, "save")
        return times[0].log

    def _saving_of(self, image: Any) -> Callable[[], None]:
        """To be called when the work is copied; what it returns, when the copy is safe."""
        for known in self._images.times_of(image):
            find_scores(known)
        return _nothing if self._journals is None else self._journals.saving(image)

    # ------------------------------------------------------------------ and back

    def _on_loaded(self, offered: list[Image], overwrite: bool, found: FoundSession) -> None:
        try:
            if found.layer is not None:
                pixels, arguments, _ = found.layer
                image = self.viewer.add_image(pixels, **arguments)
            else:
                image = offered[found.number or 0]
                if image not in self.viewer.layers:
                    raise InputError(f"{image.name!r} was closed while its session was being read")
            if not overwrite:
                self._check_untouched(image)
            self._put(image, found.saved)
        except MedicoSamError as error:
            self._bench.tell_failure(error)
        else:
            self._saving_of(image)()

    def _on_restored(self, image: Image, journal: FoundJournal, saved: SavedSession) -> None:
        if image not in self.viewer.layers or self._journals is None:
            return
        try:
            self._put(image, saved)
        except MedicoSamError as error:
            self._bench.tell_failure(error)
        else:
            self._journals.forget(image, journal, is_restored=True)
            self.events.changed.emit()

    def _put(self, image: Image, saved: SavedSession) -> None:
        """Annotate an image as it was when this was saved."""
        state = saved.state
        zoom, propagation = _settings_of(state.model)
        self._pipeline.cancel()
        if self._annotation is not None:
            self._annotation.effort.rest()
        self._layers.show(self._images.last_of(image))
        self._layers.make_missing()
        ours, effort, log = self._wanted().ours, EffortLog(dict(state.effort)), MaskLog(saved.log)
        log.action = "restore"
        made = []
        for one in state.times:
            volume = layers.volume_of(image, one.time)
            known = Annotation(image, volume, ours, effort, one.time, one.table, state.policy, log=log)
            take_scores(known, one.scores)
            made.append(known)
        if ours.labels is None or ours.object_layer is None:
            return
        current = np.zeros(len(saved.labels), np.uint16)
        current[[one.time for one in made]] = [one.object_id for one in made]
        _fill(ours.labels.data, saved.labels)
        _fill(ours.object_layer.data, saved.edited * current[:, None, None, None])
        with log.quiet() if saved.log else nullcontext():
            for known, one in zip(made, state.times, strict=True):
                known.edited.look_everywhere()
                own = known.edited.packed() if one.own is None else one.own  # version 1 does not say
                known.own = known.object_id, own
                touch_all(known)
        self._images.put(made)
        self._sizes.forget(self._images.all)
        self.zoom, self._propagation_settings = zoom, propagation
        self.window = state.model.window
        self._take_model(state.model)
        self._images.forget_answers()
        if len(state.classes):
            self.classes = state.classes
        self._layers.show(self._images.at_time(made[-1], self._layers.time()))
        self._show_object()
        self.go_to_object()

    def _take_model(self, made_with: ModelUse) -> None:
        """Go on with the model of a session; say so where it is not here, or has other weights here."""
        name = made_with.name
        if name != Path(self.model).name:
            if not _is_here(name):
                show_warning(f"The session was made with {name}, which is not here: {self.model} goes on")
                return
            self._model = name
        if made_with.weights_sha256:
            task = partial(weights_here, self.model)
            self._runner.submit(task, partial(_tell_of_other_weights, made_with), key="weights")

    def _check_untouched(self, image: Any) -> None:
        if not all(known.is_untouched for known in self._images.times_of(image)):
            raise InputError(
                f"{image.name!r} has objects already, which the session would replace: save them, then say so "
                "(overwrite=True)"
            )

    def _one_of(self, journal: FoundJournal | None) -> FoundJournal:
        found = self.restorable()
        if journal is None and found:
            return found[0]
        if journal not in found or journal is None:
            raise InputError("there is nothing to restore on this image")
        return journal


def _read_journal(journal: FoundJournal, report: Any) -> SavedSession:
    report(0, 0, "Restoring …")
    return read_journal(journal.path)


def _tell_of_other_weights(made_with: ModelUse, here: str | None) -> None:
    if here not in (None, made_with.weights_sha256):
        show_warning(
            f"The session was made with other weights of {made_with.name} ({made_with.weights_sha256[:12]}) than are "
            f"here ({here[:12]}). Its masks are as they were; the model may answer differently from now on"
        )


def _is_here(model: str) -> bool:
    """True for a model that can be used by this name."""
    if is_checkpoint_path(model):
        return Path(model).is_file()
    try:
        find_entry(model)
    except WeightsError:
        return False
    return True


def _settings_of(model: ModelUse) -> tuple[ZoomRule, PropagationSettings]:
    """Raises `InputError` for settings, or a window, that make no sense."""
    resolve_intensity(model.window, _PROBE)
    return ZoomRule(**model.zoom), PropagationSettings.of_record(model.propagation)


def _fill(data: NDArray[Any], masks: NDArray[Any]) -> None:
    data[...] = masks.reshape(data.shape)


def _volumes_of(image: Image) -> list[NDArray[Any]]:
    return [layers.volume_of(image, time) for time in range(layers.num_times(image))]


def _can_be_annotated(layer: Any) -> bool:
    return isinstance(layer, Image) and layer.ndim in (2, 3, 4)


def _nothing() -> None:
    """Nobody keeps a journal."""
