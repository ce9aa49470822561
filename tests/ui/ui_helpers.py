from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication


def canvas_position(viewer, layer, position):
    """Where the canvas draws a voxel of an image or labels, in logical pixels of its widget.

    Asked of the node that draws it: of a layer that is turned out of the slice, napari takes the mouse to be elsewhere.
    """
    node = viewer.window._qt_viewer.canvas.layer_to_visual[layer].node
    row, column = (position[axis] + 0.5 for axis in viewer.dims.displayed)
    x, y = node.get_transform("visual", "canvas").map([column, row, 0, 1])[:2]
    return QPoint(round(float(x)), round(float(y)))


def drag(native, begin, end):
    """Press, move and release the left button on the canvas widget, as a hand does it."""
    QTest.mouseMove(native, begin)
    QTest.mousePress(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, begin)
    for part in (0.3, 0.6, 1.0):
        QTest.mouseMove(native, begin + (end - begin) * part)
        QApplication.processEvents()  # else Qt makes one move of them
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, end)
