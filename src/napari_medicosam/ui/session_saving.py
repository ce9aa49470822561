"""Methods of a session for what it makes: labels, measurements and effort go to files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_medicosam.core.arguments import file_path
from napari_medicosam.ui.session_keeping import KeepingMethods

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.ui.saving import Saving


class SavingMethods(KeepingMethods):
    """Files for others; a session's own are those of `KeepingMethods`, and volumes those of `VolumeMethods`."""

    _saving: Saving

    def save_labels(self, path: str | Path) -> None:
        """Write the label map with the geometry of the image; a file that exists is replaced. `events.saved` says when.

        The object that is being edited is in it, as if it were committed; it stays open.

        Raises:
            InputError: when nothing was segmented yet.
        """
        self._saving.labels(file_path(path), partial(self._saving_of, self.image))

    def label_map(self) -> NDArray[Any]:
        """A copy (uint16) of all masks in the image's shape, with the object that is being edited.

        Raises:
            InputError: when nothing was segmented yet.
        """
        return self._saving.label_map()

    def save_measurements(self, path: str | Path) -> None:
        """Write volume, diameters and intensities of all objects (of the shown time point) as CSV; replaces a file.

        `events.saved` says when.

        Raises:
            InputError: when nothing was segmented yet.
        """
        self._saving.measurements(file_path(path), self.class_name)

    def save_effort(self, path: str | Path) -> None:
        """Write what each object cost (active seconds, prompts by kind, corrections) as CSV; replaces a file.

        Counts and durations only, no positions and no clock times. `events.saved` says when.

        Raises:
            InputError: when nothing was done yet.
        """
        self._saving.effort(file_path(path))
