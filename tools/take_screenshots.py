"""Pictures for docs/walkthrough.md and the README: the widget on the shipped CT, driven with mouse and buttons.

    xvfb-run -s "-screen 0 1600x1000x24" python tools/take_screenshots.py docs/images

Every step goes through the controls that the page names, and fails when one does not do what the page says: CI runs it.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import napari
import numpy as np
import typer
from napari.settings import get_settings
from PIL import Image
from qtpy.QtCore import QPoint, QSettings, Qt
from qtpy.QtGui import QImage
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medicosam import session
from napari_medicosam.io.sample import ct_abdomen

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 1280, 860
LIVER_BOX = (77, 182, 256, 345)


class Tour:
    """The steps of the page, in order; each leaves the window as its picture shows it.

    Args:
        folder: of the pictures.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scan = ct_abdomen()
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*SIZE)

    def take(self, name: str) -> None:
        """A picture of the whole window, once the strip and the sizes have followed."""
        QTest.qWait(900)
        if self.session.is_busy:
            raise SystemExit(f"{name}: something still runs")
        self.keep(self.viewer.window.screenshot(canvas_only=False, flash=False), name)

    def keep(self, pixels: np.ndarray[Any, Any], name: str) -> None:
        """Write a picture, small: 256 colours are enough for a window, when they are spread over all that there are.

        Those that most pixels have would be greys, and a line of a few pixels would lose its colour.
        """
        path = self.folder / f"{name}.png"
        spread = Image.Quantize.FASTOCTREE
        few = Image.fromarray(pixels[..., :3]).quantize(256, spread, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        print(path)

    def expect(self, is_so: bool, what: str) -> None:
        """Stop when the page would be wrong."""
        if not is_so:
            raise SystemExit(f"the walk-through is not true any more: {what}")

    def wait(self) -> None:
        """Until the masks are there."""
        QApplication.processEvents()
        if not self.session.wait(300):
            raise SystemExit("a mask did not come")
        QApplication.processEvents()

    # ------------------------------------------------------------------ the page

    def open_the_scan(self) -> None:
        """1: the sample scan, the widget, the slice."""
        self.viewer.open_sample("napari-medicosam", "ct_demo")
        dock, self.widget = self.viewer.window.add_plugin_dock_widget("napari-medicosam", "Segment")
        window: Any = self.viewer.window._qt_window
        window.resizeDocks([dock], [340], Qt.Orientation.Horizontal)
        self.session = session(self.viewer)
        self.expect(self.session.image is self.viewer.layers[0], "the scan is taken by itself")
        self.layer = self.viewer.layers[0]
        self.go_to(self.scan.slice_index)
        self.viewer.reset_view()
        self.wait()
        self.take("1-open")

    def drag_a_box(self) -> None:
        """2: Box, drag around the spleen."""
        self.choose("box")
        y0, x0, y1, x1 = self.scan.box
        self.drag((y0, x0), (y1 - 1, x1 - 1))
        self.wait()
        self.expect(self.session.num_open_voxels > 3000, "a box gives a mask")
        self.take("2-box")

    def correct_with_a_point(self) -> None:
        """3: a click on what is missing or too much."""
        before = self.session.num_open_voxels
        truth = self.truth(self.scan.slice_index)
        mask = self.viewer.layers["MedicoSAM object"].data[self.scan.slice_index] != 0
        wrong = truth != mask
        y, x = _innermost(wrong)
        self.choose("point+" if truth[y, x] else "point-")
        self.click((y, x))
        self.wait()
        self.expect(self.session.num_open_voxels != before, "a click changes the mask")
        self.take("3-corrected")

    def propagate(self) -> None:
        """4: through the volume."""
        self.widget._propagation._propagate.click()
        self.wait()
        self.go_to(self.scan.slice_index + 4)
        self.expect(len(self.session.review) > 8, "propagation reaches further slices")
        self.take("4-propagated")

    def look_again(self) -> None:
        """5: the strip and the next doubtful slice, or the last one."""
        strip = self.widget._objects.review
        if strip._next.isEnabled():
            strip._next.click()
        else:
            self.session.go_to(self.session.review[0].index)
        self.take("5-review")

    def look_at_a_clean_up(self) -> None:
        """6: what a clean-up would change, in the image, before it is done."""
        before = self.session.label_map()
        entries = {one.text(): one for one in self.widget._refine.menu().actions()}
        entries["Clean up …"].trigger()
        form = self.widget._clean_up
        form._largest.click()
        form._smooth.setValue(2.0)
        self.wait()
        effect: Any = self.session.preview
        self.expect(effect is not None and not effect.box.is_empty, "a preview shows what changes")
        most = np.count_nonzero(effect.changes, axis=(1, 2)).argmax()
        self.go_to(effect.box.start_zyx[0] + int(most))
        self.take("6-clean-up")
        QTest.keyClick(form._largest, Qt.Key.Key_Escape)
        self.expect(form.isHidden(), "Escape ends the preview")
        self.expect(np.array_equal(self.session.label_map(), before), "a preview changes nothing")

    def another_object(self) -> None:
        """7: commit, another object, all together."""
        self.widget._objects._new.click()
        self.session.change_object(1, name="spleen")
        self.session.change_object(2, name="liver")
        self.go_to(self.scan.slice_index)
        self.choose("box")
        y0, x0, y1, x1 = LIVER_BOX
        self.drag((y0, x0), (y1 - 1, x1 - 1))
        self.wait()
        self.expect(self.session.objects[0].is_committed, "New commits the object before")
        self.expect(self.session.num_open_voxels > 1000, "a box gives a mask")
        self.take("7-second-object")

    def how_to_follow(self) -> None:
        """8: what is folded away, the settings of propagation among it."""
        self.widget._more.heading.click()
        self.expect(self.widget._propagation._settings.isVisible(), "More settings shows how to follow")
        self.take("8-settings")
        self.widget._more.heading.click()

    def keys(self) -> None:
        """9: all keys and gestures."""
        self.widget._help.click()
        panel: Any = self.viewer.window._qt_window.findChild(_help_panel())
        self.expect(panel is not None and panel.isVisible(), "? shows the keys")
        QTest.qWait(300)
        self.keep(_pixels(panel), "9-keys")
        self.widget._help.click()

    # ------------------------------------------------------------------ hands

    def choose(self, tool: str) -> None:
        """Press the button of a tool, unless it is pressed already."""
        if not self.widget._tools[tool].isChecked():
            self.widget._tools[tool].click()

    def go_to(self, index: int) -> None:
        self.session.go_to(index)
        QApplication.processEvents()

    def truth(self, index: int) -> np.ndarray[Any, Any]:
        from napari_medicosam.io.volumes import read_labels

        return read_labels(self.scan.labels).array[index] == self.scan.label

    def at(self, position_yx: tuple[float, float]) -> QPoint:
        """Where a pixel of the shown slice is on the canvas."""
        canvas = self.viewer.window._qt_viewer.canvas
        index = self.session.slice_index or 0
        world = self.layer.data_to_world((index, *position_yx))
        displayed = [world[axis] for axis in self.viewer.dims.displayed]
        x, y = canvas.view.scene.transform.map([displayed[1], displayed[0], 0, 1])[:2]
        return QPoint(round(float(x)), round(float(y)))

    def click(self, position_yx: tuple[float, float]) -> None:
        native = self.viewer.window._qt_viewer.canvas.native
        where = self.at(position_yx)
        QTest.mouseMove(native, where)
        QTest.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)

    def drag(self, begin_yx: tuple[float, float], end_yx: tuple[float, float]) -> None:
        native = self.viewer.window._qt_viewer.canvas.native
        begin, end = self.at(begin_yx), self.at(end_yx)
        QTest.mouseMove(native, begin)
        QTest.mousePress(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, begin)
        for part in (0.3, 0.6, 1.0):
            QTest.mouseMove(native, begin + (end - begin) * part)
            QApplication.processEvents()  # else Qt makes one move of them
        QTest.mouseRelease(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, end)


STEPS: tuple[Callable[[Tour], None], ...] = (
    Tour.open_the_scan,
    Tour.drag_a_box,
    Tour.correct_with_a_point,
    Tour.propagate,
    Tour.look_again,
    Tour.look_at_a_clean_up,
    Tour.another_object,
    Tour.how_to_follow,
    Tour.keys,
)


def _innermost(mask: np.ndarray[Any, Any]) -> tuple[int, int]:
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(mask)
    y, x = np.unravel_index(int(distance.argmax()), mask.shape)
    return int(y), int(x)


def _pixels(widget: Any) -> np.ndarray[Any, Any]:
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)


def _help_panel() -> Any:
    from napari_medicosam.ui.help_panel import HelpPanel

    return HelpPanel


def main(folder: Path, theme: Annotated[str, typer.Option()] = "dark") -> None:
    """Take all pictures into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    get_settings().appearance.theme = theme
    # Unsaved work and folds of whoever runs this are not in the pictures, and the tour's are not kept for them.
    with TemporaryDirectory(ignore_cleanup_errors=True) as own:
        os.environ["NAPARI_MEDICOSAM_JOURNALS"] = own
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, own)
        tour = Tour(folder)
        for step in STEPS:
            step(tour)
        tour.viewer.close()


if __name__ == "__main__":
    typer.run(main)
