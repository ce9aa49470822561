"""Layers replaced while the canvas changes its size, in a process of its own: the driver may take it down."""

import subprocess
import sys

CODE = """
import napari, numpy as np
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel
PATCH
viewer = napari.Viewer(show=True)
beside = QLabel("short")
viewer.window.add_dock_widget(beside, area="right")

def scan():
    return viewer.add_image(np.zeros((20, 390, 390), np.int16))

scan()
for _ in range(2):
    viewer.add_labels(np.zeros((20, 390, 390), np.uint16))
for _ in range(2):
    viewer.add_shapes(ndim=3)
viewer.add_points(ndim=3)
viewer.layers.selection.active = viewer.layers[3]
viewer.layers[3].mode = "add_rectangle"
QTest.qWait(600)
for layer in list(viewer.layers):
    viewer.layers.remove(layer)
scan()
beside.setMinimumWidth(420)
QTest.qWait(600)
viewer.close()
print("alive")
"""
PATCH = "from napari_medicosam.ui.vispy_programs import let_go_of_deleted_programs as go; go(); go()"


def test_an_image_is_replaced_while_a_dock_grows():
    ended = subprocess.run(
        [sys.executable, "-c", CODE.replace("PATCH", PATCH)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "alive" in ended.stdout
