from qtpy.QtCore import QPoint


def canvas_position(viewer, layer, position):
    """Where a data position of the layer is on the canvas widget, logical pixels."""
    canvas = viewer.window._qt_viewer.canvas
    world = layer.data_to_world(position)
    displayed = [world[axis] for axis in viewer.dims.displayed]
    transform = canvas.view.scene.transform
    x, y = transform.map([displayed[1], displayed[0], 0, 1])[:2]
    return QPoint(round(float(x)), round(float(y)))
