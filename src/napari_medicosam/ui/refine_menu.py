"""The button whose menu cleans the current object's mask, interpolates it, and measures all objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMenu, QPushButton, QWidget

from napari_medicosam.errors import InputError
from napari_medicosam.ui.controls import told

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medicosam.ui.session import AnnotationSession

_TABLE = "Table (*.csv)"


class RefineButton(QPushButton):
    """A button with a menu; every entry is one step to undo, begins one that is looked at first, or writes a file.

    Args:
        session: its current object is refined.
        clean_up: called to begin a clean-up.
    """

    def __init__(
        self, *, session: AnnotationSession, clean_up: Callable[[], None], parent: QWidget | None = None
    ) -> None:
        super().__init__("Refine, import, measure", parent)
        self._session = session
        self.setToolTip(
            "Clean up the object, fill it between slices, take masks of other layers, measure all objects"
        )
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self._add_slices(menu)
        menu.addSeparator()
        self._clean = self._add(
            menu,
            "Clean up …",
            "Keep the largest piece, fill holes, smooth, remove small pieces: look at it first, then apply it",
            clean_up,
        )
        menu.addSeparator()
        self._add_layers(menu)
        menu.addSeparator()
        self._add_files(menu)
        self.setMenu(menu)

    def _add_slices(self, menu: QMenu) -> None:
        session = self._session
        self._between = self._add(
            menu,
            "Interpolate between slices",
            "Fill the slices between those you prompted or painted from their shapes, without the model",
            session.interpolate,
        )
        self._agree = self._add(
            menu,
            "Three planes vote",
            "Follow the object along the two other planes, too, and keep what two of the three say; takes a while",
            session.agree_on_three_planes,
        )

    def _add_layers(self, menu: QMenu) -> None:
        self._add(
            menu,
            "Mask of a layer as a prompt …",
            "What another labels layer has on this slice is a hint of where the object is",
            self._add_mask,
        )
        self._add(
            menu,
            "Labels of a layer as objects …",
            "Each label of another labels layer becomes a finished object; those that are there stay",
            self._add_labels,
        )

    def _add_files(self, menu: QMenu) -> None:
        self._add(
            menu,
            "Save measurements …",
            "Volume, diameters and intensities of all objects, as CSV",
            self._measure,
        )
        self._add(
            menu, "Save effort …", "Active time, prompts and corrections of each object", self._save_effort
        )

    def refresh(self) -> None:
        """Follow the session."""
        session = self._session
        has_mask = session.has_mask
        self.setEnabled(session.record is not None)
        self._clean.setEnabled(has_mask)
        for entry in (self._between, self._agree):
            entry.setEnabled(has_mask and session.is_3d)

    def _other_layer(self, title: str) -> Labels | None:
        """A labels layer that is not ours, chosen by the user; None without one."""
        session = self._session
        ours = set(session.own_layers)
        shape = None if session.image is None else session.image.data.shape[: session.image.ndim]
        others = [one for one in session.viewer.layers if isinstance(one, Labels) and one not in ours]
        if not others:
            raise InputError("there is no labels layer beside ours: open or draw one first")
        fitting = [one for one in others if shape is None or one.data.shape == shape]
        if not fitting:
            raise InputError(
                f"no other labels layer lies on the grid of the image ({' x '.join(map(str, shape or ()))}), got "
                + ", ".join(f"{one.name!r} ({' x '.join(map(str, one.data.shape))})" for one in others)
            )
        others = fitting
        names = [one.name for one in others]
        name, is_wanted = QInputDialog.getItem(self, title, "Labels layer", names, 0, False)
        return others[names.index(name)] if is_wanted else None

    def _add_mask(self) -> None:
        layer = self._other_layer("Mask as a prompt")
        if layer is not None:
            self._session.add_mask_of(layer)

    def _add_labels(self) -> None:
        layer = self._other_layer("Labels as objects")
        if layer is not None:
            self._session.add_labels(layer.data)

    @staticmethod
    def _add(menu: QMenu, text: str, tip: str, act: Callable[[], Any]) -> Any:
        def run() -> None:
            with told():
                act()

        action: Any = menu.addAction(text)
        action.setToolTip(tip)
        action.triggered.connect(run)
        return action

    def _save_effort(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save effort", "effort.csv", _TABLE)
        if path:
            self._session.save_effort(path)

    def _measure(self) -> None:
        # The dialog asks before an existing file is replaced.
        path, _ = QFileDialog.getSaveFileName(self, "Save measurements", "measurements.csv", _TABLE)
        if path:
            self._session.save_measurements(path)
