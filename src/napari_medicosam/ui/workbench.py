"""What all parts of a session work with: the worker, the layers, the events, and how a mask comes into sight."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error
from psygnal import Signal, SignalGroup

from napari_medicosam.errors import MedicoSamError
from napari_medicosam.ui import committing
from napari_medicosam.ui.failure_log import log_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.history import Step
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.engine import ServiceSettings
    from napari_medicosam.ui.prompt_layers import PromptLayers
    from napari_medicosam.ui.runner import Runner
    from napari_medicosam.ui.tasks import Worker


class SessionEvents(SignalGroup):
    """What a session tells, always on the GUI thread.

    progress(done, total, text): total is 0 when nobody knows. mask_changed(object_id, plane): one slice; of steps that
    change a whole mask at once (commit, clean-up, vote, delete) only changed() tells.
    busy_changed(is_busy). error(message): also shown as a notification. changed(): image, model, window,
    objects, prompts or undo steps. sizes_changed(): an object was measured. tool_changed(). saved(path).
    preview_changed(): a clean-up is previewed, its effect is known, or neither any more.
    """

    progress = Signal(int, int, str)
    mask_changed = Signal(int, object)
    busy_changed = Signal(bool)
    error = Signal(str)
    changed = Signal()
    sizes_changed = Signal()
    tool_changed = Signal()
    saved = Signal(str)
    preview_changed = Signal()


@dataclass(eq=False, slots=True)
class Workbench:
    """Shared by the parts of one session.

    Attributes:
        runner: where tasks run.
        worker: the tasks.
        layers: the layers of the image that is shown, and the annotation that they belong to.
        settings: called for what a service is to be made from now.
        events: what the session tells.
    """

    runner: Runner
    worker: Worker
    layers: PromptLayers
    settings: Callable[[], ServiceSettings]
    events: SessionEvents = field(default_factory=SessionEvents)

    @property
    def annotation(self) -> Annotation | None:
        """What is being annotated."""
        return self.layers.annotation

    def wanted(self) -> Annotation:
        """What is being annotated; `InputError` when nothing is."""
        return self.layers.wanted()

    def reopen(self, step: Step) -> None:
        """Edit the current object again, if it is committed."""
        self.layers.make_missing()
        committing.reopen(self.wanted(), step)

    def show(self, plane: SlicePlane, object_id: int) -> None:
        """Refresh the layers if the slice is in sight; in 3D rendering that would cost too much a slice."""
        if self.layers.is_in_sight(plane):
            self.layers.refresh()
        self.events.mask_changed.emit(object_id, plane)

    def tell_failure(self, error: Exception) -> None:
        """What went wrong becomes a notification and an event; what is not the user's goes to the log, too."""
        if isinstance(error, MedicoSamError):
            message = str(error)
            if _is_of_full_disk(error):  # what can be done about it first: napari shows one line
                message = f"the disk is full: free some space, or choose another folder. {message}"
        else:
            log_failure("a task of MedicoSAM failed", error)
            message = f"{type(error).__name__}: {error} (details in the log)"
        show_error(message)
        self.events.error.emit(message)


def _is_of_full_disk(error: BaseException | None) -> bool:
    """True for an error that was caused by one of a disk without space."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
