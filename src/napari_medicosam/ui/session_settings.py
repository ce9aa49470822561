"""Methods of a session for the model, what it is shown, and what is kept of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.arguments import file_path, number_array, yes_or_no
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.predict.zoom import ZoomRule
from napari_medicosam.ui import layers
from napari_medicosam.ui.session_base import SessionBase

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike

_PROBE = np.array([[[0.0, 1.0]]])


class SettingsMethods(SessionBase):
    """How the model is asked from the next prompt on."""

    @property
    def window_range(self) -> tuple[float, float] | None:
        """The intensities that the model sees as black and as white; None until the worker has measured them."""
        if self._annotation is None:
            return None
        return self._worker.window_range(self._settings())

    def set_model(self, name: str | Path) -> None:
        """Use a model of the registry, or the checkpoint file of that path, from the next prompt on.

        Raises:
            WeightsError: for a name that the registry does not know. Files are looked at by the worker.
            InputError: for what is neither text nor a path.
        """
        self.model = name

    def set_window(self, window: str | ArrayLike, high: float | None = None) -> None:
        """Map intensities by a word of `core.intensity.resolve_intensity`, by "LOW,HIGH" or these two numbers.

        From the next prompt on. The two numbers are one argument, or two.

        Raises:
            InputError: for anything else.
        """
        if high is not None or not isinstance(window, str):
            given: Any = window if high is None else [window, high]
            ends = number_array(given, "a window (a word, or LOW and HIGH)")
            window = ",".join(str(end) for end in ends.ravel().tolist())
        resolve_intensity(window, _PROBE)
        self.window = window
        self._forget_answers()

    def set_zoom(self, zoom: str | ZoomRule) -> None:
        """Look at small objects in a view around them: "auto", "never", "always" or a rule, from the next prompt on.

        Raises:
            InputError: for another word.
        """
        self.zoom = zoom if isinstance(zoom, ZoomRule) else ZoomRule(zoom)
        self.events.changed.emit()

    def set_embeddings_folder(self, folder: str | Path | None) -> None:
        """Store embeddings there, for this and later sessions; None keeps them in memory only."""
        self.embeddings_folder = None if folder is None else file_path(folder).expanduser()
        self.events.changed.emit()

    @property
    def shows_outlines(self) -> bool:
        """Whether masks are shown by their outlines alone, so that the image at their margin can be seen. Settable."""
        return self._shows_outlines

    @shows_outlines.setter
    def shows_outlines(self, is_wanted: bool) -> None:
        self._shows_outlines = is_wanted = yes_or_no(is_wanted, "shows_outlines")
        annotation = self._annotation
        for labels in () if annotation is None else (annotation.object_layer, annotation.labels):
            if labels is not None:
                layers.set_outline(labels, is_wanted=is_wanted)
        self.events.changed.emit()

    @property
    def encodes_ahead(self) -> bool:
        """Whether the slices that come next as one scrolls are encoded while nothing else is to be done.

        Only with a model that has been used on the image, and that takes less than a second a slice. Settable.
        """
        return self._ahead.is_on

    @encodes_ahead.setter
    def encodes_ahead(self, is_on: bool) -> None:
        self._ahead.is_on = yes_or_no(is_on, "encodes_ahead")
        self.events.changed.emit()

    def _forget_answers(self) -> None:
        """Logits of another model or window are no hint for this one; masks are."""
        self._images.forget_answers()
        self._ask_unasked()
        self.events.changed.emit()
