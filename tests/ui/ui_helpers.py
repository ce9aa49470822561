from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication


def canvas_position(viewer, layer, position):
    """Where a data position of the layer is on the canvas widget, logical pixels."""
    canvas = viewer.window._qt_viewer.canvas
    world = layer.data_to_world(position)
    displayed = [world[axis] for axis in viewer.dims.displayed]
    transform = canvas.view.scene.transform
    x, y = transform.map([displayed[1], displayed[0], 0, 1])[:2]
    return QPoint(round(float(x)), round(float(y)))


def drag(native, begin, end):
    """Press, move and release the left button on the canvas widget, as a hand does it."""
    QTest.mouseMove(native, begin)
    QTest.mousePress(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, begin)
    for part in (0.3, 0.6, 1.0):
        QTest.mouseMove(native, begin + (end - begin) * part)
        QApplication.processEvents()  # else Qt makes one move of them
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, end)
